"""Each device has the samples of one owner, where the data say whose samples they are."""

from __future__ import annotations

import numpy as np

from swarm.common.errors import ConfigError, counted
from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, Ints
from swarm.data.partition.base import Labels, Partition


class Natural(Partition):
    """One device per natural owner of the data (a person, a role, a carrier), in the order of the
    owners.

    There must be as many devices as owners. With ``largest`` there may be fewer devices: they take
    the owners with the most training samples, and nobody uses the samples of the others.
    """

    def __init__(self, devices: int, largest: bool = False) -> None:
        super().__init__(devices)
        self.largest = largest

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        if owner_S is None:
            by_label = y_S.dtype.kind in "iu" and y_S.ndim == 1
            others = "iid, dirichlet, pathological" if by_label else "iid"
            valid = (
                f"the data do not say whose samples they are; {others} or quantity_skew would do"
            )
            raise ConfigError("/partition", "natural", valid)
        owners, code_S, size_O = np.unique(owner_S, return_inverse=True, return_counts=True)
        if len(owners) < self.devices or (len(owners) > self.devices and not self.largest):
            valid = (
                f"the training data have {counted(len(owners), 'owner')};"
                f" devices={len(owners)} would do"
            )
            if len(owners) > self.devices:
                valid += ", or partition.largest=true to take the owners with the most samples"
            raise ConfigError("/devices", self.devices, valid)
        taken = np.sort(np.argsort(-size_O, kind="stable")[: self.devices])
        device_O = np.full(len(owners), -1)
        device_O[taken] = np.arange(self.devices)
        return DeviceSplit.group(device_O[code_S], self.devices)
