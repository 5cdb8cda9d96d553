"""Mini-batches that follow a goal: which samples come, and that each is new once."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit
from swarm.data.stream.practice import Practice
from swarm.data.stream.stream import Stream

CLASSES, BATCH = 3, 8
LABEL_S = np.array([0, 0, 0, 1, 1, 2] * 10)
SPLIT = DeviceSplit.group(np.repeat([0, 1], [40, 20]), 2)
DEVICES = np.arange(2)
EVEN = np.full((2, CLASSES), 1 / CLASSES)


def practice(chosen: int) -> Practice:
    return Practice(SPLIT, LABEL_S, CLASSES, BATCH, chosen, 7)


def test_without_chosen_places_the_samples_are_those_of_the_stream() -> None:
    start, met = np.array([3, 11]), np.zeros((2, CLASSES), np.int64)
    usual = Stream(SPLIT, BATCH, Keys(7, "stream")).draw(DEVICES, start, 5)
    found = practice(0).draw(DEVICES, start, 5, EVEN, met)
    np.testing.assert_array_equal(found.sample_BKb, usual.sample_BKb)
    np.testing.assert_array_equal(found.first_BKb, usual.first_BKb)
    labels = LABEL_S[usual.sample_BKb].reshape(2, -1)
    counted = practice(0).consumed(DEVICES, start, np.array([5, 5]), EVEN)
    expected = [np.bincount(row, minlength=CLASSES) for row in labels]
    np.testing.assert_array_equal(counted, expected)


@pytest.mark.parametrize("chosen", [0, 3, 8])
def test_every_sample_is_new_once_however_the_steps_are_cut(chosen: int) -> None:
    """Steps drawn together, and one after the other with what was met before, are the same."""
    stream, nothing = practice(chosen), np.zeros((2, CLASSES), np.int64)
    whole = stream.draw(DEVICES, np.zeros(2, np.int64), 40, EVEN, nothing)
    met, parts = nothing, []
    for step in range(40):
        at = np.full(2, step)
        parts.append(stream.draw(DEVICES, at, 1, EVEN, met))
        met = met + stream.consumed(DEVICES, at, np.ones(2, np.int64), EVEN)
    for name in ("sample_BKb", "first_BKb"):
        cut = np.concatenate([getattr(part, name) for part in parts], 1)
        np.testing.assert_array_equal(cut, getattr(whole, name))
    assert met.sum(1).tolist() == [40 * BATCH] * 2
    for device in DEVICES:
        first = whole.sample_BKb[device][whole.first_BKb[device]]
        np.testing.assert_array_equal(np.sort(first), np.sort(SPLIT.of(device)))
        meets = LABEL_S[whole.sample_BKb[device]].ravel()
        np.testing.assert_array_equal(met[device], np.bincount(meets, minlength=CLASSES))


def test_a_class_is_gone_through_before_it_begins_again() -> None:
    only = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = practice(BATCH).draw(
        DEVICES, np.zeros(2, np.int64), 9, only, np.zeros((2, CLASSES), np.int64)
    )
    for device, label in ((0, 1), (1, 2)):
        own = np.sort(SPLIT.of(device)[LABEL_S[SPLIT.of(device)] == label])
        met = found.sample_BKb[device].ravel()
        passes = [met[i : i + len(own)] for i in range(0, len(met) - len(own), len(own))]
        assert len(passes) > 3
        for each in passes:
            np.testing.assert_array_equal(np.sort(each), own)
        assert len({tuple(each) for each in passes}) > 1, "each time in another order"


def test_a_share_of_the_batch_follows_the_wish_and_the_rest_is_as_usual() -> None:
    wish = np.array([[0.0, 0.25, 0.75]] * 2)
    found = practice(4).draw(
        DEVICES, np.zeros(2, np.int64), 500, wish, np.zeros((2, CLASSES), np.int64)
    )
    labels = LABEL_S[found.sample_BKb]
    chosen = np.bincount(labels[:, :, 4:].ravel(), minlength=CLASSES) / 4000
    np.testing.assert_allclose(chosen, [0, 0.25, 0.75], atol=0.03)
    usual = Stream(SPLIT, 4, Keys(7, "stream")).draw(DEVICES, np.zeros(2, np.int64), 500)
    np.testing.assert_array_equal(labels[:, :, :4], LABEL_S[usual.sample_BKb])
