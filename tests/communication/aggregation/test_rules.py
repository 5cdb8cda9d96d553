"""Aggregation rules by themselves: the formulas, and the theorems that they are chosen for."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.base import Aggregator, Heard
from swarm.communication.aggregation.clipped_gossip import ClippedGossip
from swarm.communication.aggregation.coordinate_median import CoordinateMedian
from swarm.communication.aggregation.mean import Mean
from swarm.communication.aggregation.trimmed_mean import TrimmedMean
from swarm.communication.mixing import weights
from swarm.communication.topology.exponential import ExponentialGraph
from swarm.communication.topology.regular import Complete, Ring, Star
from swarm.config.build import build, option, options

RULES: list[Aggregator] = [Mean(), CoordinateMedian(), TrimmedMean(0.3), ClippedGossip(0.5)]


def heard(rows: npt.NDArray[np.float64], weight: npt.NDArray[np.float64] | None = None) -> Heard:
    """A device whose own row is the first of ``rows``; the weights are equal unless given."""
    n = len(rows)
    weight = np.full(n, 1 / n) if weight is None else weight
    return Heard(
        torch.as_tensor(rows[0]),
        float(weight[0]),
        torch.as_tensor(rows[1:]),
        torch.as_tensor(weight[1:]),
        np.arange(1, n),
        np.zeros(n - 1, np.int64),
    )


def random_rows(n: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """``[n, 7]`` numbers, some of them equal."""
    return np.random.default_rng(seed).integers(-9, 10, (n, 7)) / 4


@pytest.mark.parametrize("n", range(1, 13))
def test_formulas(n: int) -> None:
    rows = random_rows(n, n)
    weight = np.random.default_rng(n).dirichlet(np.ones(n))
    close = {"rtol": 0, "atol": 1e-14}
    mean = Mean().combine(heard(rows, weight))
    np.testing.assert_allclose(mean, weight @ rows, **close)
    median = CoordinateMedian().combine(heard(rows))
    np.testing.assert_allclose(median, np.median(rows, axis=0), **close)
    for share in (0.1, 0.25, 1 / 3, 0.49):
        trimmed = TrimmedMean(share).combine(heard(rows))
        np.testing.assert_allclose(trimmed, trim_mean(rows, share + 1e-9, axis=0), **close)
    for radius in (0.1, 2.0, 1e9):
        apart = rows[1:] - rows[0]
        length = np.maximum(np.linalg.norm(apart, axis=1), 1e-300)
        factor = np.minimum(1.0, radius / length) * weight[1:]
        clipped = ClippedGossip(radius).combine(heard(rows, weight))
        np.testing.assert_allclose(clipped, rows[0] + factor @ apart, **close)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_agreement_is_kept_and_a_device_alone_stays_as_it_is(rule: Aggregator) -> None:
    row = random_rows(1)
    np.testing.assert_allclose(rule.combine(heard(row)), row[0], rtol=0, atol=0)
    same = rule.combine(heard(np.repeat(row, 6, 0)))
    np.testing.assert_allclose(same, row[0], rtol=0, atol=1e-14)


@settings(deadline=None, max_examples=60)
@given(st.integers(3, 15), st.integers(0, 2**32 - 1), st.sampled_from([1e300, -1e300, np.nan]))
def test_bad_rows_stay_within_the_range_of_the_good_ones(n: int, seed: int, bad: float) -> None:
    """f < n/2 for the median, f ≤ ⌊βn⌋ for the trimmed mean (Yin et al. 2018)."""
    rows, random = random_rows(n, seed), np.random.default_rng(seed)
    for rule, most in (
        (CoordinateMedian(), (n - 1) // 2),
        (TrimmedMean(0.3), TrimmedMean(0.3).trimmed(n)),
    ):
        found = rows.copy()
        where = random.choice(np.arange(1, n), most, replace=False)
        found[where] = bad
        good = np.delete(rows, where, 0)
        combined = rule.combine(heard(found)).numpy()
        assert (combined >= good.min(0) - 1e-12).all()
        assert (combined <= good.max(0) + 1e-12).all()


def test_a_neighbour_moves_a_device_by_its_weight_times_the_radius_at_most() -> None:
    rows = random_rows(4)
    far = rows.copy()
    far[2] = 1e12
    weight = np.array([0.4, 0.3, 0.2, 0.1])
    rule = ClippedGossip(0.75)
    apart = rule.combine(heard(far, weight)) - rule.combine(heard(rows, weight))
    assert torch.linalg.vector_norm(apart) <= 2 * 0.2 * 0.75 + 1e-12


def test_what_rules_conserve() -> None:
    symmetric = weights(Ring(6).graph(0))
    turning = weights(ExponentialGraph(6).graph(0))  # both sums, but not symmetric
    row, column = (
        weights(Star(6).graph(0), "uniform"),
        weights(ExponentialGraph(6).graph(0), "column"),
    )
    assert [Mean().conserves(m) for m in (symmetric, row)] == ["both", "row"]
    assert Mean().conserves(column) == column.conserves
    assert ClippedGossip().conserves(symmetric) == "both"
    assert [ClippedGossip().conserves(m) for m in (turning, row)] == ["row", "row"]
    assert CoordinateMedian().conserves(symmetric) == "row"


def test_clipped_gossip_keeps_the_mean_over_symmetric_weights() -> None:
    n, random = 9, np.random.default_rng(3)
    x, W = random.standard_normal((n, 4)) * 3, weights(Complete(n).graph(0)).matrix.toarray()
    found = []
    for i in range(n):
        order = [i, *(j for j in range(n) if j != i)]
        found.append(ClippedGossip(1.5).combine(heard(x[order], W[i, order])).numpy())
    assert not np.allclose(np.stack(found), W @ x)  # something was clipped
    np.testing.assert_allclose(np.mean(found, 0), x.mean(0), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TrimmedMean(0.0), "share=0: must lie between 0 and 0.5"),
        (lambda: TrimmedMean(0.5), "share=0.5: must lie between 0 and 0.5"),
        (lambda: TrimmedMean(math.nan), "share=nan: must lie between 0 and 0.5"),
        (lambda: ClippedGossip(0.0), "radius=0: must be a distance above 0"),
        (lambda: ClippedGossip(math.nan), "radius=nan: must be a distance above 0"),
        (
            lambda: TrimmedMean(0.25).check(Ring(5).graph(0)),
            r"share=0.25: leaves nothing out, as no device combines more than 3 rows; at least"
            r" 0\.334 would do",
        ),
    ],
)
def test_refusals(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=said):
        make()


def test_what_the_refusal_advises_helps() -> None:
    TrimmedMean(0.334).check(Ring(5).graph(0))


@pytest.mark.parametrize("name", options("aggregator"))
def test_every_rule_of_conf_keeps_agreement(name: str) -> None:
    rule = build(option("aggregator", name), Aggregator, "aggregator")
    row = random_rows(1, 5)
    np.testing.assert_allclose(rule.combine(heard(row)), row[0], rtol=0, atol=0)
    same = rule.combine(heard(np.repeat(row, 7, 0)))
    np.testing.assert_allclose(same, row[0], rtol=0, atol=1e-14)
