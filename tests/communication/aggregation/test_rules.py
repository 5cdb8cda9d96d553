"""Aggregation rules by themselves: their formulas, beside loops written out and published values,
and what they do where rows agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.base import Aggregator
from swarm.communication.aggregation.centred_clipping import CentredClipping
from swarm.communication.aggregation.clipped_gossip import ClippedGossip
from swarm.communication.aggregation.coordinate_median import CoordinateMedian
from swarm.communication.aggregation.geometric_median import GeometricMedian
from swarm.communication.aggregation.krum import Krum, MultiKrum
from swarm.communication.aggregation.mean import Mean
from swarm.communication.aggregation.minimum_diameter import MinimumDiameter
from swarm.communication.aggregation.monna import Monna
from swarm.communication.aggregation.reputation import Reputation
from swarm.communication.aggregation.trimmed_mean import TrimmedMean
from swarm.communication.aggregation.ubar import Ubar
from swarm.communication.mixing import weights
from swarm.communication.topology.exponential import ExponentialGraph
from swarm.communication.topology.regular import Complete, Ring, Star
from swarm.config.build import build, option, options
from tests.communication.aggregation.written_out import (
    RULES,
    adaptive_clipping,
    heard,
    random_rows,
)

NAMES = [name for name in options("aggregator") if name != "mean"]


def made(name: str, **settings: Any) -> Aggregator:
    rule: Aggregator = build(option("aggregator", name) | settings, Aggregator, "aggregator")
    return rule


def with_f(name: str, f: float, **settings: Any) -> Aggregator:
    """The rule ``name`` that assumes ``f`` hostile rows, if it assumes any."""
    return made(name, **({"f": f} if "f" in option("aggregator", name) else {}), **settings)


@pytest.mark.parametrize("name", NAMES)
def test_formulas(name: str) -> None:
    """Against the rule written out, for 5 to 9 rows that are not all different."""
    for seed in range(15):
        n, f = 5 + seed % 5, 1 + (seed % 5 > 3)
        random = np.random.default_rng(seed)
        rows, weight = random_rows(n, seed), random.dirichlet(np.ones(n))
        loss = random.uniform(0.5, 2.0, n)
        # Weiszfeld's steps creep where the median is one of the rows
        near = {"rtol": 0, "atol": 2e-3 if name == "geometric_median" else 1e-12}
        found = with_f(name, f).combine(heard(rows, weight, loss))
        assert_allclose(found, RULES[name](rows, f, weight, loss), **near)


def test_settings_of_single_rules() -> None:
    rows, weight = random_rows(8, 3), np.random.default_rng(3).dirichlet(np.ones(8))
    near = {"rtol": 0, "atol": 1e-12}
    median = CoordinateMedian().combine(heard(rows[:1]))
    assert_allclose(median, rows[0], rtol=0, atol=0)
    for share in (0.13, 0.25, 1 / 3, 0.49):
        trimmed = TrimmedMean(share).combine(heard(rows))
        assert_allclose(
            trimmed, RULES["trimmed_mean"](rows, int(8 * share), weight, weight), **near
        )
    for f in (1, 2):
        found = ClippedGossip("auto", f).combine(heard(rows, weight))
        assert_allclose(found, adaptive_clipping(rows, f, weight, weight), **near)
    assert_allclose(ClippedGossip(1e9).combine(heard(rows, weight)), weight @ rows, **near)
    twice = CentredClipping(0.5, 2).combine(heard(rows))
    once = CentredClipping(0.5).combine(heard(rows)).numpy()
    step = rows - once
    step *= np.minimum(1, 0.5 / np.linalg.norm(step, axis=1))[:, None]
    assert_allclose(twice, once + step.mean(0), **near)
    assert_allclose(
        MultiKrum(1, selected=1).combine(heard(rows)), Krum(1).combine(heard(rows)), **near
    )
    third = np.array([2.0, 2.0, 4.0, math.nan])
    trusting = Reputation(1.0).combine(heard(rows[:4], np.full(4, 0.25), third))
    expected = rows[0] + 0.25 * (rows[1] - rows[0]) + 0.125 * (rows[2] - rows[0])
    assert_allclose(trusting, expected, **near)


# --- values of byzfl 0.0.11, a published implementation -------------------------------------------

SEVEN = np.array(
    [
        [1.25, 1.75, -1.75],
        [-1.5, -0.25, 0.25],
        [1.25, -0.75, -2.25],
        [-1.25, -0.25, -0.5],
        [2.0, -0.25, 0.75],
        [0.5, -2.0, 1.0],
        [40.0, -50.0, 60.0],
    ]
)
NEAR = [0.375, -0.2916666666666667, -0.4166666666666667]
PUBLISHED: list[tuple[Aggregator, list[float]]] = [
    (CoordinateMedian(), [1.25, -0.25, 0.25]),
    (TrimmedMean(1), [0.75, -0.7, -0.05]),
    (TrimmedMean(2), [1.0, -0.4166666666666667, 0.16666666666666666]),
    (Krum(1), [-1.25, -0.25, -0.5]),
    (Krum(2), [-1.25, -0.25, -0.5]),
    (MultiKrum(1), NEAR),
    (MultiKrum(2), [0.2, -0.7, -0.15]),
    (MinimumDiameter(1), NEAR),
    (MinimumDiameter(2), [0.2, -0.7, -0.15]),
    (Monna(1), NEAR),
    (Monna(2), [0.35, 0.05, -0.7]),
    (GeometricMedian(), [0.4833186512726122, -0.6481235102192594, 0.02370339966938518]),
]


@pytest.mark.parametrize(("rule", "expected"), PUBLISHED)
def test_published_values(rule: Aggregator, expected: list[float]) -> None:
    close = 1e-4 if isinstance(rule, GeometricMedian) else 1e-14
    assert_allclose(rule.combine(heard(SEVEN)), expected, rtol=0, atol=close)


# --- agreement, order, and what is conserved ------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_equal_rows_stay_as_they_are_to_the_bit(name: str) -> None:
    row = np.random.default_rng(5).standard_normal((1, 50)) / 3
    for n in (1, 2, 3, 5, 6, 7, 8):
        same = made(name).combine(heard(np.repeat(row, n, 0)))
        assert torch.equal(same, torch.as_tensor(row[0]))


def test_the_mean_keeps_agreement() -> None:
    row = random_rows(1)
    assert_allclose(Mean().combine(heard(np.repeat(row, 6, 0))), row[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_neighbours_does_not_matter(name: str) -> None:
    """Bit for bit where rows are only sorted or chosen, else up to the rounding of sums."""
    random = np.random.default_rng(8)
    rows, weight, loss = (
        random.standard_normal((8, 7)),
        random.dirichlet(np.ones(8)),
        random.random(8),
    )
    order = np.array([0, *random.permutation(np.arange(1, 8))])
    rule = made(name)
    one = rule.combine(heard(rows, weight, loss))
    other = rule.combine(heard(rows[order], weight[order], loss[order]))
    exact = name in ("coordinate_median", "trimmed_mean", "krum", "multi_krum", "monna")
    assert_allclose(other, one, rtol=0, atol=0 if exact else 1e-13)


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
    for name in NAMES:
        if name != "clipped_gossip":
            assert made(name).conserves(symmetric) == "row"
    assert ClippedGossip("auto", 1).conserves(symmetric) == "row"


def test_clipped_gossip_keeps_the_mean_over_symmetric_weights() -> None:
    n, random = 9, np.random.default_rng(3)
    x, W = random.standard_normal((n, 4)) * 3, weights(Complete(n).graph(0)).matrix.toarray()
    found = []
    for i in range(n):
        order = [i, *(j for j in range(n) if j != i)]
        found.append(ClippedGossip(1.5).combine(heard(x[order], W[i, order])).numpy())
    assert not np.allclose(np.stack(found), W @ x)  # something was clipped
    assert_allclose(np.mean(found, 0), x.mean(0), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TrimmedMean(0.5), "f=0.5: must be a whole number of at least 0, or a share"),
        (lambda: TrimmedMean(-1), "f=-1: must be a whole number"),
        (lambda: TrimmedMean(math.nan), "f=nan: must be a whole number"),
        (lambda: TrimmedMean(1.5), "f=1.5: must be a whole number"),
        (lambda: ClippedGossip(0.0), "radius=0: must be a distance above 0"),
        (lambda: ClippedGossip(math.nan), "radius=nan: must be a distance above 0"),
        (lambda: ClippedGossip("auto"), "f=0: must be above 0 with radius=auto"),
        (lambda: CentredClipping(0.0), "radius=0: must be a distance above 0"),
        (lambda: CentredClipping(1.0, 0), "iterations=0: must be a whole number of at least 1"),
        (lambda: GeometricMedian(iterations=0), "iterations=0: must be a whole number"),
        (lambda: GeometricMedian(tolerance=math.nan), "tolerance=nan: must be a number of at"),
        (lambda: GeometricMedian(smoothing=0.0), "smoothing=0: must be a distance above 0"),
        (lambda: MultiKrum(1, selected=0), "selected=0: must be a whole number of at least 1"),
        (lambda: Ubar(1, alpha=1.0), "alpha=1: must lie between 0 and 1"),
        (lambda: Reputation(0.0), "power=0: must be a number above 0"),
        (
            lambda: TrimmedMean(0.25).check(Ring(5).graph(0)),
            r"f=0.25: assumes no hostile row, as no device combines more than 3 rows; at least"
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
