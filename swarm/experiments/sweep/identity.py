"""The identity of a sweep and of its jobs: the settings that their numbers depend on, which must
agree when a sweep is started again in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swarm.common.errors import ConfigError, typed
from swarm.config import aliases
from swarm.experiments.sweep.job import Job, saved_config
from swarm.results.provenance import identity


class DamagedError(ConfigError):
    """One run of the sweep cannot be read."""


def identify(jobs: Sequence[Job]) -> None:
    """Resolve each job, and note the settings that its numbers depend on. A job that cannot be
    resolved gets the state ``impossible`` and a cause."""
    from swarm.experiments.resolved import resolve

    for job in jobs:
        if job.settings is not None and job.cause is None:
            try:
                job.resolved = resolve(job.settings)
                settings = job.resolved.settings
                job.identity = json.loads(json.dumps(identity(settings.model_dump())))
            except ConfigError as error:
                job.state, job.cause = "impossible", str(error)


def shared_by(identities: Sequence[Mapping[str, Any]], swept: Sequence[str]) -> dict[str, Any]:
    """The settings that all jobs of the sweep share, apart from the swept keys; they must be the
    same whenever the sweep is started again."""
    if not identities:
        return {}
    first = outside(identities[0], swept).items()
    return {
        key: value for key, value in first if all(key in i and i[key] == value for i in identities)
    }


def today(sweep: dict[str, Any]) -> dict[str, Any]:
    """The content of ``sweep.json`` with today's names of keys and options, whichever version wrote
    it."""
    jobs = [{**job, "values": _values_today(job["values"])} for job in sweep["jobs"]]
    swept = [aliases.key(key) for key in sweep["swept"]]
    return {**sweep, "swept": swept, "base": aliases.leaves(sweep["base"]), "jobs": jobs}


def _values_today(values: Mapping[str, str]) -> dict[str, str]:
    texts = (aliases.override(f"{key}={value}") for key, value in values.items())
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def outside(identity: Mapping[str, Any], swept: Sequence[str]) -> dict[str, Any]:
    """The part of a job's identity that does not belong to the swept keys."""
    parts = tuple(f"{key}." for key in swept)
    return {
        key: value
        for key, value in identity.items()
        if key not in swept and not key.startswith(parts)
    }


def saved_identity(job: Job) -> dict[str, Any]:
    """The identity of the run in a job's folder.

    Raises :class:`DamagedError` where its config cannot be read."""
    try:
        return dict(json.loads(json.dumps(identity(saved_config(job.folder)), default=str)))
    except ConfigError as error:
        raise DamagedError(error.key, error.value, error.valid) from None


def refuse_difference(
    place: Path, what: str, there: Mapping[str, Any], here: Mapping[str, Any]
) -> None:
    """Raises :class:`ConfigError` for a key that both sides have with different values; ``what``
    begins the sentence about ``place``."""
    for key, value in here.items():
        if key in there and there[key] != value:
            valid = (
                f"{what} {key}={typed(there[key])}, and this one has {key}={typed(value)}: choose"
                " another folder"
            )
            raise ConfigError("hydra.sweep.dir", place, valid)


def refuse_addition(place: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raises :class:`ConfigError` for a key that only one side has, as the other side then has the
    default of the option's class.
    """
    for key in sorted(there.keys() ^ here.keys()):
        theirs, ours = ("with", "without") if key in there else ("without", "with")
        valid = f"holds a run {theirs} {key}, and this one is {ours} it: choose another folder"
        raise ConfigError("hydra.sweep.dir", place, valid)
