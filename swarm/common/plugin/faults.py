"""Faults of plug-ins: which plug-in failed, in which file and line, said in one sentence."""

from __future__ import annotations

import dis
import inspect
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from swarm.common.errors import ConfigError, SwarmError, with_article
from swarm.common.plugin.registry import (
    MADE,
    called,
    entry_of,
    is_plugin,
    module_of,
    place,
    shown,
    within,
)
from swarm.common.system.machine import ran_out_of_memory


class PluginError(ConfigError):
    """A plug-in's own code failed, or tried to end the process.

    ``exit_code`` is 2 if it happens before the start and 1 if it happens in a run.
    """


def returned(section: str, plugin: object, call: str, found: str, needed: str) -> PluginError:
    """Make the error for a plug-in whose method returned something that cannot be used.

    ``call`` is the method as the message shows it, such as ``graph(3)``. ``found`` says what it
    returned, as a clause with a verb, and ``needed`` what would be valid.
    """
    at = place(plugin, call.partition("(")[0])
    return with_code(
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
    mine = [(frame, line) for frame, line in frames if entry_of(module_of(frame)) is not None]
    if not mine:
        return _of_another_shape(error, exit_code)
    if not _raised_there(error, frames, mine[-1][0]):
        return None
    frame, line = mine[-1]
    key, value = named(frame for frame, _ in mine)
    what = f"its {mine[0][0].f_code.co_name} {said(error)}"
    return with_code(
        key, value, f"{what} ({shown(frame.f_code.co_filename)}, line {line})", exit_code
    )


_CALLED = re.compile(r"([\w.]+)\.(\w+)\(\) (takes|missing|got an unexpected) .*")


def _of_another_shape(error: BaseException, exit_code: int) -> PluginError | None:
    """The error for a plug-in object that could not be called as its base class is, or that lacks
    an attribute that the base class's constructor sets; None for any other exception."""
    if isinstance(error, AttributeError) and error.name and is_plugin(error.obj):
        kind, lack = type(error.obj), _lacks(type(error.obj), error.name)
        return _about(kind, None, lack, exit_code) if lack and kind in MADE else None
    found = _CALLED.fullmatch(str(error)) if isinstance(error, TypeError) else None
    if found is None:
        return None
    name, method = found[1], found[2]
    kinds = (kind for kind in MADE if is_plugin(kind))
    named_so = ((k, b) for k in kinds for b in k.__mro__ if b.__qualname__ == name)
    meant = next(((k, b) for k, b in named_so if is_plugin(b)), None)
    if meant is None:
        return None
    kind, written = meant
    what = f"its {method}() {str(error).partition('() ')[2]}"
    base = next((b for b in written.__mro__ if method in vars(b) and not is_plugin(b)), None)
    if base is not None:
        what += f"; it is called as {base.__name__}.{method}{_parameters(getattr(base, method))}"
    return _about(kind, method, what, exit_code)


def _lacks(kind: type, name: str) -> str | None:
    """What is to be said of an object of a plug-in's class that lacks an attribute; None where it
    need not have it, so that whoever asks is wrong."""
    for base in (base for base in kind.__mro__ if not is_plugin(base)):
        if name in vars(base).get("__annotations__", {}):
            return f"has no {name}, which every {base.__name__} has to set"
        code = getattr(vars(base).get("__init__"), "__code__", None)
        if code is not None and name in code.co_names:
            sets = f"which the constructor of {base.__name__} sets"
            return f"has no {name}, {sets}; its __init__ must call super().__init__(…)"
    return None


def _parameters(method: Any) -> str:
    """The parameters of a method, as they are written, without ``self`` and annotations."""
    return f"({', '.join(list(inspect.signature(method).parameters)[1:])})"


def _about(kind: type, method: str | None, valid: str, exit_code: int) -> PluginError:
    """The error about a class that was built, at its line or that of a method."""
    section, path = MADE[kind]
    at = place(kind, method)
    return with_code(f"/{section}", path, valid + (f" ({at})" if at else ""), exit_code)


def of_torch(error: BaseException, caller: str) -> bool:
    """Whether torch raised ``error`` when a module below ``caller`` called it, with no other code
    of this package further down the traceback.
    """
    names = [module_of(frame) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [i for i, name in enumerate(names) if within(name, "swarm")]
    deeper = names[ours[-1] + 1 :] if ours else []
    return bool(deeper) and within(deeper[0], "torch") and within(names[ours[-1]], caller)


def where(error: BaseException, importing: str | None = None) -> str:
    """Return the deepest line of plug-in code in a traceback, as `` (my_plugins.py, line 12)``; an
    empty text if there is none.

    A package or module that is just being imported, called ``importing``, counts as a plug-in too.
    """
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = module_of(frame)
        if entry_of(name) is not None or (importing is not None and within(name, importing)):
            return f" ({shown(frame.f_code.co_filename)}, line {line})"
    return ""


def with_code(key: str, value: str, valid: str, exit_code: int = 1) -> PluginError:
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
    return not any(module_of(frame).partition(".")[0] == "swarm" for frame, _ in deeper)


def _raising(error: BaseException) -> bool:
    """Whether the deepest frame stands at a ``raise``."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and tb.tb_frame.f_code.co_code[tb.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def named(frames: Iterator[FrameType]) -> tuple[str, str]:
    """The config section and the ``_target_`` of the first plug-in object whose method a frame
    runs; else ``plugins`` and the entry listed there.
    """
    entry = "?"
    for frame in frames:
        entry = entry_of(module_of(frame)) or entry
        for kind in type(frame.f_locals.get("self")).__mro__:
            if kind in MADE and is_plugin(kind):
                section, path = MADE[kind]
                return f"/{section}", path
    return "/plugins", entry
