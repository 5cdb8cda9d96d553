"""Slopes and laws over seeds, and where a curve comes down to a level."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swarm.common.statistics import LAWS, falls_to, growth_law, interval, slope

N_K = np.array([4.0, 8, 16, 32, 64])


def test_the_slope_of_logarithms_is_the_exponent_of_each_seed() -> None:
    exponents = [0.9, 1.2, 1.4]
    y_SK = np.array([3 * N_K**b for b in exponents])
    assert slope(np.log(N_K), np.log(y_SK)) == pytest.approx(interval(exponents))
    assert slope([0, 1], np.array([[1.0, 3.0]])).mean == pytest.approx(2)


def test_without_a_seed_there_is_neither_slope_nor_law() -> None:
    assert math.isnan(slope(N_K, np.empty((0, 5))).mean)
    assert growth_law(N_K, np.empty((0, 5))) is None


def test_the_law_of_several_seeds_is_that_of_their_mean() -> None:
    made = {"linear": 3 * N_K, "power": 3 * N_K**1.5, "exponential": 3 * np.exp(0.05 * N_K)}
    assert list(made) == list(LAWS)
    for law, y_K in made.items():
        assert growth_law(N_K, np.array([y_K, 2 * y_K])) == law
    # one seed that grows clearly as a power outweighs one that an exponential fits a bit better
    off = np.array([1, 1.3, 0.8, 1.2, 0.9])
    assert growth_law(N_K, np.array([made["power"], off * made["exponential"]])) == "power"


@pytest.mark.parametrize(
    ("y", "level", "place"),
    [
        ([4.0, 3.0, 1.0, 5.0], 2.0, 2.5),  # half-way between the second and the third
        ([4.0, 3.0, 1.0, 0.0], 3.0, 2.0),  # at a point
        ([1.0, 3.0, 0.0, 0.0], 2.0, 1.0),  # from the start
        ([4.0, 2.0, 4.0, 0.0], 2.0, 2.0),  # for the first time, whatever comes later
        ([4.0, 4.0, 4.0, 4.0], 2.0, math.nan),
    ],
)
def test_a_curve_falls_to_a_level_between_two_points(
    y: list[float], level: float, place: float
) -> None:
    assert falls_to([1, 2, 3, 4], y, level) == pytest.approx(place, nan_ok=True)
    assert math.isnan(falls_to([], [], level))
