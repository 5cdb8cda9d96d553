"""Faults of plug-ins: which plug-in failed, in which file and line, said in one sentence.

Plug-ins are called from everywhere, so no single call is guarded. An exception that escapes from a
plug-in carries a traceback, whose frames say which plug-in it was and in which line; therefore
:func:`blamed` stands around a whole check, a whole run, or one call of an actor. What a plug-in
*returns* is checked where it arrives, and :func:`returned` makes the error.
"""

from __future__ import annotations

import dis
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from swarm.common.errors import ConfigError, SwarmError, with_article
from swarm.common.system.generators import Watch, draws_for_nobody, states
from swarm.common.system.machine import ran_out_of_memory

T = TypeVar("T")

# These two tables belong to the process, as ``sys.modules`` does: a process imports a module once,
# under one name, whoever asks for it. A fault is recognised by its traceback, which has module
# names and no settings. As arguments, the tables would have to be handed to some twenty modules
# that catch errors or write messages.
_LISTED: dict[str, str] = {}  # from a plug-in's module to its entry in plugins=[…]
# from a class that was built to its config section and the ``_target_`` that was given
_MADE: dict[type, tuple[str, str]] = {}


class PluginError(ConfigError):
    """A plug-in's own code failed, or tried to end the process.

    ``exit_code`` is 2 if it happens before the start and 1 if it happens in a run.
    """


def remember_module(module: str, entry: str) -> None:
    """Remember that ``module`` is a plug-in, listed as ``entry``."""
    _LISTED[module] = entry


def remember_built(thing: object, section: str, path: str) -> None:
    """Remember that ``thing`` was built for the config section ``section`` from the ``_target_``
    ``path``.
    """
    _MADE[type(thing)] = section, path


def absent(part: object) -> bool:
    """Return whether the class of ``part`` says ``absent = True``, as those of the option ``none``
    do. A plug-in may have an attribute or a method of that name for something else."""
    return getattr(type(part), "absent", False) is True


def entry_of(module: str | None) -> str | None:
    """Return the entry of ``plugins`` that ``module`` belongs to; None if it is not part of a
    plug-in.
    """
    names = [n for n in _LISTED if module is not None and _within(module, n)]
    return _LISTED[max(names, key=len)] if names else None


def is_plugin(thing: object) -> bool:
    """Whether an object, class or function was written by a user."""
    written = thing if isinstance(thing, type) or inspect.isfunction(thing) else type(thing)
    bases = written.__mro__ if isinstance(written, type) else (written,)
    return any(entry_of(base.__module__) is not None for base in bases)


def called(thing: object) -> str:
    """Return what a message calls ``thing``: the ``_target_`` that the user gave for a plug-in, the
    class name for anything else.
    """
    _, path = _MADE.get(type(thing), ("", ""))
    return path if entry_of(path) is not None else type(thing).__name__


def is_ours(thing: object) -> bool:
    """Whether the class of an object is one of this package."""
    return _within(type(thing).__module__, "swarm")


def place(thing: object, method: str | None = None) -> str:
    """Return the file and line where a class, or its method, begins: ``my_plugins.py, line 12``.

    The text is empty if Python does not know it.
    """
    written: Any = thing if isinstance(thing, type) or inspect.isfunction(thing) else type(thing)
    found = inspect.unwrap(getattr(written, method, written)) if method else written
    if entry_of(getattr(found, "__module__", None)) is None:  # inherited from a class of ours
        found = written
    for each in (found, written):
        try:
            return (
                f"{_shown(inspect.getsourcefile(each) or '?')}, line"
                f" {inspect.getsourcelines(each)[1]}"
            )
        except (OSError, TypeError):
            continue
    return ""


def returned(section: str, plugin: object, call: str, found: str, needed: str) -> PluginError:
    """Make the error for a plug-in whose method returned something that cannot be used.

    ``call`` is the method as the message shows it, such as ``graph(3)``. ``found`` says what it
    returned, as a clause with a verb, and ``needed`` what would be valid.
    """
    at = place(plugin, call.partition("(")[0])
    return _with_code(
        f"/{section}", called(plugin), f"its {call} {found}; {needed}" + (f" ({at})" if at else "")
    )


