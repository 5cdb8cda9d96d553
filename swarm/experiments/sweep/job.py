"""One job of a sweep, and what its folder says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm.common.errors import ConfigError
from swarm.results.schemas import read_config
from swarm.results.status import LONGEST, slug

if TYPE_CHECKING:
    from swarm.config.settings import Settings
    from swarm.experiments.resolved import Resolved

ANEW = "remove that folder to run the job anew"


@dataclass
class Job:
    """``values`` are what it has of the swept keys.

    ``settings`` are None for one of an earlier command, and for one whose configuration cannot be;
    ``resolved`` is what they come to, once it is known.

    ``state``: ``new``, ``resumed``, ``there`` (finished before), ``outdated`` (made by other code),
    ``impossible``; after the sweep ``finished``, ``failed`` or ``unfinished``."""

    name: str
    values: dict[str, str]
    folder: Path
    overrides: list[str] = field(default_factory=list)
    settings: Settings | None = None
    resolved: Resolved | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    state: str = "unfinished"
    cause: str | None = None

    @property
    def title(self) -> str:
        """Its values as they are typed."""
        return " ".join(f"{key}={value}" for key, value in self.values.items()) or self.name

    def facts(self, place: Path) -> dict[str, Any]:
        """For the sweep's files."""
        folder = (
            self.folder.relative_to(place) if self.folder.is_relative_to(place) else self.folder
        )
        return {"name": self.name, "folder": str(folder), "values": self.values}


def folder_name(values: Mapping[str, str]) -> str:
    """``topology=ring,seed=0``.

    A name that has to be changed to be a folder's gets a hash of the original.
    """
    name = ",".join(f"{key}={value}" for key, value in values.items()) or "run"
    short = slug(name)
    if short == name and len(name.encode()) <= LONGEST:
        return name
    kept = short.encode()[:LONGEST].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def saved_config(folder: Path) -> dict[str, Any]:
    """The ``config.yaml`` of a run. Raises :class:`ConfigError` where it is damaged."""
    try:
        config = read_config(folder / "config.yaml", "hydra.sweep.dir")
    except ConfigError as error:
        raise ConfigError(
            "hydra.sweep.dir", folder, f"has a damaged config.yaml ({error.valid}); {ANEW}"
        ) from None
    if not config:
        raise ConfigError(
            "hydra.sweep.dir", folder, f"has a damaged config.yaml (it is empty); {ANEW}"
        )
    return config
