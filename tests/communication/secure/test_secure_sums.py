"""Theorems of secure sums: exact whoever drops out, uniform messages, and nothing below the threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pytest
import shamirs
import torch

from swarm.common.errors import ConfigError, OutOfRangeError
from swarm.common.rng import KeyedWords, Keys
from swarm.communication.secure.base import Bonawitz, Group
from swarm.communication.secure.fixed_point import MOST, FixedPoint
from swarm.communication.secure.masks import PRIME, Masks, interpolated, weights_at_zero
from swarm.communication.secure.sums import encoded, server_mean, server_part

WIDTH = 6


def _group(size: int, alive: np.ndarray, round: int = 1, **options: float | int | None) -> Group:
    device_g = np.arange(size) * 3 + 1
    return Bonawitz(**options).group(device_g, alive, Keys(5, "secure.0"), round)  # type: ignore[arg-type]


def _cases() -> Iterator[tuple[int, np.ndarray, int | None]]:
    random = np.random.default_rng(0)
    for size in (2, 3, 5, 9):
        for partners in (None, 2, 4):
            for _ in range(12):
                yield size, random.random(size) < random.choice([0.4, 0.8, 1.0]), partners


def _masked(group: Group, words_gM: np.ndarray) -> np.ndarray:
    masks, found = Masks(group, words_gM.shape[1]), words_gM.copy()
    for a, row_M in enumerate(found):
        masks.put_on(a, row_M)
    return found


def test_the_sum_is_that_of_the_encoded_rows_whoever_drops_out() -> None:
    """In 144 swarms, of which some have lost too many for it."""
    random, recovered = np.random.default_rng(1), []
    for size, alive_g, partners in _cases():
        group = _group(size, alive_g, partners=partners)
        words_gM = random.integers(0, 2**32, (size, WIDTH), np.uint32)
        total_M = _masked(group, words_gM)[alive_g].sum(0, dtype=np.uint32)
        recovered.append(group.recovered)
        if not group.recovered:
            continue
        masks = Masks(group, WIDTH)
        for a in range(size):
            masks.take_off(a, total_M)
        assert total_M.tolist() == words_gM[alive_g].sum(0, dtype=np.uint32).tolist()
    assert 30 < sum(recovered) < len(recovered) - 30


def test_a_sum_is_recovered_exactly_if_every_secret_has_enough_shares_left() -> None:
    for size, alive_g, partners in _cases():
        group = _group(size, alive_g, partners=partners)
        left = [int(alive_g[group.holders(a)].sum()) for a in range(size)]
        assert group.recovered == (min(left) >= group.needed and alive_g.sum() >= 2)
        for a in range(size):  # the relation is mutual, and nobody is their own partner
            assert a not in group.partners(a)
            assert all(a in group.partners(b) for b in group.partners(a))
            assert len(group.partners(a)) == min(partners or size, size - 1)


def test_the_masks_that_devices_share_cancel_out() -> None:
    """What is left in a sum over all are the devices' own masks."""
    group = _group(7, np.ones(7, bool))
    total_M = _masked(group, np.zeros((7, WIDTH), np.uint32)).sum(0, dtype=np.uint32)
    seeds_g2, random = group.words_gw.view(np.uint64)[:, 2:], KeyedWords()
    own_M = sum(random.words(seed_2, WIDTH).copy() for seed_2 in seeds_g2)
    assert total_M.tolist() == np.asarray(own_M, np.uint32).tolist()


@pytest.mark.parametrize("value", [0, 1, 2**31, 2**32 - 1])
def test_a_masked_message_is_uniform_whatever_its_value(value: int) -> None:
    """So is the sum of all messages but one, of which somebody who adds up knows each mask but those of
    that one: χ² of the highest and lowest four bits over 4,000 words."""
    masked, rest = [], []
    for round in range(1, 101):
        group = _group(5, np.ones(5, bool), round)
        y_gM = _masked(group, np.full((5, 40), value, np.uint32))
        seeds_g2, random = group.words_gw.view(np.uint64)[:, 2:], KeyedWords()
        masked.append(y_gM[2])
        known = [y_gM[a] - random.words(seeds_g2[a], 40) for a in (0, 1, 3, 4)]
        rest.append(np.sum(known, 0, dtype=np.uint32))
    for words in (np.concatenate(masked), np.concatenate(rest)):
        for part in (words >> 28, words & 15):
            count = np.bincount(part, minlength=16)
            assert ((count - 250) ** 2 / 250).sum() < 45  # 15 degrees of freedom: one in 13,000


def test_messages_of_different_rounds_and_devices_have_nothing_in_common() -> None:
    rows = [
        _masked(_group(4, np.ones(4, bool), round), np.zeros((4, 500), np.uint32))
        for round in (1, 2, 3)
    ]
    off = np.corrcoef(np.concatenate(rows).astype(float)) - np.eye(12)
    assert np.abs(off).max() < 5 / 500**0.5


def _recovered(shares: Sequence[shamirs.share]) -> int:
    return interpolated([s.value for s in shares], weights_at_zero([s.index for s in shares]))


def test_secrets_come_back_from_any_shares_as_the_library_finds_them() -> None:
    secret = 2**128 - 77
    shares = shamirs.shares(secret, 7, modulus=PRIME, threshold=4)
    for some in combinations(shares, 4):
        assert _recovered(some) == shamirs.interpolate(list(some), threshold=4) == secret


def test_one_share_less_than_needed_says_nothing() -> None:
    """Every secret fits the shares that are there: a missing one decides which it is."""
    secret = 2**128 - 77
    three = shamirs.shares(secret, 6, modulus=PRIME, threshold=4)[:3]
    assert _recovered(three) != secret
    *known, missing = weights_at_zero([1, 2, 3, 6])
    for other in (0, 1, 2**127):
        left = (other - interpolated([s.value for s in three], known)) * pow(missing, -1, PRIME)
        assert _recovered([*three, shamirs.share(6, left % PRIME, PRIME)]) == other


