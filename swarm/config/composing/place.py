"""Where a run may begin: in a folder that is new, or has nothing in it."""

from __future__ import annotations

import tempfile
from collections.abc import Container
from pathlib import Path

from swarm.common.errors import ConfigError
from swarm.config.explain import shown

LOCK = ".lock"  # may lie in a folder that is new in every other respect
# by a start that was killed before the run had begun
LEFT = (".signature", ".signature.tmp", "config.yaml.tmp")
# begins the name of what is made, and removed, to see whether a folder can be written
PROBE = ".swarm-"


def holds_run(folder: Path) -> bool:
    """Whether a run has begun in ``folder``."""
    return (folder / "metrics.jsonl").exists() or (folder / "config.yaml").exists()


def require_unused(folder: Path, key: str, value: Path, besides: Container[str] = ()) -> None:
    """Refuse a folder that holds a run, or anything else except ``besides``: a run does not mix its
    files with others, and never replaces one."""
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
    """Refuse a folder with anything in it, and one that cannot be written."""
    require_unused(folder, key, value)
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    try:
        Path(tempfile.mkdtemp(prefix=PROBE, dir=nearest)).rmdir()
    except OSError as error:
        raise ConfigError(
            key, value, f"must be a folder that can be written; {nearest} is not one"
        ) from error
