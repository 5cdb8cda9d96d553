"""The small runs in which a plug-in is tried, and the error about one that breaks a promise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from swarm.common.errors import SwarmError
from swarm.common.plugin import place
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.engine.base import Engine
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.experiment import Experiment

Rows = dict[str, Tensor]


class ContractError(SwarmError, AssertionError):
    """A plug-in runs, but breaks a promise of its kind."""


def fail(made: Any, path: str, what: str) -> ContractError:
    """The error that the plug-in ``made`` at ``path`` does ``what``, with its file and line."""
    at = place(made)
    return ContractError(f"{path}: {what}" + (f" ({at})" if at else ""))


def first_of(prepared: PreparedRun, **changes: Any) -> Experiment:
    """The experiment of the first arm, with ``changes`` of its settings."""
    arm = prepared.arms[0]
    return prepared.experiment(arm, arm.first.model_copy(update=changes))


def run_small(
    prepared: PreparedRun, engine: Engine | None = None, *, again_from: int | None = None
) -> Rows:
    """The snapshot after a run of the first arm. With ``again_from`` the run goes back to its
    snapshot of that round at the end, and repeats the rounds after it."""
    own = prepared.engine if engine is None else engine
    rounds = prepared.settings.rounds
    with own:
        try:
            own.start(first_of(prepared))
            if again_from is not None:
                _advance(own, again_from)
                middle = _copy(own.snapshot())
                _advance(own, rounds)
                own.restore(middle, again_from)
            _advance(own, rounds)
            return _copy(own.snapshot())
        finally:
            own.stop()


def run_here(prepared: PreparedRun, shards: int = 1, *, again_from: int | None = None) -> Rows:
    """:func:`run_small` with the local engine, in ``shards`` shards."""
    return run_small(prepared, LocalEngine(prepared.engine.block, shards), again_from=again_from)


def _advance(engine: Engine, until: int) -> None:
    for _ in engine.advance(until):
        pass


def _copy(rows: Rows) -> Rows:
    return {name: values.clone() for name, values in rows.items()}
