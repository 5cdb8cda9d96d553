"""The files that a run reads again when it goes on: what they held when it began, as hashes in
``progress.json``, so that its rounds so far and those to come are of the same data and graph.

A plug-in says by its attribute ``file_options`` which of its parameters name such files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swarm.common.errors import ConfigError
from swarm.config.build import class_of
from swarm.config.settings import Settings
from swarm.data.fetch.dataset_cache import PREFIX, locate

OF_NO_PLUG_IN = ("train.devices", "init")
NO_FILES = ("common", "independent")  # what ``init`` may be beside a file


def hashes(settings: Settings) -> dict[str, str]:
    """The SHA-256 of each file that ``settings`` name, by key; nothing is kept of folders."""
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
    for key in (*_of_plug_ins(settings), *OF_NO_PLUG_IN):
        path = _value(settings, key)
        if isinstance(path, str) and not (key == "init" and path in NO_FILES):
            yield key, path


def _begins_here(path: str, key: str) -> bool:
    return not path.startswith(PREFIX) and not locate(path, key).is_absolute()


def _of_plug_ins(settings: Settings) -> Iterator[str]:
    """The keys by which plug-ins are told where their files are."""
    for place, node in _plug_ins(settings):
        kind = class_of(node, object, place, settings.plugins)
        yield from (f"{place}.{name}" for name in getattr(kind, "file_options", ()))


def _plug_ins(settings: Settings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sections that plug-ins are built from, each with its dotted key."""
    found: dict[str, Any] = {key: getattr(settings, key) for key in type(settings).model_fields}
    for key, listed in list(found.items()):
        if isinstance(listed, list):
            found |= {f"{key}.{place}": node for place, node in enumerate(listed)}
    found["train.loss"] = settings.train.loss
    for name, cohort in settings.cohorts.items():
        found[f"cohorts.{name}.model"] = cohort.model
    for key, node in found.items():
        if isinstance(node, Mapping) and "_target_" in node:
            yield key, node


def _value(settings: Settings, key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    found: Any = settings
    for part in key.split("."):
        if isinstance(found, list):
            found = found[int(part)] if int(part) < len(found) else None
        elif isinstance(found, Mapping):
            found = found.get(part)
        else:
            found = getattr(found, part, None)
    return found
