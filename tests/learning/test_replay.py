"""Replay memories keep what they promise, whatever the pieces in which samples are offered."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.learning.update.replay import ClassBalanced, Fifo, Memory, Replay, Reservoir

KEYS = Keys(0, "replay.keep")
KINDS = [Fifo, Reservoir, ClassBalanced]


def offered(replay: Replay, sample_nk: np.ndarray, label_S: np.ndarray, pieces: int = 1) -> Memory:
    memory = Memory.empty(len(sample_nk), replay.size, int(label_S.max()) + 1)
    for part in np.array_split(sample_nk, pieces, axis=1):
        memory = replay.take(memory, part, label_S, KEYS, np.arange(len(sample_nk)))
    return memory


def test_a_ring_keeps_the_last_samples() -> None:
    memory = offered(Fifo(4), np.arange(11)[None], np.zeros(11, np.int64), 3)
    assert sorted(memory.kept_nM[0]) == [7, 8, 9, 10]


def test_a_reservoir_is_a_uniform_sample_of_everything_offered() -> None:
    devices, count, size = 4000, 50, 10
    memory = offered(
        Reservoir(size), np.tile(np.arange(count), (devices, 1)), np.zeros(count, np.int64), 7
    )
    share = np.bincount(memory.kept_nM.reshape(-1), minlength=count) / devices
    sigma = np.sqrt(0.2 * 0.8 / devices)
    assert abs(share - size / count).max() < 4 * sigma
    assert all(len(set(row)) == size for row in memory.kept_nM)


def test_a_class_balanced_memory_is_balanced_and_uniform_within_a_class() -> None:
    devices, count, size = 3000, 100, 12
    # ten of the rare class, ninety of the other
    label_S = (np.arange(count) % 10 == 0).astype(np.int64)
    memory = offered(ClassBalanced(size), np.tile(np.arange(count), (devices, 1)), label_S, 9)
    rare = label_S[memory.kept_nM].sum(1)
    assert (rare == size // 2).all()
    share = np.bincount(memory.kept_nM.reshape(-1), minlength=count) / devices
    for label, each in ((0, size / 2 / 90), (1, size / 2 / 10)):
        found = share[label_S == label]
        assert abs(found - each).max() < 5 * np.sqrt(each * (1 - each) / devices)


def test_a_class_that_comes_late_finds_room() -> None:
    label_S = np.repeat([0, 1, 2], [200, 100, 5])
    memory = offered(ClassBalanced(30), np.arange(305)[None], label_S, 4)
    assert np.bincount(label_S[memory.kept_nM[0]], minlength=3).tolist() in (
        [12, 13, 5],
        [13, 12, 5],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_and_company_do_not_matter(kind: type[Replay]) -> None:
    draw = np.random.default_rng(0)
    label_S, sample = draw.integers(0, 3, 90), np.stack([draw.permutation(90) for _ in range(5)])
    sample[:, ::4] = -1  # these were not offered
    one, many = (offered(kind(8), sample, label_S, pieces) for pieces in (1, 13))
    for name in ("kept_nM", "offered_nC", "largest_nC"):
        assert np.array_equal(getattr(one, name), getattr(many, name)), name
    alone = kind(8).take(Memory.empty(1, 8, 3), sample[3:4], label_S, KEYS, np.array([3]))
    assert np.array_equal(alone.kept_nM[0], one.kept_nM[3])
    assert (one.offered_nC.sum(1) == (sample >= 0).sum(1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_of_less_than_one_sample_is_refused(kind: type[Replay]) -> None:
    with pytest.raises(ConfigError, match="size=-3"):
        kind(-3)
    with pytest.raises(ConfigError, match="ratio"):
        kind(3, ratio=-0.5)


def test_draws_come_from_what_is_kept() -> None:
    memory = Memory(
        np.array([[5, 7, -1], [-1, -1, -1]]), np.zeros((2, 1), np.int64), np.zeros((2, 1), np.int64)
    )
    drawn = memory.drawn(np.arange(2), np.random.default_rng(0).random((2, 400)))
    assert set(drawn[0]) == {5, 7}
    assert set(drawn[1]) == {-1}
    assert abs((drawn[0] == 5).mean() - 0.5) < 0.1
