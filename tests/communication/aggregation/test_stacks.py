"""Rules over many devices at once: the bits of a device depend on its own rows only, not on which
devices are combined beside it, in how many pieces, or by how many threads."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from swarm.common.rng import Keys
from swarm.communication.aggregation import stack
from swarm.communication.aggregation.base import Aggregator, Draws, Neighbourhoods
from swarm.communication.aggregation.bucketing import Bucketing
from swarm.communication.aggregation.coordinate_median import CoordinateMedian
from swarm.communication.aggregation.coordinates import network, sorted_values
from swarm.communication.aggregation.nnm import NearestNeighbourMixing
from swarm.communication.aggregation.pre_aggregator import PreAggregated, PreAggregator
from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.aggregation.stack import Stack, row_sums, squared_lengths
from swarm.communication.aggregation.trimmed_mean import TrimmedMean
from swarm.communication.mixing import weights
from swarm.communication.round_messages import RoundMessages
from swarm.communication.routing import routes
from swarm.communication.topology.graph import Graph
from tests.communication.aggregation.test_rules import NAMES, made
from tests.communication.aggregation.written_out import heard

N, M = 17, 150
DRAWS = Draws(Keys(3, "aggregator.1"), 5)


def unequal() -> RoundMessages:
    """Messages of a round in which devices hear between 0 and 14 others; the first hears nobody,
    the next ones too few for most rules."""
    random, edges = np.random.default_rng(2), []
    for i in range(1, N):
        many = [1, 2, 3][i - 1] if i < 4 else 4 + i % 11
        others = np.delete(np.arange(N), i)
        edges += [(j, i) for j in random.choice(others, many, replace=False)]
    matrix = weights(Graph.from_edges(N, edges, directed=True), "uniform").matrix
    return RoundMessages("test", True, matrix, 1, np.arange(N))


def some_rows(dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows of which some are equal, one is not finite, one is far away, and some have zeros of
    either sign."""
    rows = np.random.default_rng(1).standard_normal((N, M))
    rows[5] = rows[6]
    rows[7, 3], rows[8], rows[14] = np.nan, 1e25, 1e37  # whose sum is not finite in float32
    rows[9:13, :40] = 0.0
    rows[11:13, :40] *= -1.0
    return torch.as_tensor(rows).to(dtype)


def losses(x_NM: Tensor) -> Tensor:
    return torch.as_tensor(np.random.default_rng(4).random((N, N)))


def combined(rule: Aggregator, x_NM: Tensor, shards: list[NDArray[np.int64]]) -> Tensor:
    """What all devices receive, in the order of their ids, if ``shards`` hold them."""
    loss_NN, out_NM = losses(x_NM), torch.empty_like(x_NM)
    for devices, route in zip(shards, routes(unequal(), shards, np.float32), strict=True):

        def measure(
            rows: Tensor, model: Tensor, at: Tensor, devices: NDArray[np.int64] = devices
        ) -> Tensor:
            """The loss that a table has for a model, known by its numbers, and a device."""
            return loss_NN[torch.as_tensor(devices)[at], _ids(rows[model], x_NM)]

        found = Neighbourhoods(
            route,
            x_NM[torch.as_tensor(route.sender_m)],
            x_NM[torch.as_tensor(devices[route.dst_R])],
            devices[route.dst_R],
            DRAWS,
            measure if rule.own_validation else None,
        )
        out_NM[torch.as_tensor(devices[route.dst_R])] = rule.combine_all(found)
    return out_NM


EVERYBODY = [np.arange(N)]
SHARDS = [
    [np.arange(0, 6), np.arange(6, 7), np.arange(7, N)],
    [np.arange(0, N, 2), np.arange(1, N, 2)],
    [np.array([i]) for i in range(N)],
]


def every_rule() -> dict[str, Aggregator]:
    found = {name: made(name) for name in NAMES}
    found["adaptive"] = made("clipped_gossip", radius="auto", f=1)
    mixed: list[tuple[PreAggregator, str]] = [
        (NearestNeighbourMixing(), "multi_krum"),
        (Bucketing(2), "coordinate_median"),
        (Bucketing(2), "clipped_gossip"),
    ]
    for before, name in mixed:
        inner = made(name, f=1)
        assert isinstance(inner, RobustRule)
        found[f"{type(before).__name__}+{name}"] = PreAggregated([before], inner)
    return found