def shape_of(value: object) -> str:
    """Describe a value for a message: ``float32 numbers of shape [3, 4]``, ``None``, ``a networkx
    Graph``.
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if value is None:
        return "None"
    if isinstance(shape, tuple) and dtype is not None:
        return f"{str(dtype).removeprefix('torch.')} numbers of shape {list(shape)}"
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    own = library in ("builtins", "__main__")
    return with_article(kind.__name__ if own else f"{library} {kind.__name__}")


@contextmanager
def blamed(exit_code: int = 1) -> Iterator[None]:
    """A context in which an exception out of plug-in code, ``SystemExit`` included, becomes a
    :class:`PluginError` with ``exit_code``.

    A :class:`SwarmError`, and a Ctrl-C of the user's, pass through unchanged.
    """
    try:
        yield
    except PluginError as error:
        error.exit_code = exit_code
        raise
    except (SwarmError, GeneratorExit):
        raise
    except BaseException as error:
        fault = fault_of(error, exit_code)
        if fault is None:
            raise
        raise fault from error


def fault_of(error: BaseException, exit_code: int = 1) -> PluginError | None:
    """Return the :class:`PluginError` for an exception out of plug-in code; None if no plug-in is
    to blame.

    No plug-in is to blame when memory runs out: :mod:`swarm.experiments.runs.memory` has the
    message for that.
    """
    if ran_out_of_memory(error):
        return None
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    mine = [(frame, line) for frame, line in frames if entry_of(_module(frame)) is not None]
    if not mine or not _raised_there(error, frames, mine[-1][0]):
        return None
    frame, line = mine[-1]
    key, value = _named(frame for frame, _ in mine)
    what = f"its {mine[0][0].f_code.co_name} {said(error)}"
    return _with_code(
        key, value, f"{what} ({_shown(frame.f_code.co_filename)}, line {line})", exit_code
    )


def without_global_draws(work: Callable[[], T]) -> T:
    """The result of ``work``, in which no plug-in may draw from a global generator: what it draws
    would depend on whatever else has drawn in this process, and not on the run's seed alone.

    If a global generator has changed, ``work`` is done once more to find the plug-in's line.
    Raises :class:`PluginError` that names the plug-in.
    """
    before = states()
    found = work()
    if not _LISTED or states() == before:
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
        if entry_of(_module(frame)) is None:
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
        found += [frame] if entry_of(_module(frame)) is not None else []
        frame = frame.f_back
    return found[::-1]


def _draws(frame: FrameType, line: int, whose: str) -> PluginError:
    """The error for plug-in code that changes a global generator in this line."""
    mine = _of_plugins(frame)
    said = (
        f"its {mine[0].f_code.co_name} draws from {whose} global generator, or seeds it, which all"
        ' parts of a run share; draw from swarm.common.rng.Keys(seed, "a purpose").generator(),'
        " with the seed that a constructor with the parameter seed is given"
    )
    key, value = _named(iter(mine))
    return _with_code(key, value, f"{said} ({_shown(frame.f_code.co_filename)}, line {line})", 2)


def of_torch(error: BaseException, caller: str) -> bool:
    """Whether torch raised ``error`` when a module below ``caller`` called it, with no other code
    of this package further down the traceback.
    """
    names = [_module(frame) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [i for i, name in enumerate(names) if _within(name, "swarm")]
    deeper = names[ours[-1] + 1 :] if ours else []
    return bool(deeper) and _within(deeper[0], "torch") and _within(names[ours[-1]], caller)


def where(error: BaseException, importing: str | None = None) -> str:
    """Return the deepest line of plug-in code in a traceback, as `` (my_plugins.py, line 12)``; an
    empty text if there is none.

    A package or module that is just being imported, called ``importing``, counts as a plug-in too.
    """
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = _module(frame)
        if entry_of(name) is not None or (importing is not None and _within(name, importing)):
            return f" ({_shown(frame.f_code.co_filename)}, line {line})"
    return ""


def _with_code(key: str, value: str, valid: str, exit_code: int = 1) -> PluginError:
    error = PluginError(key, value, valid)
    error.exit_code = exit_code
    return error


def said(error: BaseException) -> str:
    """Describe an exception as a clause without a subject: ``raises KeyError: 'width'``."""
    if isinstance(error, SystemExit):
        code = "" if error.code is None else repr(error.code)
        return (
            f"calls sys.exit({code}), and a plug-in must not end the process; raise an exception"
            " instead"
        )
    text = " ".join(str(error).split())
    if len(text) > 300:
        text = text[:299] + "…"
    if isinstance(error, ValueError) and text.endswith("is read-only"):
        text += ", as a run's data are for all to read; change a copy (array.copy())"
    return f"raises {type(error).__name__}" + (f": {text}" if text else "")


def _raised_there(
    error: BaseException, frames: list[tuple[FrameType, int]], last: FrameType
) -> bool:
    """Whether plug-in code, or code that it called, raised the exception.

    A signal can interrupt plug-in code as well. Then a signal handler of this package lies deeper
    in the traceback, or the deepest frame does not stand at a ``raise``.
    """
    if isinstance(error, Exception):
        return True
    deeper = frames[[frame for frame, _ in frames].index(last) + 1 :]
    if isinstance(error, KeyboardInterrupt):
        return not deeper and _raising(error)
    return not any(_module(frame).partition(".")[0] == "swarm" for frame, _ in deeper)


def _raising(error: BaseException) -> bool:
    """Whether the deepest frame stands at a ``raise``."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and tb.tb_frame.f_code.co_code[tb.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _named(frames: Iterator[FrameType]) -> tuple[str, str]:
    """The config section and the ``_target_`` of the first plug-in object whose method a frame
    runs; else ``plugins`` and the entry listed there.
    """
    entry = "?"
    for frame in frames:
        entry = entry_of(_module(frame)) or entry
        for kind in type(frame.f_locals.get("self")).__mro__:
            if kind in _MADE and is_plugin(kind):
                section, path = _MADE[kind]
                return f"/{section}", path
    return "/plugins", entry


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _shown(file: str) -> str:
    """The path of ``file``, relative to the current folder if it lies in it."""
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
