"""Intervals cover what they say, pairs take out what they share, and laws are found again in what
was made from them.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from swarm.common.statistics import (
    LAWS,
    Bound,
    Interval,
    aic_difference,
    growth,
    growth_aicc,
    holds_if_all,
    interval,
    power_law,
)
from swarm.experiments.claims.results import Results

N_K = np.array([8.0, 16, 32, 64, 128, 256])


def test_the_interval_is_scipys() -> None:
    x_N = np.random.default_rng(0).normal(3, 2, 7)
    expected = stats.ttest_1samp(x_N, 0).confidence_interval(0.95)
    assert interval(x_N) == pytest.approx((x_N.mean(), expected.low, expected.high))
    assert interval([*x_N, math.nan, math.inf]) == interval(x_N)


def test_the_interval_has_the_bits_of_scipys() -> None:
    """It is worked out without scipy's checks, which take most of the time."""
    rng = np.random.default_rng(0)
    for n in range(2, 40):
        x_N = rng.normal(3.0, 10.0 ** rng.integers(-6, 6), n)
        half = float(stats.t.ppf(0.975, n - 1) * stats.sem(x_N))
        mean = float(x_N.mean())
        assert interval(x_N) == (mean, mean - half, mean + half)


@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_interval_holds_the_mean_in_95_of_100_cases(n: int) -> None:
    draws = np.random.default_rng(n).normal(1, 3, (4000, n))
    found = [interval(row) for row in draws]
    covered = np.mean([low < 1 < high for _, low, high in found])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))


def test_few_values_have_no_interval_and_decide_nothing() -> None:
    assert all(math.isnan(each) for each in interval([]))
    one = interval([2.0])
    assert (one.mean, one.above(0), one.below(0), one.text()) == (
        2.0,
        None,
        None,
        "2.000 (no interval)",
    )


def test_above_and_below_are_of_the_whole_interval() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert (found.above(-1), found.above(2), found.above(9)) == (True, None, False)
    assert (found.below(-1), found.below(2), found.below(9)) == (False, None, True)
    assert found.text(1, 100, "%") == "200.0% [-48.4, 448.4]"


def test_a_bound_holds_if_the_whole_interval_is_within_its_limits() -> None:
    found = interval([1.0, 2.0, 3.0])  # [−0.48, 4.48]
    limits = [(-1, 9), (0, 9), (-1, 4), (5, 9), (-9, -1), (-math.inf, 9), (5, math.inf)]
    holds = [Bound(found, above=low, below=high).holds for low, high in limits]
    assert holds == [True, None, None, False, False, True, False]
    assert Bound(interval([1.0]), above=0).holds is None


@pytest.mark.parametrize("now", [2, 3, 5, 12, 40])
@pytest.mark.parametrize(("mean", "limits"), [(0.7, {"above": 0}), (-0.3, {"above": -1, "below": 1}), (2.1, {"below": 2})])  # fmt: skip
def test_so_many_seeds_decide_and_one_less_does_not(
    now: int, mean: float, limits: dict[str, float]
) -> None:
    def seeds(n: int) -> Interval:
        """The interval of n values whose mean and standard deviation are always the same."""
        x_N = np.random.default_rng(n).standard_normal(n)
        return interval(mean + (x_N - x_N.mean()) / x_N.std(ddof=1))

    needed = Bound(seeds(now), **limits).seeds(now)
    decided = [Bound(seeds(n), **limits).holds for n in (int(needed) - 1, int(needed))]
    assert decided == [None, mean < 2]


def test_no_number_of_seeds_decides_what_lies_on_its_limit() -> None:
    on = interval([-1.0, 1.0])
    assert Bound(on, above=0).seeds(2) == math.inf
    assert math.isnan(Bound(interval([1.0]), above=0).seeds(1))
    assert Bound(interval([1.0, 1.0]), above=0).seeds(2) == 2


def results(values: dict[str, list[float]], diverged: tuple[str, int] | None = None) -> Results:
    rows = [
        {
            "kind": kind,
            "seed": seed,
            "arm": "swarm",
            "score": value,
            "diverged": (kind, seed) == diverged,
        }
        for kind, each in values.items()
        for seed, value in enumerate(each)
    ]
    return Results(pd.DataFrame(rows), pd.DataFrame(rows).assign(round=1))


def test_a_difference_of_pairs_is_free_of_what_they_share() -> None:
    random = np.random.default_rng(1)
    shared, gain = random.normal(0, 10, 8), random.normal(0.5, 0.1, 8)
    found = results({"a": [*(shared + gain)], "b": [*shared]}).difference(
        "score", {"kind": "a"}, {"kind": "b"}
    )
    assert found == pytest.approx(interval(gain))
    assert found.above(0)
    assert results({"a": [*(shared + gain)]}).mean("score", kind="a").above(0) is None


def test_a_seed_that_one_of_a_pair_lacks_is_left_out() -> None:
    values = {"a": [1.0, 2.0, 9.0], "b": [0.5, 1.0, 5.0]}
    found = results(values, diverged=("b", 2)).difference("score", {"kind": "a"}, {"kind": "b"})
    assert found == interval([0.5, 1.0])
    none = results(values).difference("score", {"kind": "a"}, {"kind": "c"})
    assert math.isnan(none.mean)


def test_a_question_that_stands_for_several_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="several runs of a seed"):
        results({"a": [1.0], "b": [2.0]}).mean("score", arm="swarm")


