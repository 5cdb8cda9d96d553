"""Metrics that look at the swarm and get something wrong, in every way we could think of;
tests/experiments/checks/test_faulty_metrics.py runs them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from swarm.simulation.metrics.base import (
    Column,
    DeviceScores,
    ScoreMetric,
    StreamCounts,
    StreamMetric,
    TrafficCounts,
    TrafficMetric,
)
from swarm.simulation.metrics.looking import BlockMetric, DeviceValues, SwarmMetric
from swarm.simulation.metrics.views import BlockView, SwarmView

MEASURED: dict[str, Any] = {
    "none": None,
    "list": [1.0],
    "key": {"worse": 1.0},
    "cohort": {"bad_cohort_own": 1.0},
    "text": {"bad": "much"},
    "array": {"bad": np.ones(2)},
    "bool": {"bad": True},
    "no number": {"bad": np.nan},
    "beyond": {"bad": torch.tensor(torch.inf)},
    "nothing": {},
}
COLUMNS: dict[str, Any] = {
    "none": None,
    "one": Column("bad", "bad"),
    "words": ("bad",),
    "space": (Column("bad number", "bad"),),
    "number": (Column(3, "bad"),),  # type: ignore[arg-type]
    "twice": (Column("bad", "bad"), Column("bad", "worse")),
    "taken": (Column("lost", "bad"),),
    "accuracy": (Column("accuracy_mean", "bad"),),
    "cohort": (Column("bad_cohort_own", "bad"),),
}


class Whole(SwarmMetric):
    """Of the whole swarm."""

    name, label = "bad", "bad"

    def __init__(self, how: str) -> None:
        self.how = how

    def measured(self, view: SwarmView) -> Any:
        if self.how == "raises":
            raise ZeroDivisionError("by the swarm")
        if self.how == "exits":
            sys.exit(0)
        if self.how == "writes":
            view.counters.sent_N[0] = 1
        if self.how == "sets":
            view.round = 0  # type: ignore[misc]
        return MEASURED[self.how]


class Wanted(Whole):
    """What it needs and takes."""

    def why_not_in(self, experiment: Any) -> Any:
        if self.how == "raises":
            raise LookupError("no such arm")
        return {"true": True, "empty": " ", "no": "cannot be measured on Sundays"}.get(self.how)

    def held_bytes(self, experiment: Any) -> Any:
        return {"negative": -8, "half": 0.5, "words": "a lot"}.get(self.how, 0)

    def why_not(self, task: Any) -> Any:
        return {"false": False}.get(self.how)


class Columns(Whole):
    """What it says of its numbers."""

    def columns(self) -> Any:
        return COLUMNS[self.how]


class Nameless(SwarmMetric):
    """Nobody knows what to call it."""

    def measured(self, view: SwarmView) -> Any:
        return {}


class Unlabelled(Nameless):
    """Nobody knows what it says."""

    name = "bad"


class Blocks(BlockMetric):
    """Of blocks of devices."""

    name, label = "bad", "bad"

    def __init__(self, how: str) -> None:
        self.how = how

    def width(self, experiment: Any) -> Any:
        return {"no width": 0, "half a width": 1.5, "a width of words": "two"}.get(self.how, 2)

    def look(self, block: BlockView) -> Any:
        devices = len(block.devices_B)
        if self.how == "no such sample":
            block.losses([np.array([10**6])] * devices)
        return {
            "none": None,
            "flat": torch.ones(devices),
            "one more": torch.ones(devices + 1, 2),
            "numpy": np.ones((devices, 2)),
            "complex": torch.ones(devices, 2, dtype=torch.complex64),
        }.get(self.how, torch.ones(devices, 2, dtype=torch.bfloat16))

    def values(self, found: DeviceValues) -> Any:
        devices = len(found.devices_M)
        return {
            "no values": None,
            "one value": np.ones(1) * 0.5 if devices != 1 else None,
            "words": np.array(["much"] * devices),
            "no number": np.full(devices, np.nan),
        }.get(self.how, found.values_MV[:, 0])

    def together(self, found: DeviceValues) -> Any:
        return {"key": {"worse": 1.0}, "tuple": (1.0,)}.get(self.how, {})


class Scores(ScoreMetric):
    """Of what is counted anyway."""

    name, label = "bad", "bad"

    def values(self, scores: DeviceScores) -> Any:
        return scores.loss_M

    def over_devices(self, values_M: Any) -> Any:
        return {"bad_mean": [values_M.mean()]}


class Streams(StreamMetric):
    """Of predictions before learning."""

    name, label = "bad", "bad"

    def value(self, counts: StreamCounts) -> Any:
        return counts.samples_N


class Traffics(TrafficMetric):
    """Of messages."""

    name, label = "bad", "bad"

    def value(self, round: TrafficCounts, total: TrafficCounts) -> Any:
        return f"{total.bytes_N.sum()} bytes"
