"""The numbers of a record against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swarm.simulation.metrics.formulas import (
    accuracy,
    gap_closed,
    label_accuracy,
    majority,
    own_accuracy,
    r2,
    spread,
)

HITS_MC = np.array([[4.0, 1.0, 0.0], [2.0, 2.0, 2.0]])  # right answers by label, of two devices
COUNTS_C = np.array([4.0, 4.0, 2.0])


def test_accuracy_is_the_share_of_right_answers() -> None:
    np.testing.assert_allclose(accuracy(HITS_MC, COUNTS_C), [0.5, 0.6])


def test_own_accuracy_weights_the_labels_by_what_the_device_holds() -> None:
    mix = np.array([[1.0, 0.0, 0.0], [0.0, 0.25, 0.75]])
    np.testing.assert_allclose(
        own_accuracy(HITS_MC, COUNTS_C, mix), [4 / 4, 0.25 * 2 / 4 + 0.75 * 2 / 2]
    )
    of_the_test_set = np.tile(COUNTS_C / COUNTS_C.sum(), (2, 1))
    np.testing.assert_allclose(
        own_accuracy(HITS_MC, COUNTS_C, of_the_test_set), accuracy(HITS_MC, COUNTS_C)
    )


def test_label_accuracy_is_the_recall_of_one_label() -> None:
    hits, counts = np.array([[4.0, 2.0, 0.0], [3.0, 1.0, 0.0]]), np.array([4.0, 2.0, 0.0])
    np.testing.assert_allclose(label_accuracy(hits, counts, 1), [1.0, 0.5])
    assert np.isnan(label_accuracy(hits, counts, 2)).all()


def test_labels_the_test_set_lacks_drop_out_of_own_accuracy() -> None:
    counts, hits = np.array([4.0, 0.0, 2.0]), np.array([[4.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    found = own_accuracy(hits, counts, np.array([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]))
    assert found[0] == pytest.approx((0.5 * 1 + 0.2 * 0.5) / 0.7)
    assert np.isnan(found[1])


def test_the_majority_answers_and_a_tie_is_shared() -> None:
    votes_TC = np.array([[3, 0, 1], [1, 2, 1], [2, 2, 0], [0, 2, 2]])
    assert majority(votes_TC, np.array([0, 1, 0, 1])) == (1 + 1 + 1 / 2 + 1 / 2) / 4
    assert majority(votes_TC, np.array([0, 1, 1, 2])) == (1 + 1 + 1 / 2 + 1 / 2) / 4
    assert majority(votes_TC, np.array([1, 0, 2, 0])) == 0.0
    constant = majority(np.full((6, 3), 5), np.array([0, 0, 0, 0, 1, 2]))
    assert constant == pytest.approx(1 / 3), "no answer at all is chance"


def test_spread_over_devices() -> None:
    found = spread("accuracy", np.arange(11) / 10)
    expected = {"mean": 0.5, "min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}
    assert found == pytest.approx({f"accuracy_{name}": value for name, value in expected.items()})


def test_r2_is_one_for_truth_and_nought_for_the_mean() -> None:
    y_TC = np.array([[1.0, 0.0], [2.0, 4.0], [6.0, 2.0]])
    mean = np.square(y_TC - y_TC.mean(0)).sum(0)
    np.testing.assert_allclose(r2(np.array([[0.0, 0.0], mean, 2 * mean]), y_TC), [1.0, 0.0, -1.0])


ARMS = ("swarm", "isolated", "centralised")


def test_gap_closed() -> None:
    assert gap_closed(0.9, 0.5, 1.0, ARMS) == (pytest.approx(0.8), None)
    assert gap_closed(0.4, 0.5, 1.0, ARMS)[0] == pytest.approx(-0.2), "worse than isolated"
    assert gap_closed(1.0, 0.5, 0.9, ARMS)[0] == pytest.approx(1.25), "better than centralised"
    assert gap_closed(0.6, 0.5, 0.520001, ARMS)[0] is not None
    for centralised in (0.519, 0.5, 0.3):
        share, reason = gap_closed(0.6, 0.5, centralised, ARMS)
        assert share is None
        assert reason is not None
        assert "0.02" in reason
    share, reason = gap_closed(None, 0.5, None, ARMS)
    assert share is None
    assert reason is not None
    assert "swarm" in reason
    assert "centralised" in reason
    assert "isolated" not in reason


def test_a_score_beyond_all_measure_closes_no_gap() -> None:
    """Isolated devices at an R² of −1e30 would have every swarm close all of the gap."""
    beyond = [(0.5, -1e30, 0.9), (-1e6, 0.1, 0.9), (0.5, 0.1, -math.inf), (0.5, math.nan, 0.9)]
    for swarm, isolated, centralised in beyond:
        share, reason = gap_closed(swarm, isolated, centralised, ARMS)
        assert share is None
        assert reason is not None
        assert "worse than a constant prediction" in reason
    assert gap_closed(0.5, -5.0, 0.9, ARMS)[0] == pytest.approx(5.5 / 5.9), (
        "a poor score is still one"
    )
