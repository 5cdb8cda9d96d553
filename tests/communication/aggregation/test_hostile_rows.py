"""What hostile rows can do to a rule: nothing beyond its theorem up to f of them, and anything
beyond its breakdown point."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from swarm.communication.aggregation.base import Aggregator
from swarm.communication.aggregation.bucketing import Bucketing
from swarm.communication.aggregation.centred_clipping import CentredClipping
from swarm.communication.aggregation.clipped_gossip import ClippedGossip
from swarm.communication.aggregation.coordinate_median import CoordinateMedian
from swarm.communication.aggregation.geometric_median import GeometricMedian
from swarm.communication.aggregation.krum import Krum, MultiKrum
from swarm.communication.aggregation.minimum_diameter import MinimumDiameter
from swarm.communication.aggregation.monna import Monna
from swarm.communication.aggregation.nnm import NearestNeighbourMixing
from swarm.communication.aggregation.pre_aggregator import PreAggregated
from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.aggregation.trimmed_mean import TrimmedMean
from swarm.communication.aggregation.ubar import Ubar
from tests.communication.aggregation.test_rules import NAMES, made, with_f
from tests.communication.aggregation.written_out import Floats, heard, random_rows

BAD = [1e300, -1e300, 1e30, math.inf, -math.inf, math.nan]


def planted(n: int, f: int, seed: int) -> tuple[Floats, list[int]]:
    """Honest rows around one point, and the places of ``f`` others; the own row is honest."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((n, 6)) + 3 * random.standard_normal(6)
    return rows, random.choice(np.arange(1, n), f, replace=False).tolist()


