"""Partitions and metrics as somebody writes them who has read the page too fast;
tests/experiments/checks/test_wrong_parts.py runs them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarm.communication.network.base import Delay
from swarm.data.dataset import DeviceSplit
from swarm.data.partition import Partition
from swarm.simulation.metrics.base import Column, OutputMetric


class Forgets(Partition):
    """Its constructor leaves out that of its base."""

    def __init__(self, devices: int) -> None:
        self.many = devices

    def assign(self, y_S: Any, owner_S: Any, keys: Any) -> DeviceSplit:
        return DeviceSplit.group(np.arange(len(y_S)) % self.many, self.many)


class Keyless(Partition):
    """Takes other arguments than it is called with."""

    def assign(self, y_S: Any, owner_S: Any) -> DeviceSplit:  # type: ignore[override]
        return DeviceSplit.group(np.arange(len(y_S)) % self.devices, self.devices)


class Deals(Partition):
    def __init__(self, devices: int, how: str) -> None:
        super().__init__(devices)
        self.how = how

    def assign(self, y_S: Any, owner_S: Any, keys: Any) -> DeviceSplit:
        at_S = np.arange(len(y_S))
        if self.how == "floats":  # which were cut off to whole numbers
            return DeviceSplit.group(keys.generator().random(len(y_S)) * self.devices, self.devices)
        if self.how == "truths":
            return DeviceSplit.group(at_S % 2 == 0, self.devices)
        split = DeviceSplit.group(at_S % self.devices, self.devices)
        sample = split.sample.copy()
        sample[1] = sample[0]
        return DeviceSplit(sample, split.ptr_N1)


class Slow(Delay):
    """Does not say how long a message takes at most."""

    def seconds(self, graph: Any, edge_S: Any, draw_S: Any) -> Any:
        return draw_S


class Says(OutputMetric):
    """Says ``word`` of itself in its attribute ``name_of``."""

    name, label = "says", "says"

    def __init__(
        self, name_of: str = "", word: Any = None, column: bool = False, shown: Any = ()
    ) -> None:
        self.column, self.on = column, tuple(shown)
        if name_of:
            setattr(self, name_of, tuple(word) if isinstance(word, list) else word)

    def columns(self) -> tuple[Column, ...]:
        better: Any = "more" if self.column else None
        first, *others = super().columns()
        return (Column(first.key, "says", better=better, shown=self.on), *others)

    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        return torch.zeros(devices, dtype=torch.float64)

    def add(self, state_B: Tensor, out_BCb: Tensor, y_b: Tensor, at: int) -> None:
        state_B += out_BCb.sum((1, 2))

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        return state_B / len(y_T)


class Endless(Says):
    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        return torch.full_like(state_B, torch.inf)
