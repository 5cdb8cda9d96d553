"""Plug-ins that use what all code of a process shares: they draw from global generators, or write
into the data set; tests/experiments/checks/test_shared.py runs them.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from swarm.common.rng import Keys
from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.network.base import Churn
from swarm.communication.protocol.base import State
from swarm.communication.protocol.dpsgd import TrainThenAverage
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.regular import Ring
from swarm.data.dataset import Dataset
from swarm.data.generated.digits import Digits
from swarm.data.partition import Iid
from swarm.data.stream.drift import Drift
from swarm.data.stream.labelling import LabelOracle
from swarm.learning.optim.optimizer import SGD
from swarm.learning.update.policy import BatchPlan, Epochs
from swarm.simulation.metrics.column import Column
from swarm.simulation.metrics.looking import SwarmMetric
from swarm.simulation.metrics.views import SwarmView

# --- from whose global generator, and where -------------------------------------------------------


class Loads(Digits):
    def load(self) -> Dataset:
        found = super().load()
        np.random.seed(self.seed)
        return replace(found, x=found.x + np.random.rand(*found.x.shape).astype(np.float32))


class Shuffles(Digits):
    def load(self) -> Dataset:
        found = super().load()
        loader = DataLoader(range(4), batch_size=2, shuffle=True)  # type: ignore[arg-type]
        torch.cat(list(loader))
        return found


class Made(Digits):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.shift = random.random()


class Deals(Iid):
    def assign(self, y_S: Any, owner_S: Any, keys: Any) -> Any:
        random.shuffle([1, 2, 3])
        return super().assign(y_S, owner_S, keys)


class Drifts(Drift):
    def apply(self, data: Dataset, split: Any) -> Dataset:
        np.random.permutation(3)
        return data


class Tells(LabelOracle):
    def apply(self, data: Dataset, split: Any) -> Dataset:
        torch.rand(1)
        return data


class Links(Ring):
    def graph(self, phase: int) -> Any:
        torch.randperm(3)
        return super().graph(phase)


class Talks(TrainThenAverage):
    def send(self, phase: int, state: State) -> Tensor:
        return super().send(phase, state) + 0.0 * torch.randn(1)


class Packs(Compressor):
    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        return v_nM * (1.0 + 0.0 * float(np.random.rand()))

    def bits(self, width: int) -> int:
        return 32 * width


class Goes(Churn):
    def __init__(self, devices: int) -> None:
        self.devices = devices

    def online(self, round: int) -> Any:
        return np.arange(self.devices) != random.randrange(self.devices)


class Steps(SGD):
    def step(self, x_BP: Tensor, g_BP: Tensor, slots: Any, lr: Tensor, t_B1: Tensor) -> None:
        super().step(x_BP, g_BP + 0.0 * torch.rand(1), slots, lr, t_B1)

    @property
    def plain(self) -> bool:
        return False


class Noisy(nn.Module):
    """Noise of NumPy's in training, which no seed of torch's decides."""

    def __init__(self, features: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(features[0], outputs)

    def forward(self, x: Tensor) -> Tensor:
        noise = float(np.random.normal()) if self.training else 0.0
        return self.head(x) + 0.0 * noise


class Bad(SwarmMetric):
    """Draws, or writes, as ``how`` says."""

    name, label = "bad", "bad"

    def __init__(self, how: str) -> None:
        self.how = how

    def measured(self, view: SwarmView) -> Any:
        data, split = view.experiment.data.dataset, view.experiment.data.split
        if self.how == "draws":
            random.gauss(0, 1)
        if self.how == "writes":
            data.x[...] = 0
        if self.how == "scales":
            data.y *= 2
        if self.how == "ids":
            data.test[:1] = 0
        if self.how == "split":
            split.sample[:1] = split.sample[1:2]
        if self.how == "ends":
            split.local_test.ptr_N1[1:2] += 1
        if self.how == "tensor":
            torch.from_numpy(data.x)[:2] = 0
        if self.how == "tensor of the split":
            torch.from_numpy(split.sample)[:2] = 0
        return {"bad": 1.0}


# --- from a generator that nobody seeds -----------------------------------------------------------


class Wanders(Ring):
    """A ring of devices in an order of its own."""

    def __init__(self, devices: int, source: str = "numpy") -> None:
        super().__init__(devices)
        self.order, self.source = np.arange(devices), source
        if source == "numpy once":
            self.order = np.random.default_rng().permutation(devices)

    def graph(self, phase: int) -> Any:
        order = self.order.tolist()
        if self.source == "numpy":
            order = np.random.default_rng().permutation(order).tolist()
        if self.source == "python":
            random.Random().shuffle(order)
        if self.source == "module":
            order = MODULES_OWN.permutation(order).tolist()
        if self.source == "seeded":
            order = np.random.default_rng(7).permutation(order).tolist()
        return Graph.from_edges(len(order), list(zip(order, order[1:] + order[:1], strict=True)))


MODULES_OWN = np.random.default_rng(0)  # has a seed, and goes on from run to run


class Unseeded(TrainThenAverage):
    def __init__(self) -> None:
        self.draw = torch.Generator()
        self.draw.seed()

    def send(self, phase: int, state: State) -> Tensor:
        return super().send(phase, state) + torch.rand(1, generator=self.draw)


class GoesOn(Epochs):
    """Draws as many steps as its seeded generator says next, so that rounds that were tried before
    the start would change those of the run."""

    def __init__(self) -> None:
        self.draw = np.random.default_rng(0)

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("all", learn=True, steps=int(self.draw.integers(1, 50))),)


class Drawn(SwarmMetric):
    name, label = "drawn", "drawn"

    def measured(self, view: SwarmView) -> Any:
        return {"drawn": float(np.random.default_rng().random())}


class Seconds(SwarmMetric):
    """A time that is measured, which its column says if it is ``honest``."""

    name, label = "seconds", "seconds"

    def __init__(self, honest: bool = True) -> None:
        self.honest = honest

    def columns(self) -> tuple[Column, ...]:
        return (Column("seconds", "seconds", "s", "lower", timed=self.honest),)

    def measured(self, view: SwarmView) -> Any:
        return {"seconds": time.perf_counter()}


class Overwrites(Iid):
    def split(self, dataset: Dataset, keys: Any) -> Any:
        dataset.x[0] = 0
        return super().split(dataset, keys)


# --- and some that do neither ---------------------------------------------------------------------


class Batches(Digits):
    """Reads its samples by a DataLoader, which draws the seed of processes that it does not have,
    even though it takes the samples in their order."""

    def load(self) -> Dataset:
        found = super().load()
        loader = DataLoader(torch.from_numpy(found.x), batch_size=500)  # type: ignore[arg-type]
        return replace(found, x=torch.cat(list(loader)).numpy())


class Keyed(Digits):
    loads = 0

    def load(self) -> Dataset:
        type(self).loads += 1
        found = super().load()
        noise = Keys(self.seed, "noise").generator().standard_normal(found.x.shape)
        return replace(found, x=found.x + noise.astype(np.float32))


class Plain(Digits):
    """As it is."""


class Dropping(Noisy):
    """Noise of torch's in training, which the run seeds."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.head(x), 0.1, self.training)
