"""Plug-in code: whose it is, where it stands, and the one sentence for what it does wrong.

Plug-ins are called from everywhere, so no single call is guarded. What escapes from one carries a
traceback, whose frames say which plug-in it was and in which line: :func:`blamed` stands around a
whole check, a whole run, or what an actor is asked to do. What a plug-in *returns* is looked at
where it arrives, and :func:`returned` makes the sentence.
"""

from __future__ import annotations

import dis
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.system.machine import ran_out_of_memory

# Two tables of the process, as ``sys.modules`` is one: a module is imported once a process, under
# one name, whoever asks for it. A fault is recognised by its traceback, which has module names and
# no settings, so that as values the tables would have to be handed to all that catches or words a
# refusal, in some twenty modules.
_LISTED: dict[str, str] = {}  # modules of plugins=[…], as they were listed there
# what was built: for which section, and the ``_target_`` that was given
_MADE: dict[type, tuple[str, str]] = {}


class PluginError(ConfigError):
    """A plug-in's own code failed, or tried to end the process.

    ``exit_code`` is 2 before the start, 1 in a run.
    """


def listed(module: str, entry: str) -> None:
    """Remember that ``module`` is a plug-in, listed as ``entry``."""
    _LISTED[module] = entry


def made(thing: object, section: str, path: str) -> None:
    """Remember what ``thing`` was built for, and the ``_target_`` that it was built from."""
    _MADE[type(thing)] = section, path


def entry_of(module: str | None) -> str | None:
    """The entry of ``plugins`` that ``module`` belongs to; None for code that is nobody's
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
    """What a message calls ``thing``: a plug-in by the ``_target_`` that the user gave, anything
    else by its class.
    """
    _, path = _MADE.get(type(thing), ("", ""))
    return path if entry_of(path) is not None else type(thing).__name__


def is_ours(thing: object) -> bool:
    """Whether the class of an object is one of this package."""
    return _within(type(thing).__module__, "swarm")


def place(thing: object, method: str | None = None) -> str:
    """``my_plugins.py, line 12``: where a class, or its method, begins; empty if nobody knows."""
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
    """What to raise where ``plugin.call`` returned what nothing can be done with; ``needed`` says
    what would do.
    """
    at = place(plugin, call.partition("(")[0])
    return _with_code(
        f"/{section}", called(plugin), f"its {call} {found}; {needed}" + (f" ({at})" if at else "")
    )


def shape_of(value: object) -> str:
    """A value as a message shows it: ``float32 numbers of shape [3, 4]``, ``None``, ``a networkx
    Graph``.
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if value is None:
        return "None"
    if isinstance(shape, tuple) and dtype is not None:
        return f"{str(dtype).removeprefix('torch.')} numbers of shape {list(shape)}"
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    article = "an" if kind.__name__[:1].lower() in "aeiou" else "a"
    return (
        f"a {library} {kind.__name__}"
        if library not in ("builtins", "__main__")
        else f"{article} {kind.__name__}"
    )


@contextmanager
def blamed(exit_code: int = 1) -> Iterator[None]:
    """What plug-in code raises in here, ``sys.exit`` included, becomes a :class:`PluginError`.

    Errors of our own, and a Ctrl-C of the user's, go through as they are.
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
    """The sentence for an exception out of plug-in code; None if it is not a plug-in's.

    That there is no more memory is nobody's fault: :mod:`swarm.experiments.runs.memory` has the
    sentence for it."""
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


def of_torch(error: BaseException, caller: str) -> bool:
    """Whether torch raised it at the call of a module below ``caller``, and no code of ours below
    that is to blame.
    """
    names = [_module(frame) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [i for i, name in enumerate(names) if _within(name, "swarm")]
    deeper = names[ours[-1] + 1 :] if ours else []
    return bool(deeper) and _within(deeper[0], "torch") and _within(names[ours[-1]], caller)


def where(error: BaseException, importing: str | None = None) -> str:
    """`` (my_plugins.py, line 12)``: the deepest line of plug-in code that an exception came
    through; else empty. A package or module that is being ``importing`` counts as a plug-in
    already."""
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
    """What plug-in code did, as a clause without its subject: ``raises KeyError: 'width'``."""
    if isinstance(error, SystemExit):
        code = "" if error.code is None else repr(error.code)
        return (
            f"calls sys.exit({code}), and a plug-in must not end the process; raise an exception"
            " instead"
        )
    text = " ".join(str(error).split())
    if len(text) > 300:
        text = text[:299] + "…"
    return f"raises {type(error).__name__}" + (f": {text}" if text else "")


def _raised_there(
    error: BaseException, frames: list[tuple[FrameType, int]], last: FrameType
) -> bool:
    """Whether a plug-in is to blame for an exception that came through its code.

    A signal can strike there too: a handler of ours then lies above it, or nothing was being raised
    at all."""
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
    """The section, and the class that was built for it, whose method a frame runs; else the plug-in
    as it was listed.
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
    """``file`` as it is typed from here."""
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
