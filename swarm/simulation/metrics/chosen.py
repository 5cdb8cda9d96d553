"""The metrics of a run: those that ``metrics=[…]`` chooses, built and held against one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.plugin import returned, shape_of
from swarm.config.build import build, choice
from swarm.config.explain import shown
from swarm.config.settings import STANDARD
from swarm.simulation.metrics.asking import Asking
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
from swarm.simulation.metrics.local import LocalMetric
from swarm.simulation.metrics.membership import Membership
from swarm.simulation.metrics.record import COHORT, CONCEPT, RESERVED, RESERVED_BEGINNINGS
from swarm.simulation.metrics.speed import Speed
from swarm.simulation.metrics.usual import usual

SECTION = "metrics"
KINDS = (
    OutputMetric,
    ScoreMetric,
    VoteMetric,
    LocalMetric,
    TriggerMetric,
    Membership,
    Asking,
    Speed,
    RowMetric,
    StreamMetric,
    TrafficMetric,
)


@dataclass(frozen=True)
class Metrics:
    """The metrics of an arm, by what they are computed from."""

    all: tuple[Metric, ...] = ()

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
    def membership(self) -> tuple[Membership, ...]:
        """Those of samples that devices have learnt from, beside others."""
        return tuple(m for m in self.all if isinstance(m, Membership))

    @property
    def of_devices(self) -> tuple[DeviceMetric, ...]:
        """All of devices that are looked at on samples."""
        return (*self.outputs, *self.scores, *self.local, *self.triggered, *self.membership)

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
    found: list[Metric] = []
    for node in nodes:
        if node == STANDARD:
            there = {metric.name for metric in found}
            fitting = (m for m in usual(task.label) if m.why_not(task) is None)
            found += [metric for metric in fitting if metric.name not in there]
            continue
        assert not isinstance(node, str)
        metric = build(dict(node), Metric, SECTION, plugins, label=task.label, seed=task.seed)
        if (reason := metric.why_not(task)) is not None:
            raise ConfigError(SECTION, choice("metric", node), reason)
        _require_free(metric, choice("metric", node), found)
        found.append(metric)
    return Metrics(tuple(metric for metric in found if task.evaluated or not metric.looks))


def over_devices(metric: DeviceMetric, values_M: Floats) -> dict[str, float]:
    """The metric's numbers of a record; none where no device has a value.

    Raises :class:`PluginError` for numbers that are in none of its columns.
    """
    counted = values_M[~np.isnan(values_M)] if metric.skips_nan else values_M
    found = metric.over_devices(counted) if len(counted) else {}
    keys = [column.key for column in metric.columns()]
    for key in found:
        if key not in keys:
            raise returned(
                "metrics",
                metric,
                "over_devices()",
                f"has the key {key}",
                f"it must be one of its columns, {', '.join(keys)}",
            )
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
    columns = metric.columns()
    if not all(isinstance(column, Column) for column in columns):
        found = f"returns {shape_of(columns)}"
        raise returned(SECTION, metric, "columns()", found, "Columns are needed")
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
