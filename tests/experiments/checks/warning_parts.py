"""Plug-ins that warn as they are made, as of an option that has no effect, or as they are used;
tests/experiments/checks/test_warned_once.py runs them.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from swarm.communication.protocol.base import State
from swarm.communication.protocol.dpsgd import TrainThenAverage
from swarm.communication.topology.regular import Ring
from swarm.data.generated.digits import Digits
from swarm.data.partition import Iid
from swarm.learning.optim.optimizer import SGD
from swarm.learning.update.policy import Epochs
from swarm.simulation.metrics.looking import SwarmMetric
from swarm.simulation.metrics.views import SwarmView


def warn(part: object, what: str = "made") -> None:
    warnings.warn(f"{type(part).__name__} is {what}", stacklevel=2)


class Source(Digits):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)
        warn(self)


class Deal(Iid):
    def __init__(self, devices: int) -> None:
        super().__init__(devices)
        warn(self)


class Links(Ring):
    def __init__(self, devices: int) -> None:
        super().__init__(devices)
        warn(self)

    def graph(self, phase: int) -> Any:
        warn(self, "asked")
        return super().graph(phase)


class Numbered(Ring):
    """Says another sentence each time."""

    made = 0

    def __init__(self, devices: int) -> None:
        super().__init__(devices)
        Numbered.made += 1
        warn(self, f"number {Numbered.made}")


class Talk(TrainThenAverage):
    def __init__(self) -> None:
        warn(self)

    def send(self, phase: int, state: State) -> Tensor:
        warn(self, "sent")
        return super().send(phase, state)


class Plans(Epochs):
    def __init__(self) -> None:
        warn(self)


class Steps(SGD):
    def __init__(self, lr: float, schedule: Any) -> None:
        super().__init__(lr, schedule)
        warn(self)


class Net(nn.Module):
    def __init__(self, features: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(features[0], outputs)
        warn(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


class Measure(SwarmMetric):
    name, label = "measure", "measure"

    def __init__(self) -> None:
        warn(self)

    def measured(self, view: SwarmView) -> dict[str, float | None]:
        return {"measure": 1.0}