def test_a_sum_that_lost_too_many_stays_masked() -> None:
    """Even if whoever adds up tries it with the shares that are left."""
    alive_g = np.array([True, True, False, False, True])
    group, words_gM = _group(5, alive_g), np.ones((5, 200), np.uint32)
    assert not group.recovered
    total_M = _masked(group, words_gM)[alive_g].sum(0, dtype=np.uint32)
    masks = Masks(group, 200)
    for a in range(5):
        masks.take_off(a, total_M)
    assert not (total_M == 3).any()


# --- fixed point ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("largest", "terms"), [(16.0, 2), (16.0, 500), (0.3, 7), (1e6, 1000)])
def test_numbers_are_rounded_to_the_nearest_and_no_sum_wraps_around(
    largest: float, terms: int
) -> None:
    code = FixedPoint.for_sum(largest, 1.0, terms)
    x_M = np.random.default_rng(0).uniform(-largest, largest, 1000) / terms
    assert np.abs(code.decoded(code.encoded(x_M)) - x_M).max() <= 2.0 ** -(code.places + 1)
    for sign in (-1, 1):
        each = code.encoded(np.array([sign * largest / terms]))
        total = np.array([int(each[0]) * terms % 2**32], np.uint32)
        assert code.decoded(total)[0] == pytest.approx(
            sign * largest, abs=terms * 2.0**-code.places
        )
    # one place more could wrap around
    assert 2 * (largest * 2.0**code.places) + terms / 2 > MOST / 1.001


def test_the_mean_of_those_left_is_exact_to_the_resolution_and_does_not_depend_on_shards() -> None:
    rows_nM = torch.as_tensor(np.random.default_rng(3).normal(size=(6, 50)))
    device_n, weight_N = np.arange(6), np.array([0.1, 0.3, 0.1, 0.2, 0.2, 0.1])
    alive_g = np.array([True, True, False, True, True, True])
    group = Bonawitz(threshold=0.8).group(device_n, alive_g, Keys(0, "secure.1"), 4)
    found = []
    for cut in ([6], [1, 3, 2], [1] * 6):
        parts = [
            server_part(group, Masks(group, 50), rows, devices, weight_N, 16.0, 4).astype(float)
            for rows, devices in zip(
                rows_nM.split(cut), np.split(device_n, np.cumsum(cut)[:-1]), strict=True
            )
        ]
        found.append(server_mean(group, np.sum(parts, 0), weight_N, 16.0))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    weights = weight_N[alive_g] / weight_N[alive_g].sum()
    expected = weights @ rows_nM.numpy()[alive_g]
    np.testing.assert_allclose(found[0].numpy(), expected, atol=6 * 2.0**-27)


def test_a_number_out_of_range_is_refused_and_none_counts_as_zero() -> None:
    code = FixedPoint.for_sum(2.0, 1.0, 3)
    with pytest.raises(
        OutOfRangeError,
        match=r"^device 7 has a number of size 2.5 to send in round 3, and secure_sum.range=2 ",
    ):
        encoded(torch.tensor([1.0, -2.5]), 0.5, code, 2.0, 7, 3)
    found = encoded(torch.tensor([1.0, torch.nan, torch.inf]), 0.5, code, 2.0, 7, 3)
    assert code.decoded(found).tolist() == [0.5, 0.0, 0.0]


# --- what is counted, and what is refused ---------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "numbers", "bits", "expansion"),
    [(2**10, 2**20, 26, 1.73), (2**14, 2**24, 30, 1.98)],
)
def test_bits_are_those_of_the_paper(
    devices: int, numbers: int, bits: int, expansion: float
) -> None:
    """2n·a_K + (5n − 4)·a_S + m·⌈log₂ R⌉ for a device, and the expansion over 16 bits a number that the
    abstract states, for vectors whose sums need 26 and 30 bits."""
    group = _group(devices, np.ones(devices, bool))
    added = group.up_bits + group.down_bits + group.unmask_bits
    assert added == 2 * devices * 256 + (5 * devices - 4) * 256
    assert (added + numbers * bits) / (16 * numbers) == pytest.approx(expansion, abs=0.005)


def test_few_partners_make_messages_whose_size_does_not_grow() -> None:
    sizes = {
        _group(devices, np.ones(devices, bool), partners=10).up_bits for devices in (12, 100, 1000)
    }
    assert sizes == {2 * 256 + 2 * 10 * 256}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"range": 0.0}, "range=0: must be a size of numbers"),
        ({"threshold": 0.5}, "threshold=0.5: must be a share above 0.5"),
        ({"threshold": 1.2}, "threshold=1.2: must be"),
        ({"partners": 3}, "partners=3: must be null or an even number"),
        ({"partners": 0}, "partners=0: must be"),
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        Bonawitz(**option)  # type: ignore[arg-type]


def test_a_circle_in_two_pieces_gives_no_sum() -> None:
    """Masks cancel in each piece, whose sums would be known: 16 devices, each of which shares masks
    with two on either side, and two pairs of neighbours that drop out."""
    keys, device_g = Keys(0, "secure"), np.arange(16)
    made = Bonawitz(threshold=0.51, partners=4)
    order_g = made.group(device_g, np.ones(16, bool), keys, 1).order_g
    for away, recovered in (([1, 2, 8, 9], False), ([1, 2], True), ([1, 8], True), ([1, 9], True)):
        alive_g = np.ones(16, bool)
        alive_g[order_g[away]] = False
        assert made.group(device_g, alive_g, keys, 1).recovered is recovered
