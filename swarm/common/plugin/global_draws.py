"""Finds plug-ins that draw from the random generators that all code of a process shares."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from swarm.common.plugin.faults import PluginError, named, with_code
from swarm.common.plugin.registry import LISTED, entry_of, module_of, shown, within
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
        f" parts of a run share; {_instead(mine)}"
    )
    return with_code(key, value, f"{said} ({shown(frame.f_code.co_filename)}, line {line})", 2)


def _instead(frames: list[FrameType]) -> str:
    """What the plug-in object whose methods these frames run is to draw from instead: whatever its
    kind is given for it, to the constructor or to a method."""
    for frame in frames:
        for base in type(frame.f_locals.get("self")).__mro__:
            ours = within(base.__module__, "swarm") or within(base.__module__, "torch")
            if ours and base.__name__ in _GIVEN:
                return f"draw {_GIVEN[base.__name__]}"
    return f"draw {_SEED}"


_KEYS = 'swarm.common.rng.Keys({}, "a purpose")'
_OF_CONFIG = "config['seed']"
_SEED = (
    f"from {_KEYS.format('seed')}.generator(), with the seed that a constructor with the parameter"
    " seed is given"
)
_OWN = (
    f"from {_KEYS.format('self.seed')}.generator(), with a seed that is an option of its own, as"
    " its constructor is offered none"
)
_OF_STACK = "from stack.draws.uniform(stack.device_G, count), with the stack that {} is given"
_OF_HEARD = (
    "from heard.draws.uniform(numpy.array([heard.device]), count), with what {} is given as heard"
)
# by base class, the most special first, as a class comes before what it derives from; any other
# kind is offered a seed
_GIVEN = {
    "Partition": "from keys.generator(), with the keys that assign is given",
    "StackRule": _OF_STACK.format("combine_stack"),
    "Aggregator": _OF_HEARD.format("combine"),
    "PreAggregator": _OF_STACK.format("__call__"),
    "MessageAttack": "from attacking.uniform(count), with what __call__ is given as attacking",
    "LinkAttack": _OF_HEARD.format("message"),
    "DataAttack": _OWN,
    "MessageTransform": "from sending.uniform(count), with what __call__ is given as sending",
    "Augmentation": "nothing, and use u_nD, the draws that __call__ is given",
    "Compressor": "from draw.uniform(count), with what __call__ is given as draw",
    "Goal": "from seen.keys.uniform(seen.device_n, seen.round, count), with what worth is given as"
    " seen",
    "Delay": "nothing, and use draw_S, the draws that seconds is given",
    "Replay": "nothing, and use offer.draw_nk2, the draws that places is given in its offer",
    "Privacy": f"from {_KEYS.format('seed')}.uniform(device_B, round, count), with the seed that"
    " draw_noise is given",
    "SecureSum": "from keys.generator(), with the keys that group is given",
    "UpdatePolicy": _OWN,
    "Personal": _OWN,
    "Optimizer": _OWN,
    "Schedule": _OWN,
    "SampleLoss": _OWN,
    "Scenario": f"from {_KEYS.format('settings.seed')}.generator(), with the settings that arms is"
    " given",
    "Engine": f"from {_KEYS.format('experiment.settings.seed')}.generator(), with the experiment"
    " that start is given",
    "Tracker": f"from {_KEYS.format(_OF_CONFIG)}.generator(), with the config that a"
    " constructor with the parameter config is given",
    "Module": "with torch alone, whose generator the run seeds for its models",
}
