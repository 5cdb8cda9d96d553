"""What every plug-in of a kind promises, looked for by running it small: the body of
:func:`swarm.experiments.checks.check_plugin.check_plugin`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import SwarmError
from swarm.common.plugin import blamed, place
from swarm.common.rng import Keys
from swarm.communication.compression.base import Draw
from swarm.communication.topology.graph import Graph
from swarm.experiments.runner import check
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.optim.optimizer import check_step
from swarm.simulation.engine.base import Engine
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.experiment import Experiment
from swarm.simulation.loop import Simulation

ROUNDS = 6  # of which a graph or a network is asked for
Rows = dict[str, Tensor]


class ContractError(SwarmError, AssertionError):
    """A plug-in runs, and does not keep what every plug-in of its kind promises."""


def require_kept(study: PreparedRun, made: Any, section: str, path: str) -> None:
    """Try the plug-in ``made``, chosen as ``section``, in a small run.

    Raises :class:`ContractError` for a promise of its kind that it breaks.
    """
    if section == "engine":
        text = "gives other numbers than engine=local does"
        _require_equal(made, path, text, _run(study), _here(study))
        return
    _check_runs(study, made, section, path)
    for each in _CHECKS.get(section, ()):
        each(study, made, f"{section}={path}")


def _fail(made: Any, path: str, what: str) -> ContractError:
    at = place(made)
    return ContractError(f"{path}: {what}" + (f" ({at})" if at else ""))


# --- every kind -----------------------------------------------------------------------------------


def _first(study: PreparedRun, **changes: Any) -> Experiment:
    arm = study.arms[0]
    return study.experiment(arm, arm.first.model_copy(update=changes))


def _run(
    study: PreparedRun, engine: Engine | None = None, *, again_from: int | None = None
) -> Rows:
    """What devices have at the end; ``again_from`` a round whose snapshot is put back first."""
    own = study.engine if engine is None else engine
    rounds = study.settings.rounds
    with own:
        try:
            own.start(_first(study))
            if again_from is not None:
                _advance(own, again_from)
                middle = _copy(own.snapshot())
                _advance(own, rounds)
                own.restore(middle, again_from)
            _advance(own, rounds)
            return _copy(own.snapshot())
        finally:
            own.stop()


def _here(study: PreparedRun, shards: int = 1, *, again_from: int | None = None) -> Rows:
    return _run(study, LocalEngine(study.engine.block, shards), again_from=again_from)


def _advance(engine: Engine, until: int) -> None:
    for _ in engine.advance(until):
        pass


def _copy(rows: Rows) -> Rows:
    return {name: values.clone() for name, values in rows.items()}


def _check_runs(study: PreparedRun, made: Any, section: str, path: str) -> None:
    name, one = f"{section}={path}", _here(study)
    _require_equal(
        made, name, "gives other numbers when the same run is run again", _here(study), one
    )
    shards = min(4, len(_first(study).blocks))
    text = (
        f"gives other numbers where the swarm is cut into {shards} shards: a device's result must"
        " not depend on its company"
    )
    _require_equal(made, name, text, _here(study, shards), one)
    if study.settings.rounds > 1:
        text = (
            "gives other numbers where a run goes on from a snapshot: it keeps a state that no"
            " checkpoint has"
        )
        _require_equal(made, name, text, _here(study, again_from=1), one)


def _require_equal(made: Any, path: str, text: str, found: Rows, expected: Rows) -> None:
    if found.keys() != expected.keys() or not all(
        torch.equal(found[name], expected[name]) for name in expected
    ):
        raise _fail(made, path, text)


# --- by kind --------------------------------------------------------------------------------------


def _check_topology(study: PreparedRun, made: Any, path: str) -> None:
    one, other = _first(study).topology, _first(study).topology
    phases = sorted({one.phase(round) for round in range(1, ROUNDS + 1)})
    forwards = {phase: one.graph(phase) for phase in phases}
    for phase in reversed(phases):
        if not _same_graph(other.graph(phase), forwards[phase]):
            text = (
                f"graph({phase}) depends on what was asked before: it must follow from the options,"
                " devices and seed"
            )
            raise _fail(made, path, text)
    if (
        one.period is not None
        and one.period <= ROUNDS
        and not _same_graph(one.graph(one.period), one.graph(0))
    ):
        raise _fail(
            made, path, f"graph({one.period}) is not graph(0), though its period is {one.period}"
        )


def _same_graph(one: Graph, other: Graph) -> bool:
    pairs = zip(_arrays(one), _arrays(other), strict=True)
    return one.directed == other.directed and all(_equal(a, b) for a, b in pairs)


def _arrays(graph: Graph) -> Iterator[Any]:
    yield from (graph.src_E, graph.dst_E, graph.pos_N2, graph.weight_E, graph.length_E)


def _equal(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _check_network(study: PreparedRun, made: Any, path: str) -> None:
    one, other = _first(study), _first(study)
    forwards = {round: _happens(one, round) for round in range(1, ROUNDS + 1)}
    for round in reversed(range(1, ROUNDS + 1)):
        if not all(
            _equal(a, b) for a, b in zip(_happens(other, round), forwards[round], strict=True)
        ):
            raise _fail(
                made,
                path,
                f"round {round} depends on what was asked before: it must follow from its number"
                " and seed",
            )


def _happens(e: Experiment, round: int) -> tuple[Any, ...]:
    network = e.network
    outcomes = None if network.ideal else network.outcomes(round, e.graph(round)).ticks_E
    return network.online(round), network.active(round), network.members(round), outcomes


def _check_data(study: PreparedRun, made: Any, path: str) -> None:
    again = check(study.settings.model_dump())
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
        if not _equal(getattr(study.dataset, name), getattr(again.dataset, name)):
            raise _fail(
                made,
                path,
                f"makes other samples the second time ({name}): they must follow from the options"
                " and seed",
            )
    if not _equal(study.split.sample, again.split.sample) or not _equal(
        study.split.ptr_N1, again.split.ptr_N1
    ):
        raise _fail(
            made, path, "deals otherwise the second time: it must follow from the options and keys"
        )


def _check_model(study: PreparedRun, made: Any, path: str) -> None:
    n = np.arange(study.settings.devices)
    common, again = (
        _first(study, init="common").first_rows(n),
        _first(study, init="common").first_rows(n),
    )
    if not torch.equal(common, again):
        raise _fail(
            made,
            path,
            "starts from other parameters the second time: draw them from torch's generator only",
        )


def _check_optimizer(study: PreparedRun, made: Any, path: str) -> None:
    optimizer, moved = _first(study).optimizer, []
    check_step(optimizer, torch.float64)
    g_BP = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).view(2, 3)
    for lr in (1e-3, 1e-4):
        x_BP = torch.ones(2, 3, dtype=torch.float64)
        slots = {name: torch.zeros_like(x_BP) for name in optimizer.slots}
        rate, first = torch.full((1, 1), lr, dtype=x_BP.dtype), torch.ones(2, 1, dtype=torch.int64)
        optimizer.step(x_BP, g_BP.clone(), slots, rate, first)
        moved.append(x_BP - 1)
    if not torch.allclose(moved[0], 10 * moved[1], rtol=1e-6, atol=1e-12):
        raise _fail(
            made, path, "takes no first step of a tenth of the length at a tenth of the rate"
        )


def _check_schedule(study: PreparedRun, made: Any, path: str) -> None:
    optimizer = _first(study).optimizer
    for done in (0, 1, 5, 9, 10, 11, 1000):
        optimizer.rate(done, 10)  # looks at the factor itself


def _check_compressor(study: PreparedRun, made: Any, path: str) -> None:
    e = _first(study)
    if e.compressor is None:
        return
    width = e.layout.width
    v_nM = torch.as_tensor(
        Keys(0, "contract").generator().standard_normal((9, width)), dtype=e.dtype
    )
    packets = e.compressor(v_nM.clone(), Draw(Keys(0, "contract"), np.arange(9), 3))
    for some in ([0], [8, 3], [2, 4, 6]):
        if not torch.equal(
            e.compressor(v_nM[some], Draw(Keys(0, "contract"), np.array(some), 3)), packets[some]
        ):
            raise _fail(
                made,
                path,
                "packs a device's row otherwise in other company: a packet must depend on its row"
                " only",
            )
    if e.compressor.bits(width) >= width * e.number_bits:
        raise _fail(
            made,
            path,
            f"makes {e.compressor.bits(width)} bits of {width * e.number_bits}: that is no"
            " compression",
        )


def _check_metric(study: PreparedRun, made: Any, path: str) -> None:
    """The same numbers in one shard, in four and again, and none that are in no column."""
    one, again, shards = (_measured(study, n) for n in (1, 1, min(4, len(_first(study).blocks))))
    if again != one:
        raise _fail(made, path, "measures other numbers when the same run is run again")
    if shards != one:
        text = (
            "measures other numbers where the swarm is cut into several shards: a device's value"
            " must not depend on its company"
        )
        raise _fail(made, path, text)
    if not any(value is not None for value in one[-1].values()):
        raise _fail(made, path, "measures nothing: no number of its columns is in the last record")


def _measured(study: PreparedRun, shards: int) -> list[dict[str, str | None]]:
    """The metric's numbers in each record, as text: NaN is not equal to itself."""
    experiment = _first(study)
    keys = [column.key for column in experiment.metrics.columns]
    with Simulation(experiment, LocalEngine(study.engine.block, shards)) as running:
        records = [row.values for row in running.records(study.settings.rounds)]
    return [
        {key: None if values.get(key) is None else repr(values[key]) for key in keys}
        for values in records
    ]


