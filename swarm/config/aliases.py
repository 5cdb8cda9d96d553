"""Names of earlier versions: run folders, plug-ins and import paths that use them go on working.

``old_names.yaml`` beside this file is the one table. A saved config is read through
:func:`current`, so that all other code knows today's names only; an import of an old path is
answered by :class:`OldPaths` with a ``DeprecationWarning``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

TABLE = Path(__file__).with_name("old_names.yaml")


@cache
def _table() -> dict[str, Any]:
    import yaml  # not before an old name is met: ``import swarm`` stays light

    table: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return table


def module_of(name: str) -> str | None:
    """Where the module ``name`` of an earlier version is now; None if it never was one."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        home = _table()["modules"].get(".".join(parts[:end]))
        if home is not None:
            return ".".join([home, *parts[end:]])
    return None


def target(path: str) -> str:
    """The dotted ``path`` of a class under its name of today; a path that is not an old one comes
    back as it is.
    """
    module, dot, name = path.rpartition(".")
    if not dot or not module.startswith("swarm."):
        return path
    home = module_of(module) or module
    return f"{home}.{_table()['names'].get(home, {}).get(name, name)}"


def current(value: Any) -> Any:
    """A saved ``value`` (a config, a section, a list) in which every ``_target_`` has its name of
    today.
    """
    if isinstance(value, dict):
        return {
            key: target(item) if key == "_target_" and isinstance(item, str) else current(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [current(item) for item in value]
    return value


class OldPaths(MetaPathFinder, Loader):
    """Finds modules under the names of earlier versions; what is taken from them is today's."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The spec of an old module, or None: then the import fails as it would without us."""
        if not fullname.startswith("swarm.") or module_of(fullname) is None:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that hands on whatever today's has."""
        home = module_of(spec.name)
        assert home is not None  # find_spec has seen to that
        warnings.warn(f"{spec.name} is now {home}", DeprecationWarning, stacklevel=2)
        return _Handing(spec.name, home)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: see :meth:`create_module`."""


class _Handing(ModuleType):
    """An old module's stand-in: each of its names is looked up in the module of today."""

    def __init__(self, name: str, home: str) -> None:
        super().__init__(name, f"The earlier name of :mod:`{home}`.")
        self._home = home

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        home = import_module(self._home)
        return getattr(home, _table()["names"].get(self._home, {}).get(name, name))
