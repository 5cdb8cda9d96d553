"""What W&B leaves in a run folder: the id of each arm, and the offline parts of its W&B runs; and
what it is told again out of the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swarm.common.system.files import replacing
from swarm.results import columns
from swarm.results.track import wandb_environment
from swarm.results.track.base import DEVICES
from swarm.results.track.devices import read_devices
from swarm.results.track.jsonl import read_jsonl

# before the name of an offline part while the one that takes its place is written
REPLACED = "replaced-"
# before the id of a W&B run that has ended, as the name of a file in wandb/ that says how many
# rounds it has
ENDED = "ended-"
IDS = "wandb.json"
"""In the run folder: the W&B id of each arm, so that a resumed run stays one run wherever its
folder has gone.
"""


def run_id(run: str, arm: str) -> str:
    """A W&B id for an arm: a slug of at most 64 characters.

    A name that has to be changed to fit gets a hash of the original, so two names never share an
    id.
    """
    name = f"{run}-{arm}"
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    if slug == name and len(name) <= 64:
        return name
    return f"{slug[:55]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def id_of(folder: Path, run: str, arm: str) -> str:
    """The id in the run folder.

    A new one is unique: two runs whose folders have the same name stay two runs. Under ``wandb
    agent`` it is that of the agent.
    """
    ids = _ids(folder)
    known = _known(ids, arm)
    if known is None:
        known = wandb_environment.agents_run()
        known = known or f"{run_id(run, arm)[:55]}-{uuid.uuid4().hex[:8]}"
        with replacing(folder / IDS) as out:
            out.write(json.dumps({**ids, arm: known}, indent=1).encode())
    return known


def summary(folder: Path) -> dict[str, Any]:
    """The ``summary.json`` of a folder; empty where there is none."""
    return _mapping(folder / "summary.json")


def _ids(folder: Path) -> dict[str, Any]:
    return _mapping(folder / IDS)


def _mapping(file: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _known(ids: dict[str, Any], arm: str) -> str | None:
    known = ids.get(arm)
    slug = isinstance(known, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", known)
    return known if slug else None


def unfinished(folder: Path, rounds: Mapping[str, int]) -> list[str]:
    """Those arms whose W&B run has not ended, has lost its log since, or has fewer than their
    ``rounds``."""
    ids = _ids(folder)
    return [arm for arm in rounds if not _has_ended(folder, _known(ids, arm), rounds[arm])]


def _has_ended(folder: Path, id: str | None, rounds: int) -> bool:
    if id is None or not (mark := _mark(folder, id)).exists():
        return False
    text = mark.read_text(encoding="utf-8", errors="replace").strip()
    if text.isdecimal() and int(text) < rounds:  # one of an earlier version is empty
        return False
    return all(any(part.glob("*.wandb")) for part in _parts(folder, id))


def mark_begun(folder: Path, id: str) -> None:
    """Notes that a W&B run begins, perhaps again, so that it has not ended."""
    _mark(folder, id).unlink(missing_ok=True)


def mark_ended(folder: Path, id: str, rounds: int) -> None:
    """Notes that a W&B run has ended with all that there was to say of so many ``rounds``."""
    mark = _mark(folder, id)
    mark.parent.mkdir(exist_ok=True)
    with replacing(mark) as out:
        out.write(f"{rounds}\n".encode())


def _mark(folder: Path, id: str) -> Path:
    return folder / "wandb" / f"{ENDED}{id}"


def rename_parts(folder: Path, id: str) -> None:
    """Renames the offline parts of a W&B run that were not uploaded, until the one that takes their
    place is written.

    They are renamed before W&B starts, so that whatever is called ``offline-run-DATE_TIME-ID``
    afterwards is the new one. Its name cannot tell: it has only seconds, W&B adds ``-1`` where it
    is taken, and a run does not know what it was given.
    """
    for part in _parts(folder, id):
        if not any(part.glob("*.synced")):
            part.rename(part.with_name(REPLACED + part.name))


def drop_replaced(folder: Path, id: str) -> None:
    """Removes the parts that :func:`rename_parts` renamed."""
    for part in _parts(folder, id, REPLACED):
        shutil.rmtree(part, ignore_errors=True)


def _parts(folder: Path, id: str, prefix: str = "") -> list[Path]:
    """``offline-run-DATE_TIME-ID`` and ``offline-run-DATE_TIME-ID-1``; an id is a slug, so it is
    its own glob.
    """
    name = f"{prefix}offline-run-*-{id}"
    return [
        part
        for glob in (name, f"{name}-[0-9]*")
        for part in (folder / "wandb").glob(glob)
        if part.is_dir()
    ]


def rounds_by_arm(folder: Path) -> dict[str, int]:
    """The last recorded round of each arm of the run in ``folder``."""
    found: dict[str, int] = {}
    for row in read_jsonl(folder / "metrics.jsonl"):
        found[row["arm"]] = max(row["round"], found.get(row["arm"], 0))
    return found


def records(folder: Path, arm: str) -> Iterator[dict[str, Any]]:
    """The records of an arm out of its run's folder, as trackers got them when they were new: less
    the numbers that are not for trackers, and with the devices' main scores."""
    known, scores = columns.read(folder), scores_by_round(folder, arm)
    for record in read_jsonl(folder / "metrics.jsonl"):
        if record.get("arm") == arm:
            yield columns.for_trackers(record, known) | scores.get(record["round"], {})


def scores_by_round(folder: Path, arm: str) -> dict[int, dict[str, Any]]:
    """The main scores of an arm's devices by round, as trackers get them, as far as the run has put
    them on disk."""
    found: dict[int, dict[str, Any]] = {}
    known = columns.read(folder)
    for part in sorted((folder / "checkpoints" / arm).glob("devices_*.parquet")):
        rows = read_devices(part, "/devices.parquet")
        score = columns.of_devices(known, rows.column_names)
        if score is not None:
            round_M, score_M = (rows[name].to_numpy() for name in ("round", score.name))
            for round in np.unique(round_M):
                found[int(round)] = {f"{DEVICES}{score.name}": score_M[round_M == round]}
    return found
