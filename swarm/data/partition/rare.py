"""One device alone has all samples of one class."""

from __future__ import annotations

import numpy as np

from swarm.common.errors import ConfigError, of_the
from swarm.common.names import choices, finder
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, DeviceSplit, Ints
from swarm.data.partition.base import Labels, Partition
from swarm.data.partition.random_split import even


class Rare(Partition):
    """One device, drawn at random, holds all samples of the class ``label``; all other samples are
    split as in iid, over this device too.

    The other devices can learn that class only through messages. ``label`` is the name of the
    class, or its number where no class has a number for its name.
    """

    def __init__(self, devices: int, label: int | str = 9) -> None:
        super().__init__(devices)
        self.label = label
        self._class: int | None = finder(None, 1 << 62)(label)

    def split(self, dataset: Dataset, keys: Keys) -> DeviceSplit:
        if dataset.class_names is not None:
            self._class = dataset.class_of(self.label)
            if self._class is None:
                valid = (
                    "must be a class of the data:"
                    f" {choices(dataset.class_names, dataset.classes, self.label)}{self._last()}"
                )
                raise ConfigError("label", self.label, valid)
        return super().split(dataset, keys)

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        _, classes = self.labels(y_S, owner_S)
        others = (
            np.flatnonzero(y_S != self._class) if self._class is not None else np.arange(len(y_S))
        )
        if len(others) == len(y_S):
            valid = (
                f"must be {of_the(classes, 'label', 'one')} of the training samples,"
                f" {y_S.min()} to"
                f" {y_S.max()}{self._last()}"
            )
            raise ConfigError("label", self.label, valid)
        self.need(len(others))
        device_S = np.full(len(y_S), keys.generator(1).integers(self.devices), np.int64)
        device_S[others] = even(len(others), self.devices, keys)
        return DeviceSplit.group(device_S, self.devices)

    def _last(self) -> str:
        """What to say of a number below 0 that is the name of no class."""
        below = isinstance(self.label, int) and self.label < 0
        return "; numbers count from 0, and -1 is not the last class" if below else ""