_CHECKS: dict[str, tuple[Callable[[PreparedRun, Any, str], None], ...]] = {
    "topology": (_check_topology,),
    "model": (_check_model,),
    "optimizer": (_check_optimizer,),
    "schedule": (_check_schedule,),
    "compressor": (_check_compressor,),
    "metric": (_check_metric,),
    **dict.fromkeys(("data", "partition", "drift", "labels"), (_check_data,)),
    **dict.fromkeys(("churn", "outage", "clock", "delay", "fleet"), (_check_network,)),
}


def check_tracker(cfg: dict[str, Any]) -> None:
    """What a run sends it, in the order of a run; an error here would be a warning there."""
    study = check(cfg)
    assert isinstance(study, PreparedRun)
    with tempfile.TemporaryDirectory() as folder, blamed(2):
        tracker = study.made_tracker(Path(folder), "check")
        for arm in ("swarm", "isolated"):
            tracker.start(arm, 2, 0)
            for round in range(3):
                record = {
                    "arm": arm,
                    "round": round,
                    "virtual_s": float(round),
                    "accuracy_mean": 0.5,
                    "train_loss": None,
                }
                tracker.record({**record, "_device_accuracy": np.full(12, 0.5)})
            tracker.finish(arm, {"rounds": 2, "accuracy_mean": 0.5})
        tracker.attach([])
        tracker.close()
        tracker.close()
