"""Plug-ins that a run would take, and be wrong; and a few that are right.

For tests/experiments/checks/test_check_plugin.py.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swarm.communication.aggregation.base import Aggregator, Heard
from swarm.communication.aggregation.pre_aggregator import PreAggregator
from swarm.communication.aggregation.robust import StackRule
from swarm.communication.aggregation.stack import Stack
from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.network.base import Churn
from swarm.communication.protocol.base import Protocol, State
from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Graph
from swarm.communication.transform.base import MessageTransform, Sending
from swarm.data.dataset import DeviceSplit
from swarm.data.partition import Partition
from swarm.experiments.claims.base import Claim
from swarm.learning.optim.optimizer import Optimizer
from swarm.learning.optim.schedule import Schedule
from swarm.results.track.base import Tracker
from swarm.simulation.engine.local import LocalEngine

DRAWS = np.random.default_rng(0)


class Good(Topology):
    def __init__(self, devices: int, step: int = 1) -> None:
        self.devices, self.step = devices, step

    def graph(self, phase: int) -> Graph:
        return Graph.from_edges(
            self.devices, [(i, (i + self.step) % self.devices) for i in range(self.devices)]
        )


class Wanders(Good):
    """Draws from a generator that goes on, after the rounds that are tried before a run."""

    period = None

    def graph(self, phase: int) -> Graph:
        if phase < 2:
            return super().graph(phase)
        return Graph.from_edges(self.devices, DRAWS.integers(0, self.devices, (20, 2)))


class Returns(Good):
    """Says that it comes back, and does not."""

    period = 2

    def graph(self, phase: int) -> Graph:
        return Graph.from_edges(
            self.devices, [(i, (i + 1 + phase) % self.devices) for i in range(self.devices)]
        )


class Model(nn.Module):
    def __init__(self, features: tuple[int, ...], outputs: int, start: str = "torch") -> None:
        super().__init__()
        self.head = nn.Linear(math.prod(features), outputs)
        if start == "numpy":
            with torch.no_grad():
                self.head.weight.copy_(torch.as_tensor(DRAWS.random(self.head.weight.shape)))
        if start == "zero":
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Any:
        return self.head(x.flatten(1))


class Deals(Partition):
    def assign(self, y_S: Any, owner_S: Any, keys: Any) -> DeviceSplit:
        device_S = np.arange(len(y_S)) % self.devices
        return DeviceSplit.group(DRAWS.permutation(device_S), self.devices)


class Remembers(Protocol):
    """Keeps a state outside of its slots: no checkpoint has it."""

    def __init__(self) -> None:
        self.rounds = 0

    def send(self, phase: int, state: State) -> Tensor:
        self.rounds += 1
        return state.x / self.rounds


class LooksAround(Protocol):
    """What a device sends depends on who lives in the same shard."""

    def send(self, phase: int, state: State) -> Tensor:
        return state.x - state.x.mean(0)


class LooksAroundToo(Compressor):
    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        return v_nM - v_nM.mean(0) if len(v_nM) > 1 and draw.step == 3 and len(v_nM) == 9 else v_nM

    def bits(self, width: int) -> int:
        return width


class NoSmaller(Compressor):
    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        return v_nM

    def bits(self, width: int) -> int:
        return 32 * width


class Jumps(Optimizer):
    """Its first step is as long at any rate."""

    def step(self, x_BP: Tensor, g_BP: Tensor, slots: Any, lr: Tensor, t_B1: Tensor) -> None:
        x_BP.sub_(g_BP * 0.01)


class Falls(Schedule):
    def factor(self, done: float, horizon: float) -> float:
        return 1.0 - done / horizon

    def after_warmup(self, share: float) -> float:
        return 1.0


class Flickers(Churn):
    def __init__(self, devices: int) -> None:
        self.devices, self.calls = devices, 0

    def online(self, round: int) -> Any:
        self.calls += 1
        return np.arange(self.devices) != self.calls


class Shy(Tracker):
    def record(self, record: dict[str, Any]) -> None:
        raise OSError("nobody listens")


class Hurried(LocalEngine):
    """Leaves a round out."""

    def advance(self, until: int) -> Any:
        self.round += self.round == 0
        return super().advance(until)


class Untitled(Claim):
    hypotheses = ()

    def conditions(self) -> Any:
        return ["ring", "torus"]

    def conclude(self, results: Any) -> Any: ...
    def charts(self, results: Any) -> Any: ...
    def table(self, results: Any) -> Any: ...


def late(devices: int) -> Good:
    """A function may stand for a class."""
    time.monotonic()
    return Good(devices, 2)


NOT_A_PLUGIN = 3


class Drifts(Aggregator):
    """Makes something else of an agreement."""

    def combine(self, heard: Heard) -> Tensor:
        return heard.own_M + 0.1 * len(heard.rows_KM)


class Levels(StackRule):
    """Looks at the rows of devices that are combined beside a device."""

    def combine_stack(self, stack: Stack) -> Tensor:
        return stack.own_GM + 1e-6 * (stack.own_GM - stack.own_GM.mean(0))


class Boasts(Aggregator):
    """Says that it bears a hostile neighbour, and takes the mean."""

    def combine(self, heard: Heard) -> Tensor:
        return heard.own_M + (heard.inputs_nM - heard.own_M).mean(0)

    def bears(self, rows: int) -> int:
        return min(1, rows - 1)


class Boundless(Boasts):
    """Says that it bears hostile rows where its own is the only one."""

    def bears(self, rows: int) -> int:
        return rows


class Halves(Boasts):
    """Says how many rows it bears by a share."""

    def bears(self, rows: int) -> int:
        return 0.5  # type: ignore[return-value]


class LevelsToo(PreAggregator):
    """Mixes with what other devices heard."""

    def __call__(self, stack: Stack) -> Stack:
        rows = stack.rows_nGM + 1e-6 * (stack.rows_nGM - stack.rows_nGM.mean(1, keepdim=True))
        return replace(stack, rows_nGM=rows)


class Doubles(PreAggregator):
    """Makes something else of an agreement."""

    def __call__(self, stack: Stack) -> Stack:
        return replace(stack, rows_nGM=2 * stack.rows_nGM)


class Half(PreAggregator):
    """Makes fewer mixtures than it says."""

    def __call__(self, stack: Stack) -> Stack:
        return replace(stack, rows_nGM=stack.rows_nGM[:3], weight_nG=stack.weight_nG[:3])


class Averages(MessageTransform):
    """Looks at the rows of others."""

    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        return rows_nM + rows_nM.mean(0)


class Overwrites(MessageTransform):
    """Changes what it is given."""

    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        return rows_nM.mul_(0.5)