def test_lines_have_an_interval_at_each_point() -> None:
    found = results({"1": [1.0, 3.0], "2": [5.0, 5.0]})
    finals = found.finals.assign(n=found.finals["kind"].astype(int))
    line = Results(finals, found.curves).along("score", "n", "name", arm="swarm")
    assert [*line.x_K] == [1, 2]
    assert [*line.y_K] == [2, 5]
    assert (line.low_K[0], line.high_K[1]) == pytest.approx((interval([1.0, 3.0]).low, 5))
    assert [*found.by_round("score", "name", kind="1").y_K] == [2]
    assert len(found.by_round("nothing", "name").y_K) == 0


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [(3.0, 0.5, 0.2), (3.0, 0.5, 0.0), (0.1, -0.5, 0.0), (2.0, 1.5, 0.01), (1, 0.1, 0)],
)
def test_a_power_law_is_found_again_exactly(a: float, b: float, c: float) -> None:
    found = power_law(N_K, a * N_K**-b + c)
    assert found.b == pytest.approx(b, abs=0.01)
    assert found.at(N_K) == pytest.approx(a * N_K**-b + c, rel=1e-4)
    assert found.at(1024.0) == pytest.approx(a * 1024**-b + c, rel=0.02)
    assert 0 <= found.c < (a * N_K**-b + c).min()


@pytest.mark.parametrize(("a", "b"), [(3.0, 0.5), (0.1, -0.5)])
def test_a_power_law_without_a_floor_is_found_again_in_noise(a: float, b: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        found = power_law(N_K, a * N_K**-b * np.exp(random.normal(0, 0.02, len(N_K))), floor=False)
        assert found.b == pytest.approx(b, abs=0.04)
        assert found.a == pytest.approx(a, rel=0.15)
        assert found.c == pytest.approx(0, abs=1e-9)


def test_a_floor_is_found_again_in_noise() -> None:
    random = np.random.default_rng(0)
    found = [
        power_law(N_K, (3 / N_K + 0.2) * np.exp(random.normal(0, 0.01, len(N_K))))
        for _ in range(20)
    ]
    assert np.median([law.c for law in found]) == pytest.approx(0.2, rel=0.05)
    assert np.median([law.b for law in found]) == pytest.approx(1, rel=0.05)


def test_growth_tells_a_logarithm_from_a_power() -> None:
    random = np.random.default_rng(0)
    noises = np.exp(random.normal(0, 0.02, (20, len(N_K))))
    logs = [growth(N_K, (1 + 2 * np.log(N_K)) * noise) for noise in noises]
    powers = [growth(N_K, 0.5 * N_K**0.9 * noise) for noise in noises]
    assert all(fit.log_error < fit.power_error for fit in logs)
    assert all(fit.log_error > fit.power_error for fit in powers)
    assert aic_difference(logs, len(N_K)) < -2
    assert aic_difference(powers, len(N_K)) > 2
    exact = growth(N_K, 1 + 2 * np.log(N_K))
    assert exact.log_slope == pytest.approx(2)
    assert growth(N_K, 3 * N_K**0.7).exponent == pytest.approx(0.7)


def test_the_corrected_aic_finds_the_law_that_was_made() -> None:
    random = np.random.default_rng(0)
    made = {"linear": 3 * N_K, "power": 3 * N_K**1.5, "exponential": 3 * np.exp(0.02 * N_K)}
    for law, y_K in made.items():
        for noise_K in np.exp(random.normal(0, 0.02, (20, len(N_K)))):
            found = growth_aicc(N_K, y_K * noise_K)
            assert list(found) == list(LAWS)
            if law == "linear":  # one parameter less costs little where the power fits noise better
                assert found["linear"] < found["exponential"] - 10
            else:
                assert min(found, key=found.__getitem__) == law
        exact = growth_aicc(N_K, y_K)
        assert min(exact, key=exact.__getitem__) == law
    noisy_K = made["power"] * np.exp(random.normal(0, 0.1, len(N_K)))
    line = stats.linregress(np.log(N_K), np.log(noisy_K))
    off_K = np.log(noisy_K) - line.intercept - line.slope * np.log(N_K)
    k, m = len(N_K), 3
    expected = k * math.log(np.square(off_K).mean()) + 2 * m + 2 * m * (m + 1) / (k - m - 1)
    assert growth_aicc(N_K, noisy_K)["power"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="five points"):
        growth_aicc(N_K[:4], N_K[:4])


def test_a_hypothesis_holds_if_all_its_parts_do() -> None:
    assert holds_if_all([True, True]) is True
    assert holds_if_all([True, None, False]) is False
    assert holds_if_all([True, None]) is None
    assert holds_if_all([]) is None


@pytest.mark.parametrize("y", [[1.0, 0, 2], [1.0, math.nan, 2], [1.0, -1, 2]])
def test_what_no_law_fits_is_refused(y: list[float]) -> None:
    for fit in (power_law, growth):
        with pytest.raises(ValueError, match="finite"):
            fit([1.0, 2, 3], y)
    with pytest.raises(ValueError, match="three"):
        power_law([1.0, 2, 2], [1.0, 2, 3])
    with pytest.raises(ValueError, match="three"):
        growth([1.0, 2], [1.0, 2])


def test_a_number_that_rounds_to_zero_has_no_sign() -> None:
    assert Interval(-0.0001, -0.0004, 0.0002).text(1, 100) == "0.0 [0.0, 0.0]"
