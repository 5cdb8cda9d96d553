"""The kinds of scenarios, and the functions that prepare, start, resume and redraw each.

Claims and suites bring the packages of tables and pictures with them, which one run does not need
in order to start: each kind is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from swarm.experiments.resolved import Resolved
from swarm.experiments.runs.run import Result
from swarm.experiments.runs.scenario import KindName

if TYPE_CHECKING:
    from swarm.experiments.claims.plan import ClaimPlan
    from swarm.experiments.claims.suite import SuitePlan
    from swarm.experiments.runs.prepared import PreparedRun

P = TypeVar("P", "PreparedRun", "ClaimPlan", "SuitePlan")


@dataclass(frozen=True)
class Kind(Generic[P]):
    """The functions for a kind of scenario: prepare it, start it, resume it, redraw its pages."""

    prepare: Callable[[Resolved], P]
    start: Callable[[P, Path, Sequence[str] | None], Result]
    resume: Callable[[Path, dict[str, Any]], Result]
    redraw: Callable[[Path], list[Path]]


def _run() -> Kind[PreparedRun]:
    from swarm.experiments.runs import run
    from swarm.experiments.runs.prepared import PreparedRun

    return Kind(PreparedRun.prepare, run.execute, run.resume, _write_report)


def _write_report(folder: Path) -> list[Path]:
    from swarm.results.report import write_report

    return write_report(folder)


def _claim() -> Kind[ClaimPlan]:
    from swarm.experiments.claims import run
    from swarm.experiments.claims.plan import ClaimPlan

    return Kind(ClaimPlan.checked, run.start, run.resume, run.redraw)


def _suite() -> Kind[SuitePlan]:
    from swarm.experiments.claims import suite

    return Kind(suite.SuitePlan.checked, suite.start, suite.resume, suite.redraw)


_KINDS: dict[KindName, Callable[[], Kind[Any]]] = {"run": _run, "claim": _claim, "suite": _suite}


@cache
def kind(name: KindName) -> Kind[Any]:
    """The functions of the kind ``name``."""
    return _KINDS[name]()
