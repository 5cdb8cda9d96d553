"""Chooses the learning rates of later arms in forked processes while the first arms run.

A search follows from the settings alone, so a child finds to the last bit what would be found here.
Where there can be no child, or it dies, the search is made when the arm has its turn, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self

from swarm.common.system.processes.child import Child, Parent, spare_cores
from swarm.experiments.runs.lr_search.search import search_lr
from swarm.experiments.runs.lr_search.stages import Look, Say
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.simulation.engine.base import prepare_process


class SearchesAhead:
    """The searches of ``arms``, in their order, by as many children as there are spare cores.

    As a context manager it starts them, and ends those that are left. ``look`` is called after
    every round in each child, and ``meanwhile`` once, as soon as there is nothing to do here but
    wait.
    """

    def __init__(
        self,
        prepared: PreparedRun,
        arms: Sequence[PreparedArm],
        look: Look,
        meanwhile: Callable[[], object],
    ) -> None:
        self._prepared, self._arms, self._look = prepared, arms, look
        self._meanwhile: Callable[[], object] | None = meanwhile
        self._children: list[Child] = []
        self._child_of: dict[str, Child] = {}

    def __enter__(self) -> Self:
        many = min(self._prepared.children, spare_cores(), len(self._arms))
        with suppress(OSError):  # no more processes are allowed
            for first in range(many):
                own = self._arms[first::many]
                child = Child(partial(self._search, own))
                self._children.append(child)
                self._child_of |= dict.fromkeys((arm.name for arm in own), child)
        return self

    def __exit__(self, *exc: object) -> None:
        for child in self._children:
            child.end()

    def _search(self, arms: Sequence[PreparedArm], parent: Parent) -> None:
        """In a child: search for the rates of ``arms``, one after the other."""
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

    def facts(self, arm: PreparedArm, say: Say) -> dict[str, Any] | None:
        """What the search of ``arm`` has found, which is waited for; None if nobody has made it."""
        child = self._child_of.get(arm.name)
        while child is not None and (message := child.receive(self._wait)) is not None:
            kind, value = message
            if kind == "found":
                return dict(value)
            say(value)
        return None

    def _wait(self) -> None:
        if self._meanwhile is not None:
            self._meanwhile()
            self._meanwhile = None
