"""Every device has a random share of all samples."""

from __future__ import annotations

from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, Ints
from swarm.data.partition.base import Labels, Partition
from swarm.data.partition.random_split import even


class Iid(Partition):
    """Independent and identically distributed: samples go to devices at random, and device sizes
    differ by at most one.
    """

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        self.need(len(y_S))
        return DeviceSplit.group(even(len(y_S), self.devices, keys), self.devices)
