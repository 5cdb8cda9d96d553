"""Devices differ in their numbers of samples."""

from __future__ import annotations

import numpy as np

from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, Ints
from swarm.data.largest_remainder import largest_remainder
from swarm.data.partition.base import Labels, Partition
from swarm.data.partition.random_split import shuffled


class QuantitySkew(Partition):
    """Quantity skew: the device of rank r gets a share of the samples proportional to
    ``r^-exponent``, whatever their labels.

    The ranks are drawn. No device gets fewer than ``min_samples``; ``exponent=0`` is iid.
    """

    def __init__(self, devices: int, exponent: float = 1.0, min_samples: int = 2) -> None:
        super().__init__(devices)
        number("exponent", exponent, 0, 10)
        number("min_samples", min_samples, 1)
        self.exponent, self.min_samples = exponent, min_samples

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        self.need(len(y_S), self.min_samples)
        rank_N = 1.0 + keys.generator(1).permutation(self.devices)
        sizes_N = largest_remainder(rank_N**-self.exponent, len(y_S), low=self.min_samples)
        return DeviceSplit.group(
            shuffled(np.repeat(np.arange(self.devices), sizes_N), keys), self.devices
        )
