"""The files that a run reads again when it goes on: what they held when it began, as hashes in
``progress.json``, so that its rounds so far and those to come are of the same data and graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm.common.errors import ConfigError
from swarm.config.settings import Settings
from swarm.data.fetch.dataset_cache import locate

KEYS = ("data.path", "topology.path", "churn.path", "train.devices")
"""The settings that may name such a file; nothing is kept of folders and a plug-in's own files."""


def hashes(settings: Settings) -> dict[str, str]:
    """The SHA-256 of each file that ``settings`` name, by key."""
    found = {}
    for key in KEYS:
        if isinstance(path := _value(settings, key), str) and (file := locate(path, key)).is_file():
            with file.open("rb") as opened:
                found[key] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def require_same(run: Path, then: Mapping[str, str], settings: Settings) -> None:
    """Raises :class:`ConfigError` if one of the files of ``then``, the :func:`hashes` of when the
    run in the folder ``run`` began, is another one now."""
    now = hashes(settings) if then else {}
    for key, digest in then.items():
        if now.get(key, digest) != digest:  # one that is gone is named as it is read
            valid = f"is another file than the one that the run in {run} began with"
            valid += "; put that back, or start a new run"
            raise ConfigError(key, _value(settings, key), valid)


def _value(settings: Settings, key: str) -> Any:
    section, _, name = key.partition(".")
    values = getattr(settings, section)
    return values.get(name) if isinstance(values, Mapping) else getattr(values, name)
