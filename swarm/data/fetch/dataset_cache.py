"""The folder of fetched data sets, and paths into it: ``fetched:shakespeare/text.parquet``."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from swarm.common.errors import ConfigError
from swarm.common.system.paths import usable

PREFIX = "fetched:"


def home() -> Path:
    """Return the folder of all fetched data sets: ``$SWARM_DATA``, else ``swarm-sim`` in the user's
    cache folder.
    """
    if own := os.environ.get("SWARM_DATA"):
        return Path(own).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (
        Path(cache) if cache and Path(cache).is_absolute() else Path.home() / ".cache"
    ) / "swarm-sim"


def _own(path: str, key: str) -> Path:
    try:
        return usable(path, key).expanduser()
    except RuntimeError as error:
        raise ConfigError(key, path, "begins with ~ and a user that is not there") from error


def locate(path: str, key: str = "path") -> Path:
    """Return the file that ``path`` means: the path itself, or after ``fetched:`` a file below
    :func:`home`.

    Raises :class:`ConfigError` on ``key`` for a path that cannot be one, for a file that a fetched
    data set does not have, and for a data set that is not fetched yet, with the command that
    fetches it.
    """
    if not path.startswith(PREFIX):
        return _own(path, key)
    inside = PurePosixPath(path.removeprefix(PREFIX))
    if not inside.parts or inside.is_absolute() or ".." in inside.parts:
        raise ConfigError(key, path, "must be fetched:NAME/FILE, a file of a fetched data set")
    name, found = inside.parts[0], home() / inside
    if not (home() / name).is_dir():
        raise ConfigError(
            key, path, f"is not there; `python -m swarm.data.fetch {name}` fetches it"
        )
    if not found.exists():
        raise ConfigError(
            key, path, f"has no such file in {home() / name}; `ls` shows what there is"
        )
    return found
