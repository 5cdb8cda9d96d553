"""The hash behind the rounding: uniform, uncorrelated, different in every row, and independent of
the company.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from swarm.communication.compression.hash_rng import row_keys, uniform, words
from tests.communication.compression.cases import draw


@pytest.mark.parametrize("axis", ["along rows", "along devices", "along rounds"])
def test_uniform(axis: str) -> None:
    """χ² on 256 cells of the high and of the low bits, whichever way one looks."""
    if axis == "along rows":
        w = words(row_keys(draw(4)), 50_000)
    elif axis == "along devices":
        w = words(row_keys(draw(50_000)), 4).T
    else:
        w = np.stack([words(row_keys(draw(1, round)), 4)[0] for round in range(5_000)], 1)
    for shift in (24, 8, 0):
        for row in w:
            cells = np.bincount((row >> np.uint32(shift)) & np.uint32(255), minlength=256)
            assert stats.chisquare(cells).pvalue > 1e-4


def test_neighbours_are_not_correlated() -> None:
    u = uniform(row_keys(draw(200)), 2_000).astype(np.float64) - 0.5
    for a, b in (
        (u[:, 1:], u[:, :-1]),
        (u[:, 2:], u[:, :-2]),
        (u[1:], u[:-1]),
        (u[:, 64:], u[:, :-64]),
    ):
        assert abs((a * b).mean()) * 12 < 4 / np.sqrt(a.size)
    pairs = np.floor((u[:, ::2] + 0.5) * 16) * 16 + np.floor((u[:, 1::2] + 0.5) * 16)
    assert stats.chisquare(np.bincount(pairs.astype(int).ravel(), minlength=256)).pvalue > 1e-4


def test_numbers_lie_in_the_half_open_interval() -> None:
    u = uniform(row_keys(draw(100)), 10_000)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)


def test_rounds_phases_and_devices_have_their_own() -> None:
    rows = [
        words(row_keys(draw(3)), 100),
        words(row_keys(draw(3, 2)), 100),
        words(row_keys(draw(3, 1, "other")), 100),
    ]
    every = np.concatenate(rows)
    assert len(np.unique(every)) > 890  # 900 draws of 2³²
    np.testing.assert_array_equal(words(row_keys(draw(np.array([2]))), 40)[0], rows[0][2, :40])
