"""The definition of an arm as plain data that can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.config.settings import Settings
from swarm.data.dataset import Dataset, DeviceSplit


@dataclass(frozen=True)
class RunSpec:
    """The settings of an arm, the data set, and which samples of it each device holds.

    Every process that hosts devices builds its own :class:`Experiment` from the same spec.
    """

    settings: Settings
    dataset: Dataset
    split: DeviceSplit
