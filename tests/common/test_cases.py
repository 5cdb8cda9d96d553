"""What has to hold in each of several cases."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.statistics import LEVEL, Bound, Cases, bonferroni, interval

VALUES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
HALF = interval(VALUES).high  # of the interval at 95%
HALF_OF_TWO = interval(VALUES, bonferroni(2)).high


def test_several_intervals_hold_all_at_once() -> None:
    assert bonferroni(1) == LEVEL
    assert bonferroni(5) == pytest.approx(0.99)
    assert bonferroni(2, 0.9) == pytest.approx(0.95)
    draw = np.random.default_rng(0)
    hold = [
        all(low < 0 < high for _, low, high in (interval(row, bonferroni(4)) for row in rows))
        for rows in draw.standard_normal((4000, 4, 6))
    ]
    assert 0.945 < np.mean(hold) < 0.965


@pytest.mark.parametrize(
    ("first", "second", "holds"),
    [
        (HALF + 0.1, HALF + 9, True),
        (HALF + 9, HALF - 0.1, None),
        (HALF + 9, -HALF - 0.1, None),  # below, but not by the interval of two
        (-HALF_OF_TWO - 0.1, HALF + 9, False),
    ],
)
def test_all_have_to_be_above_and_one_refutes_by_a_wider_interval(
    first: float, second: float, holds: bool | None
) -> None:
    cases = Cases({"a": VALUES + 3 + first, "b": VALUES + 3 + second}, above=3)
    assert cases.holds() is holds


def test_a_higher_level_asks_for_more() -> None:
    cases = Cases({"a": VALUES + HALF + 0.1}, above=0)
    assert (cases.holds(), cases.holds(0.99)) == (True, None)


def test_the_worst_case_has_the_smallest_mean() -> None:
    cases = Cases({"a": VALUES + 2, "b": VALUES + 1, "c": VALUES + 3}, above=0)
    assert cases.worst == ("b", interval(VALUES + 1))
    assert cases.bounds["c"] == Bound(interval(VALUES + 3, bonferroni(3)), above=0)
