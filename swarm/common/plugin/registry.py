"""Which code is a user's: the modules that are plug-ins, and the ``_target_`` that each class was
built from.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import FrameType
from typing import Any

from swarm.common.errors import ConfigError

# These two tables belong to the process, as ``sys.modules`` does: a process imports a module once,
# under one name, whoever asks for it. A fault is recognised by its traceback, which has module
# names and no settings. As arguments, the tables would have to be handed to some twenty modules
# that catch errors or write messages.
LISTED: dict[str, str] = {}  # from a plug-in's module to its entry in plugins=[…]
# from a class that was built to its config section and the ``_target_`` that was given
MADE: dict[type, tuple[str, str]] = {}


def remember_module(module: str, entry: str) -> None:
    """Remember that ``module`` is a plug-in, listed as ``entry``."""
    LISTED[module] = entry


def remember_built(thing: object, section: str, path: str) -> None:
    """Remember that ``thing`` was built for the config section ``section`` from the ``_target_``
    ``path``.
    """
    MADE[type(thing)] = section, path


def absent(part: object) -> bool:
    """Return whether the class of ``part`` says ``absent = True``, as those of the option ``none``
    do. A plug-in may have an attribute or a method of that name for something else.

    Raises :class:`ConfigError` for a class that only inherits it: nothing of it would be called.
    """
    kind = type(part)
    if getattr(kind, "absent", False) is not True:
        return False
    none = next(base for base in kind.__mro__ if vars(base).get("absent") is True)
    if none is kind:
        return True
    general = none.__mro__[1].__name__
    section, path = MADE.get(kind, ("plugins", kind.__name__))
    raise ConfigError(
        f"/{section}",
        path,
        f"derives from {none.__name__}, which says that there is none, so that nothing of it would"
        f" be called; derive from {general}, or say absent = False in the class",
    )


def entry_of(module: str | None) -> str | None:
    """Return the entry of ``plugins`` that ``module`` belongs to; None if it is not part of a
    plug-in.
    """
    names = [n for n in LISTED if module is not None and within(module, n)]
    return LISTED[max(names, key=len)] if names else None


def is_plugin(thing: object) -> bool:
    """Whether an object, class or function was written by a user."""
    written = thing if isinstance(thing, type) or inspect.isfunction(thing) else type(thing)
    bases = written.__mro__ if isinstance(written, type) else (written,)
    return any(entry_of(base.__module__) is not None for base in bases)


def called(thing: object) -> str:
    """Return what a message calls ``thing``: the ``_target_`` that the user gave for a plug-in, the
    class name for anything else.
    """
    _, path = MADE.get(type(thing), ("", ""))
    return path if entry_of(path) is not None else type(thing).__name__


def is_ours(thing: object) -> bool:
    """Whether the class of an object is one of this package."""
    return within(type(thing).__module__, "swarm")


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
                f"{shown(inspect.getsourcefile(each) or '?')}, line"
                f" {inspect.getsourcelines(each)[1]}"
            )
        except (OSError, TypeError):
            continue
    return ""


def within(name: str, package: str) -> bool:
    """Whether ``name`` is the module ``package`` or one in it."""
    return name == package or name.startswith(f"{package}.")


def module_of(frame: FrameType) -> str:
    """The name of the module whose code ``frame`` runs."""
    return str(frame.f_globals.get("__name__", ""))


def shown(file: str) -> str:
    """The path of ``file``, relative to the current folder if it lies in it."""
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
