"""Refuses to go on with a run of an earlier version whose numbers this version would not repeat.

The format of a checkpoint tells the version: 3 was written by those before the changes that are
listed here (the newest section of CHANGELOG.md has all that moved). To go on with such a run would
mix two experiments without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from swarm.common.errors import CheckpointError, ConfigError
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset
from swarm.results.status import noted
from swarm.simulation import checkpoint

HELD = 2.0**-24  # of a number: how far its float32 may be from it
LOST = 0.01  # of a column's deviation: an error in float32 beyond this is another column


def refuse_a_mixture(run: Path, settings: Settings, dataset: Dataset) -> None:
    """Raises :class:`ConfigError` where rounds to come would be computed otherwise than those that
    are there.
    """
    file, what = _old_checkpoint(run), next(_moved(settings, dataset), None)
    if file is None or what is None:
        return
    code = noted(run).code
    names = [f"{name} {code[name]}" for name in ("version", "commit") if code.get(name)]
    which = f"that version ({', '.join(names)})" if names else "the version that began it"
    valid = (
        f"is of an earlier version, which {what}; the rounds to come would be of another experiment"
    )
    raise ConfigError("resume", file, f"{valid}: finish the run with {which}, or start a new one")


def _old_checkpoint(run: Path) -> Path | None:
    """The first checkpoint of the format before; damaged ones are named by others."""
    for arm in sorted(place for place in (run / "checkpoints").glob("*") if place.is_dir()):
        for round in checkpoint.rounds_in(arm):
            with suppress(CheckpointError):
                if checkpoint.read_manifest(arm, round)["format"] == checkpoint.UNSEALED:
                    return arm / f"round_{round:09d}.json"
    return None


def _moved(s: Settings, dataset: Dataset) -> Iterator[str]:
    """What that version did otherwise, of all that these settings use."""
    data, schedule, protocol, labels = (
        choice(group, getattr(s, group)) for group in ("data", "schedule", "protocol", "labels")
    )
    if data == "leaf_synthetic" and (
        s.data.get("iid") or {s.data.get("alpha"), s.data.get("beta")} - {0, 1}
    ):
        yield "drew the samples of data=leaf_synthetic otherwise"
    if schedule == "wsd" and s.schedule.get("warmup"):
        yield "took schedule.decay and schedule.half_life for shares of what follows the warm-up"
    if s.compute.dtype == "float64" and protocol == "scaffold":
        yield "calculated protocol=scaffold with compute.dtype=float64 in part in float32"
    if s.compute.dtype == "float64" and labels != "none":
        yield f"calculated labels={labels} with compute.dtype=float64 in part in float32"
    if (column := _narrow_column(dataset)) is not None:
        name = dataset.columns[column] if dataset.columns else str(column)
        yield f"lost in float32 what varies in the column {name} before it was scaled"


def _narrow_column(dataset: Dataset) -> int | None:
    """The first column whose values lie so far from 0, and so close together, that float32 does not
    tell them apart.
    """
    if dataset.scaling is None:
        return None
    lost = HELD * np.abs(dataset.scaling.shift) > LOST * dataset.scaling.span
    if not lost.any():
        return None
    varies = dataset.x[dataset.train].reshape(len(dataset.train), -1).any(axis=0)
    found = np.flatnonzero(lost & varies)
    return int(found[0]) if len(found) else None
