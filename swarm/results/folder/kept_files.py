"""The files that a run reads again when it goes on: what they held when it began, as hashes in
``progress.json``, so that its rounds so far and those to come are of the same data and graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swarm.common.errors import ConfigError
from swarm.config.settings import Settings
from swarm.data.fetch.dataset_cache import PREFIX, locate

KEYS = (
    "data.path",
    "topology.path",
    "churn.path",
    "delay.path",
    "fleet.path",
    "train.devices",
    "init",
)
"""The settings that may name such a file; nothing is kept of folders and a plug-in's own files."""
NO_FILES = ("common", "independent")  # what ``init`` may be beside a file


def hashes(settings: Settings) -> dict[str, str]:
    """The SHA-256 of each file that ``settings`` name, by key."""
    found = {}
    for key, path in _named(settings):
        if (file := locate(path, key)).is_file():
            with file.open("rb") as opened:
                found[key] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def beginning(settings: Settings) -> str | None:
    """The current folder if a path that ``settings`` name begins there, else None."""
    here = any(_begins_here(path, key) for key, path in _named(settings))
    return str(Path.cwd()) if here else None


def require_same(
    run: Path, then: Mapping[str, str], settings: Settings, folder: str | None = None
) -> None:
    """Raises :class:`ConfigError` if one of the files of ``then``, the :func:`hashes` of when the
    run in the folder ``run`` began, is another one now, or if one lies below ``folder``, the
    :func:`beginning` of then, and not below the current one."""
    if folder is not None:
        for key, path in _named(settings):
            away = _begins_here(path, key) and not locate(path, key).exists()
            if away and (Path(folder) / path).exists():
                valid = f"is not in this folder; the run was started in {folder}: resume it there"
                raise ConfigError(key, path, valid)
    now = hashes(settings) if then else {}
    for key, digest in then.items():
        if now.get(key, digest) != digest:  # one that is gone is named as it is read
            valid = f"is another file than the one that the run in {run} began with"
            valid += "; put that back, or start a new run"
            raise ConfigError(key, _value(settings, key), valid)


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each of the keys that names a file or a folder, and its path."""
    for key in KEYS:
        path = _value(settings, key)
        if isinstance(path, str) and not (key == "init" and path in NO_FILES):
            yield key, path


def _begins_here(path: str, key: str) -> bool:
    return not path.startswith(PREFIX) and not locate(path, key).is_absolute()


def _value(settings: Settings, key: str) -> Any:
    section, _, name = key.partition(".")
    values = getattr(settings, section)
    if not name:
        return values
    return values.get(name) if isinstance(values, Mapping) else getattr(values, name)