@pytest.mark.parametrize("bad", BAD)
def test_coordinates_stay_in_the_range_of_the_honest_rows(bad: float) -> None:
    """f < n/2 for the median, f for the trimmed mean (Yin et al. 2018)."""
    for n in range(3, 13):
        for rule, f in (
            (CoordinateMedian(), (n - 1) // 2),
            (TrimmedMean(0.3), math.floor(0.3 * n)),
            (TrimmedMean((n - 1) // 2), (n - 1) // 2),
        ):
            rows, where = planted(n, f, n)
            rows[where] = bad
            rows[where[: f // 2]] *= -1
            good = np.delete(rows, where, 0)
            combined = rule.combine(heard(rows)).numpy()
            assert (combined >= good.min(0)).all()
            assert (combined <= good.max(0)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_row_that_is_not_finite_is_left_out_and_counts_as_hostile(name: str, bad: float) -> None:
    """To the bit: as if it had not come, with an f less by one."""
    rows, weight = random_rows(9, 4), np.random.default_rng(4).dirichlet(np.ones(9))
    loss = np.random.default_rng(5).random(9)
    rows[3, 2] = bad
    kept = np.array([0, 1, 2, 4, 5, 6, 7, 8])
    found = with_f(name, 2).combine(heard(rows, weight, loss))
    expected = with_f(name, 1).combine(heard(rows[kept], weight[kept], loss[kept]))
    assert torch.equal(found, expected)
    everything = rows.copy()
    everything[1:] = bad
    assert torch.equal(made(name).combine(heard(everything)), torch.as_tensor(rows[0]))


@pytest.mark.parametrize("name", NAMES)
def test_a_device_whose_own_row_is_not_finite_keeps_it(name: str) -> None:
    rows = random_rows(7, 1)
    rows[0, 0] = math.nan
    assert torch.equal(made(name).combine(heard(rows)).isnan(), torch.as_tensor(rows[0]).isnan())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("far", [1e12, 1e30, 1e200])
def test_f_rows_at_any_distance_do_not_move_a_device_far(name: str, far: float) -> None:
    """Honest rows lie within 8 of the own one; hostile models are bad ones as well."""
    for seed in range(4):
        rows, where = planted(9, 2, seed)
        rows[where] = far * np.sign(np.random.default_rng(seed).standard_normal((2, 6)))
        loss = np.ones(9)
        loss[where] = 1e9
        honest = np.delete(rows, where, 0)
        width = np.linalg.norm(honest[:, None] - honest[None], axis=2).max()
        assert width < 8
        found = with_f(name, 2).combine(heard(rows, None, loss)).numpy()
        # the loss of a hostile model bounds what reputation gives it, and not its distance
        if name != "reputation" or far < 1e13:
            assert np.linalg.norm(found - rows[0]) <= 1.5 * width


@pytest.mark.parametrize("f", [1, 2, 3])
def test_krum_returns_an_honest_row(f: int) -> None:
    """One of the inputs to the bit, with n = 2f + 3 rows, however far the hostile ones are."""
    for seed in range(20):
        rows, where = planted(2 * f + 3, f, seed)
        rows[where] += 10.0 ** (seed % 7) * 20  # all of them together at one place
        found = Krum(f).combine(heard(rows)).numpy()
        same = [i for i, row in enumerate(rows) if (row == found).all()]
        assert len(same) == 1
        assert same[0] not in where


@pytest.mark.parametrize("share", [1 / 9, 2 / 9, 3 / 9, 4 / 9])
def test_the_geometric_median_deviates_no_more_than_its_bound(share: float) -> None:
    """(1 − α)/√(1 − 2α) · r, where all honest rows lie within r of a point (Minsker 2015)."""
    n, f, largest = 9, round(9 * share), 0.0
    for seed in range(12):
        random = np.random.default_rng(seed)
        rows = random.standard_normal((n, 3))
        rows /= np.linalg.norm(rows, axis=1)[:, None]  # r = 1, around the origin
        rows[n - f :] = random.standard_normal(3) * 10.0 ** random.uniform(-1, 6)
        deviation = np.linalg.norm(GeometricMedian().combine(heard(rows)))
        assert deviation <= (1 - share) / math.sqrt(1 - 2 * share) + 1e-3
        largest = max(largest, float(deviation))
    assert largest > 0.3 * share  # the bound is held against something


def test_centred_clipping_moves_by_at_most_its_radius() -> None:
    rows, where = planted(9, 4, 2)
    rows[where] = 1e9
    for iterations in (1, 3):
        found = CentredClipping(0.7, iterations).combine(heard(rows)).numpy()
        assert np.linalg.norm(found - rows[0]) <= 0.7 * iterations + 1e-12
    # four of nine rows: at most τ/n each
    without = rows.copy()
    without[where] = rows[0]
    moved = CentredClipping(0.7).combine(heard(rows)) - CentredClipping(0.7).combine(heard(without))
    assert torch.linalg.vector_norm(moved) <= 4 / 9 * 0.7 + 1e-7
    assert torch.linalg.vector_norm(moved) >= 4 / 9 * 0.7 - 1e-6  # and they all pull one way


def test_a_neighbour_moves_a_device_by_its_weight_times_the_radius_at_most() -> None:
    rows = random_rows(4)
    far = rows.copy()
    far[2] = 1e12
    weight = np.array([0.4, 0.3, 0.2, 0.1])
    rule = ClippedGossip(0.75)
    apart = rule.combine(heard(far, weight)) - rule.combine(heard(rows, weight))
    assert torch.linalg.vector_norm(apart) <= 2 * 0.2 * 0.75 + 1e-12


def test_the_adaptive_radius_does_not_depend_on_how_far_hostile_rows_are() -> None:
    """The sum of what all honest rows pull bounds what f hostile ones do (He et al. 2022)."""
    rows, where = planted(9, 2, 5)
    weight, found = np.full(9, 1 / 9), []
    honest = np.delete(rows, where, 0)
    radius = math.sqrt((np.linalg.norm(honest - rows[0], axis=1) ** 2).sum() / 2)
    for far in (1e3, 1e6, 1e9):
        rows[where] = rows[0] + far * np.ones(6)
        found.append(ClippedGossip("auto", 2).combine(heard(rows, weight)).numpy())
    assert_allclose(found[1], found[0], rtol=0, atol=1e-9)
    assert_allclose(found[2], found[0], rtol=0, atol=1e-6)
    without = rows.copy()
    without[where] = rows[0]
    moved = found[0] - weight @ without
    assert np.linalg.norm(moved) <= 2 / 9 * radius + 1e-9


BREAKS: list[tuple[Aggregator, int]] = [
    (CoordinateMedian(), 5),
    (TrimmedMean(2), 3),
    (TrimmedMean(0.25), 3),
    (Krum(2), 5),  # of one mind, as equal rows
    (MultiKrum(2), 3),
    (GeometricMedian(), 5),
    (MinimumDiameter(2), 3),
    (Monna(2), 3),
]


@pytest.mark.parametrize(("rule", "enough"), BREAKS)
def test_breakdown_points(rule: Aggregator, enough: int) -> None:
    """Of nine rows, so many hostile ones take a device anywhere, and fewer do not."""
    for hostile in (enough - 1, enough):
        rows, _ = planted(9, 0, 7)
        rows[9 - hostile :] = 1e9
        moved = np.abs(rule.combine(heard(rows)).numpy()).max()
        assert (moved > 1e8) == (hostile == enough)


def test_bears_is_the_breakdown_point() -> None:
    """What a rule says that it bears among nine rows is less than what breaks it."""
    for rule, enough in BREAKS:
        assert rule.bears(9) == enough - 1 or isinstance(rule, Krum)
        assert rule.bears(9) < enough


# κ of Allouah et al. (AISTATS 2023), Table 1, with t = f / (n − 2f)
KAPPA = {
    "coordinate_median": lambda t: 4 * (1 + t) ** 2,
    "trimmed_mean": lambda t: 6 * t * (1 + t),
    "krum": lambda t: 6 * (1 + t),
    "geometric_median": lambda t: 4 * (1 + t) ** 2,
}


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", KAPPA)
def test_robust_averaging(name: str, mixed: bool) -> None:
    """‖F − x̄_H‖² ≤ κ/|H| Σ_H ‖x_i − x̄_H‖² for attacks that hide among the honest rows and for
    those that do not; with nearest-neighbour mixing before it, κ is 8f/(n − f) · (κ + 1)."""
    n = 11
    for f in (1, 2, 3, 4):
        kappa = KAPPA[name](f / (n - 2 * f))
        rule = with_f(name, f)
        if mixed:
            kappa = 8 * f / (n - f) * (kappa + 1)
            rule = PreAggregated([NearestNeighbourMixing()], rule)  # type: ignore[arg-type]
        for z in (-1e5, -10.0, -1.5, -0.7, 0.3, 1.0, 3.0):
            rows, where = planted(n, f, f)
            honest = np.delete(rows, where, 0)
            centre, spread = honest.mean(0), honest.std(0)
            rows[where] = centre + z * spread  # a little is enough (ALIE), or a lot is
            found = rule.combine(heard(rows)).numpy()
            variance = ((honest - centre) ** 2).sum() / len(honest)
            assert ((found - centre) ** 2).sum() <= kappa * variance


@pytest.mark.parametrize("rule", [Monna(1), CentredClipping(f=1), ClippedGossip(f=1)])
def test_the_trusted_row_is_the_own_one_in_any_order_of_pre_aggregators(rule: RobustRule) -> None:
    """A bucket may be of any rows, so what NNM makes of the first one is no row to trust."""
    before = [Bucketing(2), NearestNeighbourMixing()]
    for seed in range(20):
        rows = np.random.default_rng(seed).standard_normal((10, 4))
        rows[3] = 1e6
        for order in (before, before[::-1]):
            found = PreAggregated(order, rule).combine(heard(rows))
            assert float(found.abs().max()) < 5


def test_mixing_makes_honest_rows_more_alike() -> None:
    rows, where = planted(11, 2, 3)
    rows[where] = 50.0
    seen = []

    class Look(CoordinateMedian):
        def combine_stack(self, stack):  # type: ignore[no-untyped-def]
            seen.append(stack.rows_nGM[:, 0].numpy())
            return super().combine_stack(stack)

    PreAggregated([NearestNeighbourMixing()], Look(2)).combine(heard(rows))
    before, after = (np.delete(x, where, 0) for x in (rows, seen[0]))
    assert after.var(0).sum() < 0.5 * before.var(0).sum()


def test_ubar_looks_at_distances_first_and_then_at_losses() -> None:
    rows = np.zeros((5, 2))
    rows[1:, 0] = [1.0, 2.0, 3.0, 9.0]
    loss = np.array([1.0, 0.5, 1.5, 1.0, 0.1])  # the farthest has the lowest loss
    near = Ubar(1).combine(heard(rows, None, loss))
    assert_allclose(near, [0.5 * (1.0 + 3.0) / 2, 0.0])  # of three near ones, two do well
    worse = np.array([0.2, 0.5, 1.5, math.nan, 0.1])
    assert_allclose(Ubar(1).combine(heard(rows, None, worse)), [0.5, 0.0])  # the best of them