@pytest.mark.parametrize("name", every_rule())
def test_bits_do_not_depend_on_company(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, x_NM = every_rule()[name], some_rows()
    whole = combined(rule, x_NM, EVERYBODY)
    assert torch.equal(whole[0], x_NM[0])  # it hears nobody
    assert torch.isfinite(whole[np.arange(N) != 7]).all()
    assert not torch.equal(whole[9:].nan_to_num(), x_NM[9:].nan_to_num())
    bits = whole.view(torch.int32)
    for shards in SHARDS:
        assert torch.equal(combined(rule, x_NM, shards).view(torch.int32), bits)
    for many in (1, 900, 5000):  # stacks of one device, and of some
        monkeypatch.setattr(stack, "AT_ONCE", many)
        assert torch.equal(combined(rule, x_NM, EVERYBODY).view(torch.int32), bits)


@pytest.mark.parametrize("name", every_rule())
def test_one_device_at_a_time_gives_the_same_bits(name: str) -> None:
    """By :meth:`Aggregator.combine` of what a device has heard, as plug-ins are called."""
    rule, x_NM = every_rule()[name], some_rows()
    whole = combined(rule, x_NM, EVERYBODY)
    (route,) = routes(unequal(), EVERYBODY, np.float32)
    loss_NN = losses(x_NM)
    found = Neighbourhoods(
        route,
        x_NM,
        x_NM,
        np.arange(N),
        DRAWS,
        (lambda rows, model, at: loss_NN[at, _ids(rows[model], x_NM)])
        if rule.own_validation
        else None,
    )
    one_by_one = torch.stack([rule.combine(found.heard(r)) for r in range(N)])
    assert torch.equal(one_by_one.view(torch.int32), whole.view(torch.int32))


def _ids(rows: Tensor, x_NM: Tensor) -> list[int]:
    return [int((x_NM[:, :3] == row[:3]).all(1).nonzero()[:1].sum()) for row in rows]


def test_sums_do_not_depend_on_threads_or_on_other_rows() -> None:
    rows = torch.randn(3, 100_003, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 4):
            torch.set_num_threads(threads)
            for of in (row_sums, squared_lengths):
                found.append(of(rows))
                found.append(np.concatenate([of(rows[i : i + 1]) for i in range(3)]))
            stacked = Stack(rows[:, None], rows[:1], torch.ones(3, 1), 0, np.zeros(1, np.int64))
            found.append(stacked.squared_distances()[0, :, 0])
    finally:
        torch.set_num_threads(before)
    for each, again in zip(found[:5], found[5:], strict=True):
        np.testing.assert_array_equal(again, each)
    for of in (0, 2):
        np.testing.assert_array_equal(found[of + 1], found[of])
    wide = rows.double()  # sums of many float32 numbers keep their digits
    np.testing.assert_allclose(found[2], squared_lengths(wide), rtol=3e-6)
    np.testing.assert_allclose(found[4][1:], (wide[1:] - wide[0]).square().sum(1), rtol=3e-6)


def test_zeros_have_one_sign() -> None:
    """Which of 0 and −0 is the smaller depends on their place in memory."""
    rows = np.where(np.random.default_rng(0).random((7, 40)) < 0.5, 0.0, -0.0)
    for rule in (CoordinateMedian(), TrimmedMean(1)):
        assert not torch.signbit(rule.combine(heard(rows))).any()


def test_a_difference_that_overflows_counts_for_nothing() -> None:
    rows = np.full((5, 3), 3e38, np.float32)
    rows[:3] *= -1
    weight = np.full(5, 0.2, np.float32)
    for rule in (made("clipped_gossip"), made("centred_clipping"), made("geometric_median")):
        found = rule.combine(heard(rows, weight))  # type: ignore[arg-type]
        assert torch.equal(found, torch.as_tensor(rows[0]))


def test_the_network_sorts() -> None:
    """By the zero-one principle, for all places; and only what is needed is compared."""
    for n in range(1, 9):
        words = torch.as_tensor(list(product([0.0, 1.0], repeat=n))).T.reshape(n, 1, 2**n)
        for start in range(n):
            for stop in range(start + 1, n + 1):
                found = torch.stack(sorted_values(words, range(start, stop)))
                assert torch.equal(found, words.sort(dim=0).values[start:stop])
    rows = torch.randn(40, 2, 30, generator=torch.Generator().manual_seed(0))
    for n in (31, 32, 33, 40):
        found = torch.stack(sorted_values(rows[:n], range(2, n - 3)))
        assert torch.equal(found, rows[:n].sort(dim=0).values[2 : n - 3])
    assert len(network(7, 3, 4)) < len(network(7, 0, 7)) == 16


def test_wide_rows_are_sorted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x_NM = some_rows(torch.float64)
    whole = combined(CoordinateMedian(), x_NM, EVERYBODY)
    monkeypatch.setattr("swarm.communication.aggregation.coordinates.AT_ONCE", 200)
    pieces = combined(CoordinateMedian(), x_NM, EVERYBODY)
    assert torch.equal(pieces.nan_to_num(), whole.nan_to_num())


def test_buckets_are_drawn_for_a_device_and_a_round() -> None:
    x_NM = some_rows()
    found = []
    for round in (5, 5, 6):
        rule = PreAggregated([Bucketing(2)], CoordinateMedian(1))
        (route,) = routes(unequal(), EVERYBODY, np.float32)
        draws = Draws(Keys(3, "aggregator.1"), round)
        found.append(rule.combine_all(Neighbourhoods(route, x_NM, x_NM, np.arange(N), draws)))
    assert torch.equal(found[0].nan_to_num(), found[1].nan_to_num())
    assert not torch.equal(found[0].nan_to_num(), found[2].nan_to_num())


def test_squares_of_very_wide_rows_lose_no_digits() -> None:
    """Added up in float32 at one go, a million squares have an error of 2e-5."""
    rows_nM = torch.rand(3, 2**20, generator=torch.Generator().manual_seed(0))
    rows_nM[0] = 0
    exact_nn = (rows_nM.double()[:, None] - rows_nM.double()).square().sum(2).numpy()
    one = Stack(rows_nM[:, None], rows_nM[:1], torch.ones(3, 1) / 3, 1, np.arange(1))
    np.testing.assert_allclose(one.squared_distances()[:, :, 0], exact_nn, rtol=2e-6)
    np.testing.assert_allclose(squared_lengths(rows_nM), exact_nn[0], rtol=2e-6)
