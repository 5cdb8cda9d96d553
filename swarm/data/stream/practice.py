"""Mini-batches in which a share of the samples is of classes that a device chooses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swarm.common.rng import Keys, shuffled
from swarm.data.dataset import DeviceSplit, Ints
from swarm.data.stream.stream import DrawnSamples, Stream

Floats = npt.NDArray[np.float64]


class Practice:
    """Each device goes through its samples of each class in an order of that class, and begins
    again when it has met them all. So a sample is met for the first time once, whoever chose its
    class.

    Of the ``batch`` places of a mini-batch the last ``chosen`` are of classes that are drawn with
    the shares that a device wishes for. The classes of the others are those of the samples that
    :class:`~swarm.data.stream.stream.Stream` would give. Of a device that has met m samples of
    class c, of which it holds n, the next one is entry m mod n of the permutation keyed by (seed,
    device, c, ⌊m / n⌋). With ``chosen`` = 0 the samples are those of the stream itself.

    Attributes:
        held_NC: The number of samples of each class that each device holds.
    """

    def __init__(
        self,
        holdings: DeviceSplit,
        label_S: Ints,
        classes: int,
        batch: int,
        chosen: int,
        seed: int,
    ) -> None:
        self.batch, self.chosen, self.classes = batch, chosen, classes
        self._label_S = label_S
        self._draws, self._order = Keys(seed, "goal.class"), Keys(seed, "goal.order")
        self._usual = Stream(holdings, max(1, batch - chosen), Keys(seed, "stream"))
        cell_S = holdings.device_S * classes + label_S[holdings.sample]
        self._sample = holdings.sample[np.argsort(cell_S, kind="stable")]
        held_D = np.bincount(cell_S, minlength=holdings.devices * classes)
        self._first_NC = (np.cumsum(held_D) - held_D).reshape(-1, classes)
        self.held_NC: Ints = held_D.reshape(-1, classes)

    def draw(
        self, devices_B: Ints, steps_B: Ints, count: int, share_BC: Floats, consumed_BC: Ints
    ) -> DrawnSamples:
        """The samples of steps ``steps_B … steps_B + count − 1`` of devices that wish for classes
        in the shares ``share_BC``, and have met ``consumed_BC`` samples of each class."""
        if not self.chosen:
            return self._usual.draw(devices_B, steps_B, count)
        class_BKb = self._classes(devices_B, steps_B, count, share_BC)
        class_BL = class_BKb.reshape(len(devices_B), -1)
        row_B1, device_B1 = np.arange(len(devices_B))[:, None], devices_B[:, None]
        consumed_BL = consumed_BC[row_B1, class_BL] + _earlier(class_BL, self.classes)
        held_BL = self.held_NC[device_B1, class_BL]
        epoch_BL, offset_BL = np.divmod(consumed_BL, held_BL)
        turn_BL = epoch_BL * self.classes + class_BL
        entry_BL = shuffled(offset_BL, held_BL, self._order, device_B1, turn_BL)
        sample_BL = self._sample[self._first_NC[device_B1, class_BL] + entry_BL]
        shape = class_BKb.shape
        return DrawnSamples(sample_BL.reshape(shape), (epoch_BL == 0).reshape(shape))

    def consumed(self, devices_B: Ints, steps_B: Ints, taken_B: Ints, share_BC: Floats) -> Ints:
        """How many samples of each class devices meet in ``taken_B`` steps from ``steps_B`` on,
        ``[B, C]``."""
        count = int(taken_B.max(initial=0))
        class_BKb = self._classes(devices_B, steps_B, count, share_BC)
        there_BK = np.arange(count) < taken_B[:, None]
        row_B11 = np.arange(len(devices_B))[:, None, None]
        cell = (row_B11 * self.classes + class_BKb)[there_BK].reshape(-1)
        size = len(devices_B) * self.classes
        return np.bincount(cell, minlength=size).reshape(-1, self.classes)

    def _classes(self, devices_B: Ints, steps_B: Ints, count: int, share_BC: Floats) -> Ints:
        """The classes of the samples of some steps, ``[B, K, b]``."""
        parts = []
        if self.chosen < self.batch:
            parts.append(self._label_S[self._usual.draw(devices_B, steps_B, count).sample_BKb])
        if self.chosen:
            step_BK = steps_B[:, None] + np.arange(count)
            u_BKb = self._draws.uniform(devices_B[:, None], step_BK, self.chosen)
            parts.append(_drawn(share_BC, u_BKb))
        return np.concatenate(parts, 2)


def _drawn(share_BC: Floats, u_BKb: Floats) -> Ints:
    """The class that each uniform number falls to, of classes with these shares."""
    end_BC = np.cumsum(share_BC, 1)
    end_BC /= end_BC[:, -1:]
    found_BKb = np.zeros(u_BKb.shape, np.int64)
    for end_B in end_BC[:, :-1].T:  # the classes are few, and the numbers many
        found_BKb += u_BKb >= end_B[:, None, None]
    return found_BKb


def _earlier(class_BL: Ints, classes: int) -> Ints:
    """How many places before each one have the same class, ``[B, L]``."""
    cell_L = (np.arange(len(class_BL))[:, None] * classes + class_BL).reshape(-1)
    order = np.argsort(cell_L, kind="stable")
    sorted_L = cell_L[order]
    found_L = np.empty_like(order)
    found_L[order] = np.arange(len(order)) - np.searchsorted(sorted_L, sorted_L)
    return found_L.reshape(class_BL.shape)
