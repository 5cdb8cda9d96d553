"""Checks that a run begins in a folder that is new or empty."""

from __future__ import annotations

import tempfile
from collections.abc import Container
from pathlib import Path

from swarm.common.errors import ConfigError
from swarm.config.explain import shown

LOCK = ".lock"  # a folder that has only this file counts as empty
# files that may be left by a start that was killed before the run began
LEFT = (".signature", ".signature.tmp", "config.yaml.tmp")
# prefix of the folder that is made, and removed, to see whether a folder can be written
PROBE = ".swarm-"


def holds_run(folder: Path) -> bool:
    """Whether a run has begun in ``folder``."""
    return (folder / "metrics.jsonl").exists() or (folder / "config.yaml").exists()


def require_unused(folder: Path, key: str, value: Path, besides: Container[str] = ()) -> None:
    """Refuse a folder that holds a run, or any file that is not in ``besides``, since a run neither
    mixes its files with others nor replaces any.

    Raises :class:`ConfigError` on ``key`` and ``value``, also if the folder cannot be read.
    """
    try:
        if holds_run(folder):
            goes_on = f"choose another folder, or go on with it: resume={folder}"
            raise ConfigError(key, value, f"holds a run already: {goes_on}")
        there = sorted(f.name for f in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        valid = f"must be a folder that can be read and written ({error.strerror or error})"
        raise ConfigError(key, value, valid) from error
    foreign = [
        name
        for name in there
        if name not in (LOCK, *LEFT) and not name.startswith(PROBE) and name not in besides
    ]
    if foreign:
        raise ConfigError(
            key, value, f"must be a new or an empty folder; {shown(foreign[0])} is in {folder}"
        )


def require_new(folder: Path, key: str, value: Path) -> None:
    """Refuse a folder that is not empty or cannot be written, with a :class:`ConfigError`."""
    require_unused(folder, key, value)
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    try:
        Path(tempfile.mkdtemp(prefix=PROBE, dir=nearest)).rmdir()
    except OSError as error:
        raise ConfigError(
            key, value, f"must be a folder that can be written; {nearest} is not one"
        ) from error
