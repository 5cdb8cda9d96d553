"""Checks, in small runs, that a plug-in keeps the promises of its kind: the body of
:func:`swarm.experiments.checks.check_plugin.check_plugin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from swarm.communication.topology.graph import Graph
from swarm.experiments.checks.message_contracts import (
    check_aggregator,
    check_attack,
    check_compressor,
    check_pre_aggregator,
    check_transform,
)
from swarm.experiments.checks.trial import Rows, fail, first_of, run_here, run_small
from swarm.experiments.runner import check
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.optim.optimizer import check_step
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.experiment import Experiment
from swarm.simulation.loop import Simulation

ROUNDS = 6  # the rounds whose graph or network is checked


def require_kept(prepared: PreparedRun, made: Any, section: str, path: str) -> None:
    """Try the plug-in ``made``, chosen as ``section``, in a small run.

    Raises :class:`ContractError` if it breaks a promise of its kind.
    """
    if section == "engine":
        text = "gives other numbers than engine=local does"
        _require_equal(made, path, text, run_small(prepared), run_here(prepared))
        return
    _check_runs(prepared, made, section, path)
    for each in _CHECKS.get(section, ()):
        each(prepared, made, f"{section}={path}")


# --- every kind -----------------------------------------------------------------------------------


def _check_runs(prepared: PreparedRun, made: Any, section: str, path: str) -> None:
    name, one = f"{section}={path}", run_here(prepared)
    _require_equal(
        made, name, "gives other numbers when the same run is run again", run_here(prepared), one
    )
    shards = min(4, len(first_of(prepared).blocks))
    text = (
        f"gives other numbers where the swarm is cut into {shards} shards: a device's result must"
        " not depend on the other devices of its shard"
    )
    _require_equal(made, name, text, run_here(prepared, shards), one)
    if prepared.settings.rounds > 1:
        text = (
            "gives other numbers where a run goes on from a snapshot: it keeps a state that no"
            " checkpoint has"
        )
        _require_equal(made, name, text, run_here(prepared, again_from=1), one)


def _require_equal(made: Any, path: str, text: str, found: Rows, expected: Rows) -> None:
    if found.keys() != expected.keys() or not all(
        torch.equal(found[name], expected[name]) for name in expected
    ):
        raise fail(made, path, text)


# --- by kind --------------------------------------------------------------------------------------


def _check_topology(prepared: PreparedRun, made: Any, path: str) -> None:
    one, other = (
        first_of(prepared).communication.topology,
        first_of(prepared).communication.topology,
    )
    phases = sorted({one.phase(round) for round in range(1, ROUNDS + 1)})
    forwards = {phase: one.graph(phase) for phase in phases}
    for phase in reversed(phases):
        if not _same_graph(other.graph(phase), forwards[phase]):
            text = (
                f"graph({phase}) depends on what was asked before: it must follow from the options,"
                " devices and seed"
            )
            raise fail(made, path, text)
    if (
        one.period is not None
        and one.period <= ROUNDS
        and not _same_graph(one.graph(one.period), one.graph(0))
    ):
        raise fail(
            made, path, f"graph({one.period}) is not graph(0), though its period is {one.period}"
        )


def _same_graph(one: Graph, other: Graph) -> bool:
    pairs = zip(_arrays(one), _arrays(other), strict=True)
    return one.directed == other.directed and all(_equal(a, b) for a, b in pairs)


def _arrays(graph: Graph) -> Iterator[Any]:
    yield from (graph.src_E, graph.dst_E, graph.pos_N2, graph.weight_E, graph.length_E)


def _equal(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _check_network(prepared: PreparedRun, made: Any, path: str) -> None:
    one, other = first_of(prepared), first_of(prepared)
    forwards = {round: _happens(one, round) for round in range(1, ROUNDS + 1)}
    for round in reversed(range(1, ROUNDS + 1)):
        if not all(
            _equal(a, b) for a, b in zip(_happens(other, round), forwards[round], strict=True)
        ):
            raise fail(
                made,
                path,
                f"round {round} depends on what was asked before: it must follow from its number"
                " and seed",
            )


def _happens(e: Experiment, round: int) -> tuple[Any, ...]:
    network = e.communication.network
    outcomes = (
        None if network.ideal else network.outcomes(round, e.communication.graph(round)).ticks_E
    )
    return network.online(round), network.active(round), network.members(round), outcomes


def _check_data(prepared: PreparedRun, made: Any, path: str) -> None:
    again = check(prepared.settings.model_dump())
    assert isinstance(again, PreparedRun)
    for name in (
        "x",
        "y",
        "owner",
        "train",
        "validation",
        "test",
        "time",
        "concept",
        "observed_labels",
    ):
        if not _equal(getattr(prepared.dataset, name), getattr(again.dataset, name)):
            raise fail(
                made,
                path,
                f"makes other samples the second time ({name}): they must follow from the options"
                " and seed",
            )
    if not _equal(prepared.split.sample, again.split.sample) or not _equal(
        prepared.split.ptr_N1, again.split.ptr_N1
    ):
        raise fail(
            made,
            path,
            "splits the samples differently the second time: the split must follow from the options"
            " and keys",
        )


def _check_model(prepared: PreparedRun, made: Any, path: str) -> None:
    n = np.arange(prepared.settings.devices)
    common, again = (
        first_of(prepared, init="common").model.first_rows(n),
        first_of(prepared, init="common").model.first_rows(n),
    )
    if not torch.equal(common, again):
        raise fail(
            made,
            path,
            "starts from other parameters the second time: draw them from torch's generator only",
        )


def _check_optimizer(prepared: PreparedRun, made: Any, path: str) -> None:
    optimizer, moved = first_of(prepared).model.optimizer, []
    check_step(optimizer, torch.float64)
    g_BP = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).view(2, 3)
    for lr in (1e-3, 1e-4):
        x_BP = torch.ones(2, 3, dtype=torch.float64)
        slots = {name: torch.zeros_like(x_BP) for name in optimizer.slots}
        rate, first = torch.full((1, 1), lr, dtype=x_BP.dtype), torch.ones(2, 1, dtype=torch.int64)
        optimizer.step(x_BP, g_BP.clone(), slots, rate, first)
        moved.append(x_BP - 1)
    if not torch.allclose(moved[0], 10 * moved[1], rtol=1e-6, atol=1e-12):
        raise fail(
            made,
            path,
            "does not take a first step of a tenth of the length at a tenth of the rate",
        )


def _check_schedule(prepared: PreparedRun, made: Any, path: str) -> None:
    optimizer = first_of(prepared).model.optimizer
    for done in (0, 1, 5, 9, 10, 11, 1000):
        optimizer.rate(done, 10)  # checks the factor itself


def _check_metric(prepared: PreparedRun, made: Any, path: str) -> None:
    """Require the same numbers in a second run, in four shards and after a resume, at least one
    number, and that devices are the same as without it."""
    (one, rows), (again, _), (shards, _) = (
        _measured(prepared, n) for n in (1, 1, min(4, len(first_of(prepared).blocks)))
    )
    text = "changes the devices that it measures: a run that measures nothing ends with others"
    _require_equal(made, path, text, rows, run_here(prepared))
    if again != one:
        text = "measures other numbers when the same run is run again; the column of a time that is"
        raise fail(made, path, f"{text} measured says timed=True")
    if shards != one:
        text = (
            "measures other numbers where the swarm is cut into several shards: a device's value"
            " must not depend on the other devices of its shard"
        )
        raise fail(made, path, text)
    if prepared.settings.rounds > 1 and _measured(prepared, 1, again_from=1)[0][-1] != one[-1]:
        text = "measures other numbers in a run that is resumed: it keeps what no checkpoint has"
        raise fail(made, path, text)
    timed = any(column.timed for column in first_of(prepared).metrics.columns)
    if not timed and not any(value is not None for value in one[-1].values()):
        raise fail(made, path, "measures nothing: no number of its columns is in the last record")


def _measured(
    prepared: PreparedRun, shards: int, *, again_from: int | None = None
) -> tuple[list[dict[str, str | None]], Rows]:
    """The metric's numbers in each record, as text, because NaN is not equal to itself; and the
    snapshot after the last round. With ``again_from`` these are of a run that another one has begun
    and that goes on from its checkpoint of that round."""
    experiment = first_of(prepared)
    keys = [column.key for column in experiment.metrics.columns if not column.timed]
    with Simulation(experiment, LocalEngine(prepared.engine.block, shards)) as running:
        if again_from is not None:
            with Simulation(first_of(prepared), LocalEngine(prepared.engine.block)) as begun:
                for _ in begun.records(again_from):
                    pass
                running.restore(begun.checkpoint())
        records = [row.values for row in running.records(prepared.settings.rounds)]
        rows = {name: values.clone() for name, values in running.engine.snapshot().items()}
    numbers = [
        {key: None if values.get(key) is None else repr(values[key]) for key in keys}
        for values in records
    ]
    return numbers, rows


_CHECKS: dict[str, tuple[Callable[[PreparedRun, Any, str], None], ...]] = {
    "topology": (_check_topology,),
    "model": (_check_model,),
    "optimizer": (_check_optimizer,),
    "schedule": (_check_schedule,),
    "aggregator": (check_aggregator,),
    "pre_aggregator": (check_pre_aggregator,),
    "transform": (check_transform,),
    "attack": (check_attack,),
    "compressor": (check_compressor,),
    "metric": (_check_metric,),
    **dict.fromkeys(("data", "partition", "drift", "labels"), (_check_data,)),
    **dict.fromkeys(("churn", "outage", "clock", "delay", "fleet"), (_check_network,)),
}
