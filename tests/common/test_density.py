"""Densities are what the laws that made the scores say, and nothing is extrapolated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swarm.common.statistics import (
    Interval,
    LossLaw,
    PowerLaw,
    Reference,
    ScoreCurve,
    doubling,
    loss_law,
    reference,
    score_curve,
    trend,
)

N_K = np.array([85.0, 160, 310, 610, 1210, 2410, 4810])
LAW, CURVE = PowerLaw(60.0, 0.8, 0.2), ScoreCurve(0.9, -3.0, 1.4, 0.08)
FAMILY = Reference(LAW, CURVE, float(N_K[0]), float(N_K[-1]))


@pytest.mark.parametrize("seed", range(5))
def test_inverses_undo_what_is_inverted(seed: int) -> None:
    draw = np.random.default_rng(seed)
    law = PowerLaw(*np.exp(draw.normal(0, 1, 2)), draw.uniform(0, 1))
    curve = ScoreCurve(draw.uniform(0.3, 0.9), -np.exp(draw.normal()), draw.uniform(0, 3), 0.05)
    sizes, losses = draw.uniform(1, 1e5, 20), draw.uniform(0.5, 4, 20)
    np.testing.assert_allclose(law.size(law.at(sizes)), sizes, rtol=1e-6)
    np.testing.assert_allclose(curve.loss(curve.at(losses)), losses, rtol=1e-6)
    inside = draw.uniform(FAMILY.least, FAMILY.most, 20)
    np.testing.assert_allclose(FAMILY.effective_size(FAMILY.score(inside)), inside, rtol=1e-6)
    np.testing.assert_allclose(FAMILY.density(FAMILY.score(inside), inside / 3), 3.0, rtol=1e-6)


def test_no_size_has_a_loss_at_the_floor_and_none_a_score_beyond_the_ends() -> None:
    assert np.isnan(LAW.size([0.2, 0.1])).all()
    assert LAW.size(0.2 + 1e-9) > 1e9
    assert np.isnan(PowerLaw(1.0, -0.5, 0.0).size([0.5, 2.0])).all(), "a law that does not fall"
    assert np.isnan(CURVE.loss([0.08, 0.05, 0.98, 1.0])).all()
    assert np.isfinite(CURVE.loss([0.0801, 0.9799])).all()


def test_a_score_outside_the_family_has_no_size() -> None:
    least, most = (float(FAMILY.score(size)) for size in (FAMILY.least, FAMILY.most))
    assert np.isnan(FAMILY.effective_size([least - 1e-3, most + 1e-3])).all()
    ends = FAMILY.effective_size([least, most])
    np.testing.assert_allclose(ends, [FAMILY.least, FAMILY.most], rtol=1e-6)
    assert [FAMILY.side(score) for score in (least - 1e-3, least, most, most + 1e-3)] == [
        -1, 0, 0, 1,
    ]  # fmt: skip
    assert np.isnan(FAMILY.density(0.0, 100.0))


def test_the_law_of_size_and_samples_is_found_again() -> None:
    known = LossLaw(16.0, 0.24, 110.0, 0.28)
    n_K, d_K = (each.ravel() for each in np.meshgrid(np.geomspace(1e5, 1e8, 6), [1e8, 1e9, 1e10]))
    loss_K = known.at(n_K, d_K)
    np.testing.assert_allclose(loss_K, 16 * n_K**-0.24 + 110 * d_K**-0.28)
    found = loss_law(n_K, d_K, loss_K)
    assert found == pytest.approx(known, rel=1e-3)
    at_one = found.of_samples(1e9)
    assert at_one.c == pytest.approx(110 * 1e9**-0.28, rel=1e-3)
    np.testing.assert_allclose(at_one.size(known.at(n_K, np.full(18, 1e9))), n_K, rtol=1e-2)


def test_a_reference_family_is_found_again_with_a_little_noise() -> None:
    draw = np.random.default_rng(0)
    loss_K = LAW.at(N_K) * (1 + 0.005 * draw.standard_normal(len(N_K)))
    found = reference(N_K, loss_K, CURVE.at(loss_K) + 0.002 * draw.standard_normal(len(N_K)))
    assert (found.least, found.most) == (N_K[0], N_K[-1])
    np.testing.assert_allclose(found.effective_size(FAMILY.score(N_K[1:-2])), N_K[1:-2], rtol=0.1)


def test_the_curve_of_the_score_is_found_again() -> None:
    loss_K = np.linspace(0.2, 2.3, 9)
    assert score_curve(loss_K, CURVE.at(loss_K)) == pytest.approx(CURVE, rel=1e-3)


@pytest.mark.parametrize(
    ("size", "samples"), [([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 1, 2, 2, 1], [1, 2, 3, 4, 5])]
)
def test_too_few_models_for_a_law_are_refused(size: list[float], samples: list[float]) -> None:
    with pytest.raises(ValueError, match="three different sizes"):
        loss_law(size, samples, np.ones(len(size)))


def test_scores_that_no_curve_has_are_refused() -> None:
    with pytest.raises(ValueError, match="five models"):
        score_curve([1, 2, 3, 4], [0.4, 0.3, 0.2, 0.1])
    with pytest.raises(ValueError, match="from 0 to 1"):
        score_curve([1, 2, 3, 4, 5], [1.4, 0.3, 0.2, 0.1, 0.0])


def test_the_interval_of_a_trend_covers_the_slope_in_95_of_100_cases() -> None:
    draw, t_K = np.random.default_rng(2), np.linspace(2011, 2024, 5)
    found = [trend(t_K, 0.3 * t_K + draw.normal(0, 1, 5)) for _ in range(3000)]
    covered = np.mean([each.slope.low < 0.3 < each.slope.high for each in found])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 3000))
    exact = trend(t_K, 0.3 * t_K - 600)
    assert exact.slope == pytest.approx((0.3, 0.3, 0.3))
    assert exact.at(2020) == pytest.approx(6.0)
    assert exact.doubling.mean == pytest.approx(math.log(2) / 0.3)


def test_a_doubling_time_has_an_interval_where_its_rate_is_not_0() -> None:
    days = doubling(Interval(math.log(2) / 95, math.log(2) / 100, math.log(2) / 90))
    assert days == pytest.approx((95, 90, 100))
    halving = doubling(Interval(-0.5, -1.0, -0.25))
    assert halving == pytest.approx((-2 * math.log(2), -4 * math.log(2), -math.log(2)))
    assert halving.low < halving.mean < halving.high
    unknown = doubling(Interval(0.1, -0.1, 0.3))
    assert unknown.mean == pytest.approx(10 * math.log(2))
    assert math.isnan(unknown.low)
    assert math.isnan(unknown.high)
    assert math.isnan(doubling(Interval(0.0, -0.1, 0.1)).mean)
