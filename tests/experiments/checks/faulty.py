"""Plug-ins that fail in every way we could think of, one class each;
tests/experiments/checks/test_faulty_plugins.py runs them.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.network.base import Churn, Clock, Delay, Outage
from swarm.communication.network.fleet import Hardware, UniformFleet
from swarm.communication.protocol.base import Protocol, State
from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Graph
from swarm.data.dataset import Dataset, DeviceSplit, Source
from swarm.data.generated.digits import Digits
from swarm.data.partition import Iid, Partition
from swarm.data.stream.drift import Drift
from swarm.data.stream.labelling import LabelOracle
from swarm.experiments.runs.scenario import Arm, Scenario
from swarm.learning.optim.optimizer import SGD
from swarm.learning.optim.schedule import Schedule
from swarm.learning.update.policy import UpdatePolicy
from swarm.learning.update.replay import Replay
from swarm.results.track.base import Tracker

Features = tuple[int, ...]


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


# --- topologies -----------------------------------------------------------------------------------


class Bad(Topology):
    def __init__(self, devices: int, how: str) -> None:
        self.devices, self.how = devices, how

    def graph(self, phase: int) -> Any:
        n = self.devices
        pairs = np.array([[i, (i + 1) % n] for i in range(n)])
        return {
            "raises": lambda: [][phase],
            "exits": lambda: sys.exit(0),
            "none": lambda: None,
            "networkx": lambda: nx.path_graph(n),
            "outside": lambda: Graph(n, ints(0, n), ints(1, 1), True),
            "negative": lambda: Graph(n, ints(-1), ints(1), True),
            "more": lambda: Graph.from_edges(n + 1, pairs),
            "loops": lambda: Graph(n, ints(1), ints(1), True),
            "unsorted": lambda: Graph(n, ints(0, 0), ints(2, 1), True),
            "one way": lambda: Graph(n, ints(0), ints(1), False),
            "nan": lambda: Graph.from_edges(n, pairs, length=np.full(n, math.nan)),
            "floats": lambda: Graph(n, np.array([0.5]), np.array([1.5]), True),  # type: ignore[arg-type]
        }[self.how]()


class BadPeriod(Bad):
    period = 0


class Late(Topology):
    """All is well until round 5."""

    period = None

    def __init__(self, devices: int, how: str = "raises") -> None:
        self.devices, self.how = devices, how

    def graph(self, phase: int) -> Any:
        if phase == 4 + 8:  # of round 13: the first eight are looked at before the start
            if self.how == "none":
                return None
            if self.how == "exits":
                sys.exit(0)
            raise RuntimeError("the sun went down")
        return Graph.from_edges(
            self.devices, [(i, (i + 1 + phase) % self.devices) for i in range(self.devices)]
        )


# --- everything else ------------------------------------------------------------------------------


class Deals(Partition):
    def __init__(self, devices: int, how: str) -> None:
        super().__init__(devices)
        self.how = how

    def assign(self, y_S: Any, owner_S: Any, keys: Any) -> Any:
        good = Iid(self.devices).assign(y_S, owner_S, keys)
        return {
            "raises": lambda: 1 / 0,
            "exits": lambda: sys.exit(0),
            "none": lambda: None,
            "outside": lambda: DeviceSplit(good.sample + 5, good.ptr_N1),
            "negative": lambda: DeviceSplit(good.sample - 1, good.ptr_N1),
            "fewer devices": lambda: DeviceSplit(
                good.sample, good.ptr_N1[[0, *range(2, len(good.ptr_N1))]]
            ),
            "torn": lambda: DeviceSplit(good.sample, good.ptr_N1[::-1]),
            "floats": lambda: DeviceSplit(good.sample.astype(float), good.ptr_N1),  # type: ignore[arg-type]
            "twice": lambda: DeviceSplit(np.zeros_like(good.sample), good.ptr_N1),
        }[self.how]()


class Loads(Source):
    def __init__(self, seed: int, how: str) -> None:
        self.seed, self.how = seed, how

    def load(self) -> Any:
        good = Digits(self.seed).load()
        x = good.x.copy()
        x[3] = math.nan
        changes: dict[str, dict[str, Any]] = {
            "nan": {"x": x},
            "shorter": {"y": good.y[:-1]},
            "label": {"y": good.y + 1},
            "list": {"x": good.x.tolist()},
            "objects": {"y": good.y.astype(object)},
            "classes": {"classes": 2.5},
        }
        if self.how in changes:
            return replace(good, **changes[self.how])
        return {
            "raises": lambda: open("/nowhere"),  # noqa: PTH123
            "exits": lambda: sys.exit(3),
            "none": lambda: None,
        }[self.how]()


class Changes(Drift):
    def __init__(self, how: str) -> None:
        self.how = how

    def apply(self, data: Dataset, holdings: DeviceSplit) -> Any:
        return replace(data, y=data.y + 5) if self.how == "label" else None


class Tells(LabelOracle):
    def apply(self, data: Dataset, holdings: DeviceSplit) -> Any:
        return replace(data, observed_labels=np.full(len(data.x), data.classes))


class Talks(Protocol):
    def __init__(self, how: str) -> None:
        self.how = how
        if how == "phases":
            self.phases = ("learn", "gossip")  # type: ignore[assignment]
        if how == "width":
            self.width = lambda phase, parameters: 0  # type: ignore[method-assign]

    def init(self, x_NP: Tensor, links: Any) -> Any:
        return {"age": torch.zeros(3)} if self.how == "init" and len(x_NP) else {}

    def start(self, state: State) -> Any:
        return state.x[:, :3] if self.how == "start" else state.x

    def send(self, phase: int, state: State) -> Any:
        if self.how == "raises":
            raise ZeroDivisionError
        if self.how == "raises in round 3" and state.now.round == 3:
            raise ZeroDivisionError("of all things")
        if self.how == "asks for too much in round 3" and state.now.round == 3:
            np.empty(1 << 60, np.uint8)
        if self.how == "exits in round 3" and state.now.round == 3:
            sys.exit(0)
        return {"send": state.x[:, 1:], "none": None, "double": state.x.double()}.get(
            self.how, state.x
        )

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.x = received[:, :1] if self.how == "receive" else received

    def after_local_steps(self, state: State, rows: Any, start_BP: Tensor, end_BP: Tensor) -> None:
        if self.how == "learned":
            state.x = end_BP[:1]
        else:
            super().after_local_steps(state, rows, start_BP, end_BP)

    def participants(self, round: int, devices: int, seed: int) -> Any:
        return np.ones(devices + 1, bool) if self.how == "participants" else None


class Packs(Compressor):
    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, v_nM: Tensor, draw: Draw) -> Any:
        if self.how == "raises":
            raise ValueError("cannot be packed")
        return {"shape": v_nM[:, :2], "double": v_nM.double(), "none": None}.get(self.how, v_nM)

    def bits(self, width: int) -> Any:
        return 1.5 * width if self.how == "bits" else width


class Goes(Churn):
    def __init__(self, devices: int, how: str) -> None:
        self.devices, self.how = devices, how

    def online(self, round: int) -> Any:
        if self.how == "exits":
            sys.exit()
        return {"shape": np.ones(2, bool), "floats": np.ones(self.devices)}[self.how]


class Wakes(Clock):
    def wakes(self, round: int) -> Any:
        return True


class Cuts(Outage):
    def up(self, round: int, graph: Graph) -> Any:
        return np.ones(3, bool)


class Waits(Delay):
    longest = 3.0

    def __init__(self, how: str) -> None:
        self.how = how

    def seconds(self, graph: Graph, edge_S: Any, draw_S: Any) -> Any:
        return {
            "negative": draw_S - 5,
            "nan": draw_S * math.nan,
            "shape": np.zeros(1),
            "list": [0.0],
        }[self.how]


class Has(UniformFleet):
    @property
    def hardware(self) -> Any:
        good = super().hardware
        return Hardware(**{**vars(good), "flops": good.flops[:1]})


class Steps(SGD):
    def __init__(self, lr: float, schedule: Schedule, how: str) -> None:
        super().__init__(lr, schedule)
        self.how = how

    @property
    def plain(self) -> bool:
        return self.how == "not plain"

    def step(
        self, x_BP: Tensor, g_BP: Tensor, slots: dict[str, Tensor], lr: Tensor, t_B1: Tensor
    ) -> None:
        if self.how == "nothing":
            x_BP = x_BP - lr * g_BP
        elif self.how == "raises":
            raise NotImplementedError
        else:
            x_BP.sub_(2 * lr * g_BP)


class Rises(Schedule):
    def after_warmup(self, share: float) -> float:
        return math.nan


class Plans(UpdatePolicy):
    def batch_plans(self, round: int) -> Any:
        return None


class Keeps(Replay):
    def places(self, memory: Any, offer: Any) -> Any:
        return np.full(offer.label_nk.shape, 99), memory.largest_nC


class Chooses(Scenario):
    def __init__(self, how: str) -> None:
        self.how = how

    def arms(self, settings: Any, steps_a_round: int) -> Any:
        arm = Arm("swarm", (settings,))
        return {
            "none": None,
            "empty": [],
            "twice": [arm, arm],
            "outside": [Arm("../../swarm", (settings,))],
            "strings": ["swarm"],
            "pooled": [Arm("swarm", (settings,), pooled=True)],
        }.get(self.how, [arm])

    def conclude(self, run: Any, summary: Any) -> Any:
        if self.how == "judge raises":
            raise KeyError("accuracy")
        return {"judge nan": {"share": math.nan}, "judge none": None}.get(self.how, {})


class Tracks(Tracker):
    def __init__(self, run: str, how: str) -> None:
        if how == "late" and run != "check":
            sys.exit(0)
        self.how = how

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        if self.how == "configure":
            config["arm_name"]

    def record(self, record: dict[str, Any]) -> None:
        if self.how == "record":
            sys.exit(0)


# --- and some that are right ----------------------------------------------------------------------


class Strikes(Iid):
    """As good as its base class."""


def strikes() -> None:
    import signal

    signal.raise_signal(signal.SIGINT)
    for _ in range(10**6):
        pass
