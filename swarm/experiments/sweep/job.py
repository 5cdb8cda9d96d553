"""One job of a sweep, the name of its folder, and the config saved in it."""

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
    """A job of a sweep: one run, with ``values`` for the swept keys.

    ``settings`` are None for a job of an earlier command, and for one whose configuration cannot
    work; ``resolved`` are the resolved settings, once they are known.

    ``state`` is ``new``, ``resumed``, ``there`` (finished before), ``outdated`` (run by other
    code) or ``impossible``; after the sweep ``finished``, ``failed`` or ``unfinished``. ``cause``
    says why a job is impossible or failed."""

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
        """The job's values as they are typed."""
        return " ".join(f"{key}={value}" for key, value in self.values.items()) or self.name

    def facts(self, place: Path) -> dict[str, Any]:
        """The entry of the job in the sweep's files."""
        folder = (
            self.folder.relative_to(place) if self.folder.is_relative_to(place) else self.folder
        )
        return {"name": self.name, "folder": str(folder), "values": self.values}


def folder_name(values: Mapping[str, str]) -> str:
    """The name of a job's folder, ``topology=ring,seed=0``.

    A name that cannot be a folder's is changed, and gets a hash of the original.
    """
    name = ",".join(f"{key}={value}" for key, value in values.items()) or "run"
    short = slug(name)
    if short == name and len(name.encode()) <= LONGEST:
        return name
    kept = short.encode()[:LONGEST].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def saved_config(folder: Path) -> dict[str, Any]:
    """The ``config.yaml`` of a run.

    Raises :class:`ConfigError` if it is damaged or empty."""
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
