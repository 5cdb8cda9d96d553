"""Keyed randomness: the published generator, pure functions, streams that do not overlap,
permutations that are ones.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from swarm.common.rng import Keys, derive, philox, shuffled

F = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((F, F, F, F), (F, F), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_words(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    """The known answers that come with Random123 (Salmon et al., SC 2011)."""
    assert tuple(philox(counter, key)) == expected  # type: ignore[arg-type]


@given(
    st.integers(0, 2**53),
    st.integers(0, 10**6),
    st.integers(0, 2**40),
    st.integers(1, 9),
    st.integers(1, 9),
)
@settings(deadline=None)
def test_a_draw_depends_on_nothing_else(
    seed: int, device: int, step: int, few: int, more: int
) -> None:
    """Neither on how many words are asked for, nor on which other devices and steps are asked with
    it.
    """
    keys = Keys(seed, "test")
    alone = keys.words(device, step, few)
    np.testing.assert_array_equal(keys.words(device, step, few + more)[:few], alone)
    together = keys.words(np.array([device + 1, device, 0]), np.array([step, step, step + 5]), few)
    np.testing.assert_array_equal(together[1], alone)
    np.testing.assert_array_equal(Keys(seed, "test").words(device, step, few), alone)


def test_no_two_streams_share_a_word() -> None:
    parts = [
        Keys(seed, purpose)
        .words(np.arange(20)[:, None], np.array([0, 1, 2**32, 2**33])[None], 8)
        .reshape(-1)
        for seed in (0, 1, 2**40)
        for purpose in ("a", "b", "a/b")
    ]
    words = np.concatenate(parts)
    # 5,760 words of 32 bits: 0.004 collisions expected
    assert len(np.unique(words)) == len(words)


def test_uniform_is_uniform_and_open() -> None:
    u = Keys(0, "u").uniform(np.arange(100), 0, 500).reshape(-1)
    assert 0 < u.min() < u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    pairs = np.corrcoef(Keys(0, "u").uniform(np.arange(2000), 0, 4).T) - np.eye(4)
    assert np.abs(pairs).max() < 0.1


def test_normal_is_normal() -> None:
    z = Keys(0, "z").normal(np.arange(100), 3, 501)
    assert z.shape == (100, 501)
    assert stats.kstest(z.reshape(-1), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z[:, 0:500:2].reshape(-1), z[:, 1:500:2].reshape(-1))[0, 1]) < 0.02


def test_generators_are_keyed() -> None:
    first = Keys(0, "set-up").generator(3).random(4)
    np.testing.assert_array_equal(Keys(0, "set-up").generator(3).random(4), first)
    for other in (
        Keys(0, "set-up").generator(4),
        Keys(1, "set-up").generator(3),
        Keys(0, "other").generator(3),
    ):
        assert not np.array_equal(other.random(4), first)


def test_derived_seeds_differ_and_fit_a_run() -> None:
    seeds = {derive(s, n, i) for s in range(10) for n in ("init", "data") for i in range(10)}
    assert len(seeds) == 200
    assert max(seeds) < 2**56
    assert derive(0, "init", 1) == derive(0, "init", 1)
    assert derive(1, "2") != derive(12)


@given(st.integers(1, 400), st.integers(0, 2**31), st.integers(0, 10**6), st.integers(0, 10**6))
@settings(deadline=None)
def test_shuffled_is_a_permutation(size: int, seed: int, device: int, epoch: int) -> None:
    order = shuffled(np.arange(size), size, Keys(seed, "order"), device, epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))
    some = np.array([0, size // 2, size - 1])
    np.testing.assert_array_equal(
        shuffled(some, size, Keys(seed, "order"), device, epoch), order[some]
    )


@pytest.mark.parametrize("size", [2, 3, 5, 12, 30])
def test_every_place_is_as_likely(size: int) -> None:
    """Where the first and the last entry land, over many devices and passes: flat, and not tied to
    one another.
    """
    devices, epochs = np.arange(200)[:, None, None], np.arange(30)[None, :, None]
    ends = shuffled(
        np.array([0, size - 1])[None, None], size, Keys(0, "order"), devices, epochs
    ).reshape(-1, 2)
    for column in ends.T:
        assert stats.chisquare(np.bincount(column, minlength=size)).pvalue > 1e-4
    # a cheap cipher on few cells is not perfect: pairs of places are as likely within a fifth
    if size > 2:
        gaps = np.bincount((ends[:, 1] - ends[:, 0]) % size, minlength=size)
        assert gaps[0] == 0
        assert np.abs(gaps[1:] / gaps[1:].mean() - 1).max() < 0.2 + 3 * np.sqrt(size / 6000)
