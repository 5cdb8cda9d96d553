"""Names of earlier versions: run folders, plug-ins and import paths that use them go on working.

``old_names.yaml`` beside this file is the one table. A saved config is read through
:func:`current`, so that all other code knows today's names only. :class:`OldPaths` answers the
import of an old path with a ``DeprecationWarning``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

TABLE = Path(__file__).with_name("old_names.yaml")


@cache
def _table() -> dict[str, Any]:
    # imported only when an old name is met, so that ``import swarm`` stays fast
    from swarm.common.system import yaml_text

    table: dict[str, Any] = yaml_text.load(TABLE.read_text(encoding="utf-8"))
    return table


def module_of(name: str) -> str | None:
    """Return today's name of the module ``name`` of an earlier version; None if there never was
    such a module.
    """
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        home = _table()["modules"].get(".".join(parts[:end]))
        if home is not None:
            return ".".join([home, *parts[end:]])
    return None


def target(path: str) -> str:
    """Return today's dotted path of the class ``path``; other paths are returned unchanged."""
    module, dot, name = path.rpartition(".")
    if not dot or module.split(".")[0] not in ("swarm", "scenarios"):
        return path
    home = module_of(module) or module
    return f"{home}.{_table()['names'].get(home, {}).get(name, name)}"


def key(dotted: str) -> str:
    """Return today's name of the config key ``dotted``; other keys are returned unchanged."""
    parts = dotted.split(".")
    for end in range(1, len(parts) + 1):
        new = _table()["keys"].get(".".join(parts[:end]))
        if new is not None:
            return ".".join([new, *parts[end:]])
    return dotted


def option(group: str, name: str) -> str:
    """Return today's name of the option ``name`` of a config group."""
    found: str = _table()["options"].get(group, {}).get(name, name)
    return found


def members(path: str) -> dict[str, str]:
    """Return {old name: today's name} for the members of the class at the dotted ``path``."""
    found: dict[str, str] = _table()["members"].get(path, {})
    return found


def phase(name: str) -> str:
    """Return today's name of the phase ``name`` of a protocol's round."""
    found: str = _table()["phases"].get(name, name)
    return found


def presentation() -> dict[str, Any]:
    """Return how to show the arms and numbers of runs whose scenarios did not say it yet.

    ``arms`` has them by name, and ``entries`` by a key of the summary, which tells the kind of run.
    """
    found: dict[str, Any] = _table()["presentation"]
    return found


def override(text: str) -> str:
    """Return the override ``KEY=VALUE`` in today's names."""
    old, equal, value = text.partition("=")
    new = key(old)
    return f"{new}{equal}{option(new, value)}"


def leaves(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved mapping from dotted keys to values in today's names."""
    return {
        key(old): target(value) if old.endswith("_target_") and isinstance(value, str) else value
        for old, value in saved.items()
    }


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved configuration in today's names: its keys, its ``_target_`` paths, and the
    overrides ``KEY=VALUE`` that a scenario lists under ``settings``.
    """
    found: dict[str, Any] = _classes(config)
    for old, new in _table()["keys"].items():
        section, last = _section(found, old)
        home, name = _section(found, new)
        if section is not None and home is not None and last in section and name not in home:
            value = section.pop(last)
            # a null says nothing, so it is only moved within its own section
            if value is not None or section is home:
                home[name] = value
    return found


def _classes(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = {name: _classes(item) for name, item in value.items()}
        if isinstance(path := found.get("_target_"), str):
            found["_target_"] = target(path)
        if isinstance(texts := found.get("settings"), list):
            found["settings"] = [override(t) if isinstance(t, str) else t for t in texts]
        return found
    if isinstance(value, list | tuple):
        return [_classes(item) for item in value]
    return value


def _section(config: dict[str, Any], dotted: str) -> tuple[dict[str, Any] | None, str]:
    """The mapping that ``dotted`` lies in, if there is one, and the key's own name."""
    here: Any = config
    *path, last = dotted.split(".")
    for part in path:
        here = here.get(part) if isinstance(here, dict) else None
    return here if isinstance(here, dict) else None, last


class OldPaths(MetaPathFinder, Loader):
    """Imports modules under the names of earlier versions, with the content of today's modules."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of an old module; None for all others, so that their import goes on as
        without this class.
        """
        if not fullname.startswith("swarm.") or module_of(fullname) is None:
            return None
        return ModuleSpec(fullname, self, is_package=not fullname.endswith(".__main__"))

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make a module that looks up each of its names in today's module."""
        home = module_of(spec.name)
        assert home is not None  # find_spec has checked it
        warnings.warn(f"{spec.name} is now {home}", DeprecationWarning, stacklevel=2)
        return _Handing(spec.name, home)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing, as the module of :meth:`create_module` has no code of its own."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code that ``python -m OLD`` runs: it prints the command to type instead, and
        exits with 2.

        Raises ImportError for a module that never was a command.
        """
        old = fullname.removesuffix(".__main__")
        command = _table()["commands"].get(old)
        if command is None:
            raise ImportError(f"{old} is no command")
        said = f"error: python -m {old} is now: python run_swarm.py {command}"
        return compile(f"import sys\nprint({said!r}, file=sys.stderr)\nsys.exit(2)", old, "exec")


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
