"""Each device has samples of a few classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, Ints
from swarm.data.largest_remainder import largest_remainder
from swarm.data.partition.base import Labels, Partition
from swarm.data.partition.random_split import by_class


class Pathological(Partition):
    """Each device has exactly ``classes_per_device`` classes: the label shards of McMahan et al.
    (arXiv 1602.05629), made exact.

    The published rule (sort by label, cut into shards, two shards a device) may give a device two
    shards of one class, or a shard that straddles two. Here each class is cut into a number of
    shards proportional to its samples, each device gets shards of different classes, and random
    trades between pairs of devices then make the assignment independent of its order.
    """

    def __init__(self, devices: int, classes_per_device: int = 2) -> None:
        super().__init__(devices)
        number("classes_per_device", classes_per_device, 1)
        self.per_device = classes_per_device

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        label_S, classes = self.labels(y_S, owner_S)
        least = -(-classes // self.devices)
        if not least <= self.per_device <= classes:
            valid = (
                f"must be {least} to {classes}, for {self.devices} devices to hold all of {classes}"
                " classes"
            )
            raise ConfigError("classes_per_device", self.per_device, valid)
        self.need(len(label_S), self.per_device, "classes_per_device")
        size_C = np.bincount(label_S, minlength=classes)
        high_C = np.minimum(size_C, self.devices)
        if high_C.sum() < self.devices * self.per_device:
            valid = (
                f"some classes have too few samples for {self.devices} devices; fewer devices or"
                " classes would do"
            )
            raise ConfigError("classes_per_device", self.per_device, valid)
        shards_C = largest_remainder(size_C, self.devices * self.per_device, low=1, high=high_C)
        holds_NC = self._deal_shards(shards_C, keys)
        count_CN, draw = np.zeros((classes, self.devices), np.int64), keys.generator(2)
        for c in range(classes):
            holders = draw.permutation(np.flatnonzero(holds_NC[:, c]))
            extra = np.arange(len(holders)) < size_C[c] % len(holders)
            count_CN[c, holders] = size_C[c] // len(holders) + extra
        return by_class(label_S, count_CN, keys)

    def _deal_shards(self, shards_C: Ints, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which device holds which class, at random: ``[N, C]`` with ``classes_per_device`` ones in
        each row and ``shards_C`` ones in each column.
        """
        draw = keys.generator(1)
        classes, devices = len(shards_C), self.devices
        holds_NC = np.zeros((devices, classes), dtype=np.bool_)
        # One after the other, so the shards of a class, at most N, fall on different devices.
        holds_NC[np.arange(shards_C.sum()) % devices, np.repeat(np.arange(classes), shards_C)] = (
            True
        )
        if devices > 1 and self.per_device < classes:
            for _ in range(4 * self.per_device + 16):
                pair = draw.permutation(devices)[: devices - devices % 2].reshape(2, -1)
                _trade(holds_NC, pair[0], pair[1], draw)
        return holds_NC


def _trade(
    holds_NC: npt.NDArray[np.bool_], left: Ints, right: Ints, draw: np.random.Generator
) -> None:
    """Swap, in each pair of devices, a class that only the left one holds for a class that only the
    right one holds, if there are such classes.
    """
    only_left, only_right = holds_NC[left] & ~holds_NC[right], holds_NC[right] & ~holds_NC[left]
    # rows have equally many ones, so the other side then has one as well
    able = only_left.any(axis=1)
    left, right = left[able], right[able]
    give = np.argmax(draw.random((len(left), holds_NC.shape[1])) * only_left[able], axis=1)
    take = np.argmax(draw.random((len(left), holds_NC.shape[1])) * only_right[able], axis=1)
    holds_NC[left, give] = holds_NC[right, take] = False
    holds_NC[left, take] = holds_NC[right, give] = True
