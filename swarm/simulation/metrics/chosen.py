"""The metrics of a run: those that ``metrics=[…]`` chooses, built and held against one another and
against the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from swarm.common.errors import ConfigError
from swarm.config.build import build
from swarm.config.choices import choice
from swarm.config.explain import shown
from swarm.config.settings import STANDARD
from swarm.simulation.metrics.backdoor import TriggerMetric
from swarm.simulation.metrics.base import (
    Column,
    DeviceMetric,
    Floats,
    Metric,
    OutputMetric,
    RowMetric,
    ScoreMetric,
    StreamMetric,
    Task,
    TrafficMetric,
    VoteMetric,
)
from swarm.simulation.metrics.declared import unknown_word
from swarm.simulation.metrics.local import LocalMetric
from swarm.simulation.metrics.looking import BlockMetric, LooksAtBlocks, SwarmMetric
from swarm.simulation.metrics.record import COHORT, CONCEPT, RESERVED, RESERVED_BEGINNINGS
from swarm.simulation.metrics.returned import (
    SECTION,
    columns_of,
    compared_each,
    keyed_numbers,
    reason,
    whole,
)
from swarm.simulation.metrics.usual import usual

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.metrics.views import SwarmView

KINDS = (
    OutputMetric,
    ScoreMetric,
    VoteMetric,
    LocalMetric,
    TriggerMetric,
    BlockMetric,
    SwarmMetric,
    RowMetric,
    StreamMetric,
    TrafficMetric,
)


@dataclass(frozen=True)
class Metrics:
    """The metrics of an arm, by what they are computed from.

    Attributes:
        all: All of them, in their order.
        called: What the list calls those that it names itself, by their names.
    """

    all: tuple[Metric, ...] = ()
    called: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def outputs(self) -> tuple[OutputMetric, ...]:
        """Those of the outputs on the test samples."""
        return tuple(m for m in self.all if isinstance(m, OutputMetric))

    def numbers(self, outputs: int) -> int:
        """How many numbers of a device the metrics of outputs have, of a model with so many
        outputs."""
        return sum(metric.numbers(outputs) for metric in self.outputs)

    @cached_property
    def scores(self) -> tuple[ScoreMetric, ...]:
        """Those of losses and right answers."""
        return tuple(m for m in self.all if isinstance(m, ScoreMetric))

    @cached_property
    def votes(self) -> tuple[VoteMetric, ...]:
        """Those of all devices' answers together."""
        return tuple(m for m in self.all if isinstance(m, VoteMetric))

    @cached_property
    def local(self) -> tuple[LocalMetric, ...]:
        """Those of each device's own held-out samples."""
        return tuple(m for m in self.all if isinstance(m, LocalMetric))

    @cached_property
    def triggered(self) -> tuple[TriggerMetric, ...]:
        """Those of test samples with the trigger of a backdoor."""
        return tuple(m for m in self.all if isinstance(m, TriggerMetric))

    @cached_property
    def of_blocks(self) -> tuple[BlockMetric, ...]:
        """Those that look at devices block by block, and have a value for each."""
        return tuple(m for m in self.all if isinstance(m, BlockMetric))

    @cached_property
    def of_swarm(self) -> tuple[SwarmMetric, ...]:
        """Those of the swarm as a whole."""
        return tuple(m for m in self.all if isinstance(m, SwarmMetric))

    def looking(self, name: str) -> LooksAtBlocks:
        """The metric ``name``, which looks at devices block by block."""
        return next(m for m in self.all if isinstance(m, LooksAtBlocks) and m.name == name)

    @property
    def of_devices(self) -> tuple[DeviceMetric, ...]:
        """All of devices that are looked at on samples."""
        return (*self.outputs, *self.scores, *self.local, *self.triggered, *self.of_blocks)

    @cached_property
    def rows(self) -> tuple[RowMetric, ...]:
        """Those of parameters."""
        return tuple(m for m in self.all if isinstance(m, RowMetric))

    @cached_property
    def stream(self) -> tuple[StreamMetric, ...]:
        """Those of predictions before learning."""
        return tuple(m for m in self.all if isinstance(m, StreamMetric))

    @cached_property
    def traffic(self) -> tuple[TrafficMetric, ...]:
        """Those of messages."""
        return tuple(m for m in self.all if isinstance(m, TrafficMetric))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every number that they put into a record."""
        return tuple(column for metric in self.all for column in metric.columns())


def chosen(
    nodes: Sequence[str | Mapping[str, Any]], task: Task, plugins: Sequence[str] = ()
) -> Metrics:
    """The metrics that ``nodes`` describe, in their order; ``standard`` adds the usual ones that
    are not listed before it.

    Raises :class:`ConfigError` on ``metrics`` for one that cannot be built or that cannot be
    measured on ``task``, for two of one name, and for one whose keys are taken.
    """
    found, called = list[Metric](), dict[str, str]()
    for node in nodes:
        if node == STANDARD:
            there = {metric.name for metric in found}
            fitting = (m for m in usual(task.label) if m.why_not(task) is None)
            found += [metric for metric in fitting if metric.name not in there]
            continue
        assert not isinstance(node, str)
        metric = build(dict(node), Metric, SECTION, plugins, **offered(task))
        option = choice("metric", node)
        if (why := reason(metric, metric.why_not(task), "why_not()")) is not None:
            raise ConfigError(SECTION, option, why)
        _require_free(metric, option, found)
        found.append(metric)
        called[metric.name] = option
    kept = tuple(metric for metric in found if task.evaluated or not metric.looks)
    return Metrics(kept, called)


def offered(task: Task) -> dict[str, Any]:
    """What the run offers the constructor of a metric, by the names of its parameters."""
    units = {"target_span": task.target_span, "target_shift": task.target_shift}
    return {"label": task.label, "seed": task.seed, **units}


def check(e: Experiment) -> None:
    """Ask each metric of ``e`` whether it can be measured there, and what it takes.

    Raises :class:`ConfigError` on ``metrics`` for one that cannot.
    """
    for metric in e.metrics.all:
        if (why := reason(metric, metric.why_not_in(e), "why_not_in()")) is not None:
            raise ConfigError(SECTION, e.metrics.called.get(metric.name, metric.name), why)
        if isinstance(metric, LooksAtBlocks):
            whole(metric, metric.width(e), "width()", 1)
        held_bytes(metric, e)


def held_bytes(metric: Metric, e: Experiment) -> int:
    """The bytes that ``metric`` says it takes in ``e``."""
    return whole(metric, metric.held_bytes(e), "held_bytes()", 0)


def over_devices(metric: DeviceMetric, values_M: Floats) -> dict[str, float | None]:
    """The metric's numbers of a record; none where no device has a value.

    Raises :class:`PluginError` for numbers that are in none of its columns.
    """
    counted = values_M[~np.isnan(values_M)] if metric.skips_nan else values_M
    if not len(counted):
        return {}
    found, keys = metric.over_devices(counted), [column.key for column in metric.columns()]
    return keyed_numbers(metric, found, "over_devices()", keys)


def seen_in_blocks(view: SwarmView) -> tuple[dict[str, float | None], dict[str, Floats]]:
    """What the metrics that look at the evaluated devices block by block say of all of them
    together, and of each."""
    together, own = dict[str, float | None](), dict[str, Floats]()
    for metric in view.experiment.metrics.of_blocks:
        found, keys = view.look(metric, view.evaluated), [c.key for c in metric.columns()]
        together |= keyed_numbers(metric, metric.together(found), "together()", keys)
        own[metric.name] = compared_each(metric, metric.values(found), len(found.devices_M))
    return together, own


def seen_of_swarm(view: SwarmView) -> dict[str, float | None]:
    """The numbers of the metrics of the swarm as a whole."""
    found: dict[str, float | None] = {}
    cohorts = view.experiment.model.cohorts
    ends = ["", *(f"{COHORT}{name}" for name in (() if cohorts is None else cohorts.names))]
    for metric in view.experiment.metrics.of_swarm:
        keys = [f"{column.key}{end}" for end in ends for column in metric.columns()]
        found |= keyed_numbers(metric, metric.measured(view), "measured()", keys)
    return found


def _require_free(metric: Metric, called: str, others: Sequence[Metric]) -> None:
    """Refuse a metric that has a name or a key of another's, or a key of the records."""
    if not isinstance(metric, KINDS):
        valid = f"must derive from one of {', '.join(kind.__name__ for kind in KINDS)}"
        raise ConfigError(SECTION, called, valid)
    if not isinstance(getattr(metric, "name", None), str) or not metric.name.isidentifier():
        found = shown(getattr(metric, "name", None))
        valid = f"its name is {found}; it must be letters, digits and underscores, such as macro_f1"
        raise ConfigError(SECTION, called, valid)
    if any(metric.name == other.name for other in others):
        valid = f"there is another metric called {metric.name}; each name may be listed once"
        raise ConfigError(SECTION, called, valid)
    label = getattr(metric, "label", None)
    if not isinstance(label, str) or not label.strip():
        valid = f"its label is {shown(label)}; it must be what reports call it"
        raise ConfigError(SECTION, called, valid)
    columns = columns_of(metric)
    if (why := unknown_word(metric, columns)) is not None:
        raise ConfigError(SECTION, called, why)
    taken = {column.key: other.name for other in others for column in other.columns()}
    kept = [metric.name] if isinstance(metric, DeviceMetric) and metric.kept else []
    for key in (*kept, *(column.key for column in columns)):
        if (
            key in RESERVED
            or key.startswith(RESERVED_BEGINNINGS)
            or CONCEPT in key
            or COHORT in key
        ):
            valid = f"records have a key {key} of their own; give the metric another name"
            raise ConfigError(SECTION, called, valid)
        if key in taken:
            valid = f"its key {key} is one of the metric {taken[key]} too; give it another name"
            raise ConfigError(SECTION, called, valid)
