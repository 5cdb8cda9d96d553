"""Lets a plug-in file import the files and packages beside it, as a script can."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from swarm.common.errors import ConfigError

_IMPORTED: dict[str, Path] = {}  # the file of each neighbour, which is imported once


class _Beside(MetaPathFinder):
    """Finds top-level modules in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The file of the module ``name``; None if there is none, or if it is in a package."""
        file = None if path is not None else _file_of(self.folder, name)
        if file is None:
            return None
        _IMPORTED[name] = file
        return spec_from_file_location(name, file)


def _file_of(folder: Path, name: str) -> Path | None:
    files = (folder / name / "__init__.py", folder / f"{name}.py")
    return next((file for file in files if file.is_file()), None)


@contextmanager
def importable(folder: Path, entry: str) -> Iterator[None]:
    """A context in which ``import NAME`` also finds ``NAME.py`` in ``folder``, after all other
    places. ``entry`` is the plug-in as it is listed.

    Raises :class:`ConfigError` where ``folder`` has a module of the same name as one that a plug-in
    of another folder has imported, as Python would take that one.
    """
    for name, file in _IMPORTED.items():
        own = _file_of(folder, name)
        if own is not None and own != file and name in sys.modules:
            valid = f"has a {own.name} beside it, and another plug-in has imported {file}"
            raise ConfigError("plugins", entry, f"{valid}; give one of them another name")
    finder = _Beside(folder)
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
