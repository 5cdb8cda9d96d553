"""Plug-ins of each kind that draw; tests/experiments/checks/test_advised_draws.py runs them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import swarm.common.rng
from swarm.common.rng import Keys
from swarm.communication.aggregation.base import Aggregator, Heard
from swarm.communication.aggregation.pre_aggregator import PreAggregator
from swarm.communication.aggregation.robust import StackRule
from swarm.communication.aggregation.stack import Stack
from swarm.communication.attack.base import Attack, Attacking, DataAttack, LinkAttack, MessageAttack
from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.network.base import Churn, Clock, Delay, Outage
from swarm.communication.network.fleet import Fleet
from swarm.communication.protocol.base import Protocol
from swarm.communication.secure.base import SecureSum, SumGroup
from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Graph
from swarm.communication.transform.base import MessageTransform, Sending
from swarm.data.dataset import Dataset, DeviceSplit
from swarm.data.generated.digits import Digits
from swarm.data.partition import Partition
from swarm.data.stream.drift import Drift
from swarm.data.stream.labelling import LabelOracle
from swarm.experiments.runs.scenario import Arm, Scenario
from swarm.learning.augmentation.base import Augmentation
from swarm.learning.goal.base import Goal, Outlook
from swarm.learning.losses.base import SampleLoss
from swarm.learning.optim.optimizer import Optimizer
from swarm.learning.optim.schedule import Schedule
from swarm.learning.personal.base import LocalSteps, Personal
from swarm.learning.privacy.mechanism import Privacy
from swarm.learning.update.policy import BatchPlan, UpdatePolicy
from swarm.learning.update.replay import Candidates, Memory, Replay
from swarm.results.track.base import Tracker
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.metrics.looking import SwarmMetric
from swarm.simulation.metrics.views import SwarmView

FOUND: dict[str, Any] = {}
"""What came of the advice, by the name of the plug-in."""
SEEDS: dict[str, int] = {}
"""The seed that a plug-in has."""


def look(part: object, how: str, here: dict[str, Any]) -> None:
    """Draw from a global generator, or try the expression ``how`` in the place ``here``."""
    if how == "globally":
        random.random()
    elif how:
        names = {"swarm": swarm, "numpy": np, "count": 3}
        FOUND[type(part).__name__] = eval(how, names, here)


class Offered:
    """A kind whose constructor is offered the run's seed: it draws there."""

    def __init__(self, devices: int = 0, how: str = "", seed: int = -1) -> None:
        self.devices, SEEDS[type(self).__name__] = devices, seed
        look(self, how, locals())


class Asked:
    """A kind that draws in a method."""

    def __init__(self, how: str = "") -> None:
        self.how = how


class Seeded(Asked):
    """A kind that is given no seed, and has an option of that name."""

    def __init__(self, how: str = "", seed: int = 7) -> None:
        super().__init__(how)
        self.seed = seed


class Hostile(Attack):
    """An attack, told who is hostile; it is given no seed either."""

    def __init__(
        self, devices: Any = 2, placement: Any = "random", how: str = "", seed: int = 7
    ) -> None:
        super().__init__(devices, placement)
        self.how, self.seed = how, seed


class Loads(Digits):
    def __init__(self, how: str = "", seed: int = -1) -> None:
        super().__init__(seed=seed)
        SEEDS["Loads"] = seed
        look(self, how, locals())


class Links(Offered, Topology):
    def graph(self, phase: int) -> Graph:
        n = self.devices
        return Graph.from_edges(n, np.array([[i, (i + 1) % n] for i in range(n)]))


class Talks(Offered, Protocol):
    """D-PSGD."""


class Online(Offered, Churn):
    def online(self, round: int) -> Any:
        return np.ones(self.devices, bool)


class Down(Offered, Outage):
    def up(self, round: int, graph: Graph) -> Any:
        return np.ones(len(graph.src_E), bool)


class Wakes(Offered, Clock):
    def wakes(self, round: int) -> Any:
        return np.ones(self.devices, bool)


class Machines(Fleet):
    def __init__(self, how: str = "", seed: int = -1) -> None:
        super().__init__(seed, 0.0, 1.0)
        SEEDS["Machines"] = seed
        look(self, how, locals())

    @property
    def hardware(self) -> None:
        return None


class Unchanged:
    def apply(self, data: Dataset, holdings: DeviceSplit) -> Dataset:
        return data


class Drifts(Offered, Unchanged, Drift):
    pass


class Tells(Offered, Unchanged, LabelOracle):
    pass


class Measures(Offered, SwarmMetric):
    name, label = "measures", "measures"

    def measured(self, view: SwarmView) -> Any:
        return {"measures": 1.0}


class Deals(Asked, Partition):
    def __init__(self, devices: int, how: str = "") -> None:
        super().__init__(how)
        self.devices = devices

    def assign(self, y_S: Any, owner_S: Any, keys: Keys) -> DeviceSplit:
        look(self, self.how, locals())
        return DeviceSplit.group(np.arange(len(y_S)) % self.devices, self.devices)


