"""Imports the user's own plug-ins: the files and modules that ``plugins=[…]`` names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from swarm.common import plugin
from swarm.common.errors import ConfigError
from swarm.common.system import paths
from swarm.common.system.machine import ran_out_of_memory
from swarm.config.explain import shown
from swarm.config.foreign import require_own
from swarm.config.neighbours import importable

OWN = ("swarm", "scenarios")  # packages whose classes every configuration may name


def load_plugins(plugins: Iterable[str]) -> tuple[str, ...]:
    """Import the user's modules and return their names.

    An entry is the path of a ``.py`` file, or a dotted module name, which is looked up in the
    current folder first and among the installed modules second. Each module is imported once, under
    its own name. While a file is imported, it can import the files and packages beside it.

    Raises :class:`ConfigError` for an entry that cannot be imported, and for code of a run folder
    that is not trusted (:func:`swarm.config.foreign.require_own`).
    """
    return tuple(_load_plugin(entry, Path.cwd()) for entry in plugins)


def _load_plugin(entry: str, folder: Path) -> str:
    name = Path(entry).stem if entry.endswith(".py") else entry
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ConfigError(
            "plugins", entry, "must be a module's dotted name or the path of a .py file"
        )
    if parts[0] in sys.stdlib_module_names or parts[0] in (*OWN, "torch"):
        raise ConfigError(
            "plugins", entry, f"{parts[0]} is already the name of a module; rename the plug-in"
        )
    try:
        if entry.endswith(".py"):
            _load_file(name, paths.usable(folder / entry, "plugins"), entry)
        elif not _load_local(parts, folder):
            require_own("plugins", entry)
            importlib.import_module(name)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # a script that calls sys.exit() is no plug-in
        if ran_out_of_memory(error):
            raise
        raise ConfigError("plugins", entry, _why_not(error, parts, folder)) from error
    plugin.remember_module(name, entry)
    return name


def _why_not(error: BaseException, parts: Sequence[str], folder: Path) -> str:
    """Why a plug-in could not be imported, with the line of the plug-in that failed; the text of a
    SyntaxError has the line already.
    """
    at = plugin.where(error, importing=parts[0])
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        if error.name not in [".".join(parts[:n]) for n in range(1, len(parts) + 1)]:
            return f"imports {error.name}, which is not installed{at}"
        return f"no such module in {folder} or installed"
    if isinstance(error, SystemExit):
        return f"cannot be imported: it {plugin.said(error)}{at}"
    return f"cannot be imported: {type(error).__name__}: {shown(error)}{at}"


def _load_file(name: str, file: Path, entry: str) -> None:
    if not file.is_file():
        raise ConfigError("plugins", entry, f"no such file (looked for {file})")
    require_own("plugins", entry)
    there = sys.modules.get(name)
    if there is None:
        whole = file.resolve()
        with importable(whole.parent, entry):
            paths.load_module(name, whole)
    elif Path(getattr(there, "__file__", None) or "").resolve() != file.resolve():
        raise ConfigError(
            "plugins", entry, f"{name} is already the name of a module; rename the plug-in"
        )


def _load_local(parts: Sequence[str], folder: Path) -> bool:
    """Import ``a.b.c`` from ``folder/a/b/c.py`` and its packages on the way; False if it is not
    there.
    """
    files = []
    for n in range(1, len(parts) + 1):
        package, module = (
            folder.joinpath(*parts[:n], "__init__.py"),
            folder.joinpath(*parts[:n]).with_suffix(".py"),
        )
        file = package if package.is_file() else module
        if not file.is_file():
            return False
        files.append(file)
    for n, file in enumerate(files, 1):
        _load_file(".".join(parts[:n]), file, ".".join(parts))
    return True
