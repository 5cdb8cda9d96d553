"""What forked processes do beside the run: they choose the learning rates of later arms while the
first ones run, and then draw the report.

A search follows from the settings alone, so a child finds to the last bit what would be found here.
Where there can be no child, or it dies, its work is done when it has its turn, as ever.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from swarm.common.system.garbage import without_collection
from swarm.common.system.processes.child import Child, Parent, spare_cores
from swarm.experiments.runs.lr_search.search import search_lr
from swarm.experiments.runs.lr_search.stages import Look, Say
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.simulation.engine.base import prepare_process

PAUSE_S = 0.02  # between two looks whether the report is asked for


class WorkAhead:
    """The searches of ``arms``, in their order, by as many children as there are spare cores, and
    the report in the run's ``folder``, by the last of them.

    As a context manager it starts them, and ends those that are left. ``look`` is called after
    every round in each child.
    """

    def __init__(
        self, prepared: PreparedRun, arms: Sequence[PreparedArm], look: Look, folder: Path
    ) -> None:
        self._prepared, self._arms, self._look, self._folder = prepared, arms, look, folder
        self._children: list[Child] = []
        self._child_of: dict[str, Child] = {}

    def __enter__(self) -> Self:
        many = min(self._prepared.children, spare_cores(), len(self._arms))
        with suppress(OSError):  # no more processes are allowed
            for first in range(many):
                own = self._arms[first::many]
                draws = first == many - 1 and self._prepared.settings.report
                child = Child(partial(self._work, own, draws))
                self._children.append(child)
                self._child_of |= dict.fromkeys((arm.name for arm in own), child)
        return self

    def __exit__(self, *exc: object) -> None:
        for child in self._children:
            child.end()

    def _work(self, arms: Sequence[PreparedArm], draws: bool, parent: Parent) -> None:
        """In a child: search for the rates of ``arms``, one after the other; then draw, if it is
        the one that ``draws``."""
        prepare_process()  # threads that torch had before the fork are not in the child

        def look() -> None:
            parent.beat()
            self._look()

        def say(text: str) -> None:
            parent.send(["say", text])

        def tell(text: str) -> None:
            if parent.waits:  # else it would be read when it is no longer true
                say(text)

        for arm in arms:
            with self._prepared.engine as engine:
                _, facts = search_lr(self._prepared, arm, engine, say, look, tell=tell)
            parent.send(["found", facts])

        if draws:
            self._draw(parent)

    def _draw(self, parent: Parent) -> None:
        """Import what draws, which takes as long as drawing, and draw once the run is complete."""
        with without_collection():
            from swarm.results.report import write_report
        while not parent.asked:
            parent.beat()
            time.sleep(PAUSE_S)
        parent.send(["drawn", [str(path) for path in write_report(self._folder)]])

    def facts(self, arm: PreparedArm, say: Say) -> dict[str, Any] | None:
        """What the search of ``arm`` has found, which is waited for; None if nobody has made it."""
        child = self._child_of.get(arm.name)
        while child is not None and (message := child.receive()) is not None:
            kind, value = message
            if kind == "found":
                return dict(value)
            say(value)
        return None

    def report(self) -> list[Path]:
        """The files of the report of the run, which is complete; none if no child has drawn it."""
        child = self._children[-1] if self._children else None
        if child is not None:
            child.ask()
        while child is not None and (message := child.receive()) is not None:
            kind, value = message
            if kind == "drawn":
                return [Path(path) for path in value]
        return []