class Combines(Asked, Aggregator):
    def combine(self, heard: Heard) -> Tensor:
        look(self, self.how, locals())
        return heard.inputs_nM.mean(0)


class Stacks(Asked, StackRule):
    def combine_stack(self, stack: Stack) -> Tensor:
        look(self, self.how, locals())
        return stack.own_GM.clone()


class Before(Asked, PreAggregator):
    def __call__(self, stack: Stack) -> Stack:
        look(self, self.how, locals())
        return stack


class Sends(Hostile, MessageAttack):
    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        look(self, self.how, locals())
        return -rows_nM


class Deaf(Asked, MessageAttack):
    devices, placement = [1], "random"

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        return -rows_nM


class Tricks(Hostile, LinkAttack):
    def message(self, heard: Heard, hostile_K: Any) -> Tensor:
        look(self, self.how, locals())
        return -heard.own_M


class Changes(Asked, MessageTransform):
    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        look(self, self.how, locals())
        return rows_nM * 1.0


class Turns(Asked, Augmentation):
    def __call__(self, x_nCHW: Tensor, u_nD: Tensor) -> Tensor:
        look(self, self.how, locals())
        return x_nCHW * 1.0


class Packs(Asked, Compressor):
    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        look(self, self.how, locals())
        return v_nM * 1.0

    def bits(self, width: int) -> int:
        return 8 * width


class Late(Asked, Delay):
    longest = 1.0

    def seconds(self, graph: Graph, edge_S: Any, draw_S: Any) -> Any:
        look(self, self.how, locals())
        return draw_S


class Aims(Goal):
    measures = False

    def __init__(self, how: str = "") -> None:
        super().__init__(0.5)
        self.how = how

    def worth(self, seen: Outlook) -> Any:
        look(self, self.how, locals())
        return np.ones_like(seen.own_nC)


class Keeps(Replay):
    def __init__(self, how: str = "") -> None:
        super().__init__(4)
        self.how = how

    def places(self, memory: Memory, offer: Candidates) -> Any:
        look(self, self.how, locals())
        return offer.before(memory) % self.size, memory.largest_nC


class Hides(Asked, Privacy):
    unit = "device"
    clip_norm, noise_multiplier, delta = 1.0, 1.0, 1e-5

    def draw_noise(
        self, into_BM: Any, device_B: Any, round: int, seed: int, share: float, pairs: Any
    ) -> None:
        look(self, self.how, locals())
        super().draw_noise(into_BM, device_B, round, seed, share, pairs)


class Sums(Asked, SecureSum):
    def group(self, device_g: Any, alive_g: Any, keys: Keys, round: int) -> SumGroup:
        look(self, self.how, locals())
        return SumGroup(device_g, alive_g)


class Compares(Asked, Scenario):
    def arms(self, settings: Any, steps_a_round: int) -> list[Arm]:
        look(self, self.how, locals())
        return [Arm("swarm", (settings,))]


class Drives(LocalEngine):
    def __init__(self, how: str = "") -> None:
        super().__init__(block=3)
        self.how = how

    def check(self, experiment: Any) -> None:
        look(self, self.how, locals())


class Follows(Tracker):
    def __init__(self, config: dict[str, Any], how: str = "") -> None:
        look(self, how, locals())


class Poisons(Hostile, DataAttack):
    def labels(self, y: Tensor, facts: Any) -> Tensor:
        look(self, self.how, locals())
        return y


class Plans(Seeded, UpdatePolicy):
    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        look(self, self.how, locals())
        return (BatchPlan("new", learn=True),)


class Learns(Seeded, Personal):
    def learn(self, steps: LocalSteps, x_BP: Tensor, kept: Any) -> Any:
        look(self, self.how, locals())
        return steps.shared(x_BP)


class Steps(Optimizer):
    def __init__(self, lr: float, schedule: Schedule, how: str = "", seed: int = 7) -> None:
        super().__init__(lr, schedule)
        self.how, self.seed = how, seed

    def step(self, x_BP: Tensor, g_BP: Tensor, slots: Any, lr: Tensor, t_B1: Tensor) -> None:
        look(self, self.how, locals())
        x_BP.sub_(lr * g_BP)


class Slows(Schedule):
    def __init__(self, how: str = "", seed: int = 7) -> None:
        super().__init__()
        self.how, self.seed = how, seed

    def after_warmup(self, share: float) -> float:
        look(self, self.how, locals())
        return 1.0


class Costs(Seeded, SampleLoss):
    target_kind = "classes"

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        look(self, self.how, locals())
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


class Noisy(nn.Module):
    """Starts from numbers of torch's generator, which is seeded for it, or from others."""

    def __init__(self, features: tuple[int, ...], outputs: int, how: str = "") -> None:
        super().__init__()
        self.head = nn.Linear(features[0], outputs)
        self.shift = nn.Parameter(torch.randn(outputs) if how == "torch" else torch.zeros(outputs))
        look(self, how if how == "globally" else "", {})

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) + self.shift
