"""Finds plug-ins that draw from the random generators that all code of a process shares."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from swarm.common.plugin.faults import PluginError, named, with_code
from swarm.common.plugin.registry import LISTED, entry_of, module_of, shown
from swarm.common.system.generators import Watch, draws_for_nobody, states

T = TypeVar("T")


def without_global_draws(work: Callable[[], T]) -> T:
    """The result of ``work``, in which no plug-in may draw from a global generator: what it draws
    would depend on whatever else has drawn in this process, and not on the run's seed alone.

    If a global generator has changed, ``work`` is done once more to find the plug-in's line.
    Raises :class:`PluginError` that names the plug-in.
    """
    before = states()
    found = work()
    if not LISTED or states() == before:
        return found
    del found  # or its data would be in memory twice
    fault, again = _drawing(work)
    if fault is not None:
        raise fault
    return again


def _drawing(work: Callable[[], T]) -> tuple[PluginError | None, T]:
    """The error for the first line of a plug-in's that changes a global generator while ``work`` is
    done, None if no such line does, and what ``work`` returns."""
    faults: list[PluginError] = []
    watch = Watch()

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        if draws_for_nobody(frame):
            return watch.forgiving()
        if entry_of(module_of(frame)) is None:
            return None
        line = frame.f_lineno
        if len(_of_plugins(frame)) == 1:  # what others have drawn before is not its fault
            watch.changed()

        def looking(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal line
            if (whose := watch.changed()) is not None and not faults:
                faults.append(_draws(frame, line, whose))
            line = frame.f_lineno
            return looking

        return looking

    tracing = sys.gettrace()
    sys.settrace(entered)
    try:
        with warnings.catch_warnings(action="ignore"):  # each was said the first time
            found = work()
    finally:
        sys.settrace(tracing)
    return (faults[0] if faults else None), found


def _of_plugins(frame: FrameType | None) -> list[FrameType]:
    """The frames of plug-in code that have led to ``frame``, itself included, outermost first."""
    found: list[FrameType] = []
    while frame is not None:
        found += [frame] if entry_of(module_of(frame)) is not None else []
        frame = frame.f_back
    return found[::-1]


def _draws(frame: FrameType, line: int, whose: str) -> PluginError:
    """The error for plug-in code that changes a global generator in this line."""
    mine = _of_plugins(frame)
    key, value = named(iter(mine))
    said = (
        f"its {mine[0].f_code.co_name} draws from {whose} global generator, or seeds it, which all"
        f" parts of a run share; {_instead(key)}"
    )
    return with_code(key, value, f"{said} ({shown(frame.f_code.co_filename)}, line {line})", 2)


def _instead(key: str) -> str:
    """What a plug-in of the section ``key`` is to draw from; a model is not offered the seed."""
    if key == "/model":
        return "draw with torch alone, whose generator the run seeds for its models"
    return (
        'draw from swarm.common.rng.Keys(seed, "a purpose").generator(),'
        " with the seed that a constructor with the parameter seed is given"
    )
