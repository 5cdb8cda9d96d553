"""Checkpoints on disk: each is a safetensors file and a JSON file, and nothing is ever unpickled.

The JSON file is written last and names the SHA-256 of the other, so a checkpoint is either complete
or absent.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from swarm.common.errors import CheckpointError, ConfigError
from swarm.common.system.files import replacing
from swarm.config.schema import SEAL, Schema, checked, read_json, require_seal, sealed
from swarm.simulation.checkpoint import tensors
from swarm.simulation.checkpoint.manifest import Manifest

FORMAT = 4
UNSEALED = 3  # the previous format, in which the JSON was not hashed
BEST = "best"
"""The folder, beside an arm's checkpoints, with that of its best round."""
_NAME = re.compile(r"round_(\d{9})\.json")


@dataclass(frozen=True)
class Checkpoint:
    """The state after ``round`` rounds: arrays in device order (those of a file are read when they
    are asked for), and small facts that JSON can hold."""

    round: int
    arrays: Mapping[str, Tensor]
    facts: dict[str, Any]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: a reader, or a crash, sees the old content or the new one."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON with :func:`write_bytes`.

    Raises ``ValueError`` for a number that is not finite, which JSON cannot hold.
    """
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def rounds_in(folder: Path) -> list[int]:
    """The rounds of the complete checkpoints in a folder, ascending."""
    found = (
        (_NAME.fullmatch(p.name) for p in folder.glob("round_*.json")) if folder.is_dir() else ()
    )
    return sorted(int(m.group(1)) for m in found if m)


def write(folder: Path, checkpoint: Checkpoint, keep: int | None) -> None:
    """Write ``checkpoint`` to ``folder``, then remove all but the newest ``keep`` checkpoints, or
    where that is None all others."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = _stem(folder, checkpoint.round)
    with replacing(stem.with_suffix(".safetensors")) as file:
        sha256, size = tensors.write(file, checkpoint.arrays)
    manifest = {
        "format": FORMAT,
        "round": checkpoint.round,
        "sha256": sha256,
        "bytes": size,
        "arrays": {
            k: [str(v.dtype).removeprefix("torch."), list(v.shape)]
            for k, v in checkpoint.arrays.items()
        },
        "facts": checkpoint.facts,
    }
    write_json(stem.with_suffix(".json"), sealed(manifest))
    others = [round for round in rounds_in(folder) if round != checkpoint.round]
    for old in others if keep is None else rounds_in(folder)[:-keep]:
        _stem(folder, old).with_suffix(".json").unlink()
        _stem(folder, old).with_suffix(".safetensors").unlink(missing_ok=True)


def read(
    folder: Path, round: int, expect: Mapping[str, tuple[torch.dtype, tuple[int, ...]]] | None
) -> Checkpoint:
    """Open the checkpoint of ``round`` and check its hash, its size and that its numbers are
    finite; unless ``expect`` is None, also the names, dtypes and shapes of its arrays.

    Raises :class:`CheckpointError`, which names the file and what is wrong with it.
    """
    stem = _stem(folder, round)
    found = read_manifest(folder, round)
    path = stem.with_suffix(".safetensors")
    wanted = {k: [str(d).removeprefix("torch."), list(s)] for k, (d, s) in (expect or {}).items()}
    if expect is not None and found["arrays"] != wanted:
        raise CheckpointError(
            "resume", path, f"holds {_brief(found['arrays'])}, but this run needs {_brief(wanted)}"
        )
    try:
        if path.stat().st_size != found["bytes"]:
            raise CheckpointError(
                "resume",
                path,
                f"has {path.stat().st_size} bytes where {found['bytes']} were written",
            )
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError("resume", path, f"cannot be read: {error.strerror}") from None
    if digest != found["sha256"]:
        raise CheckpointError(
            "resume", path, "is damaged: its SHA-256 is not the one it was written with"
        )
    try:
        arrays = tensors.Stored(path)
    except SafetensorError as error:
        raise CheckpointError("resume", path, f"is no safetensors file: {error}") from None
    for name, array in arrays.items():
        if array.dtype.is_floating_point and not tensors.all_finite(array):
            raise CheckpointError("resume", path, f"holds numbers that are not finite in {name}")
    return Checkpoint(round, arrays, found["facts"])


def read_manifest(folder: Path, round: int) -> dict[str, Any]:
    """The checked JSON of one checkpoint: round, arrays and facts.

    Raises :class:`CheckpointError` for a file that is missing, damaged or of another format.
    """
    path = _stem(folder, round).with_suffix(".json")
    try:
        found = read_json(path, Schema, "resume")
        if found.get("format") not in (UNSEALED, FORMAT):
            valid = (
                f"has format {found.get('format')}; this version reads the formats {UNSEALED} and"
                f" {FORMAT}"
            )
            raise CheckpointError("resume", path, valid)
        checked(found, Manifest, path, "resume")
        if found["format"] != UNSEALED or SEAL in found:
            require_seal(found, path, "resume")
    except ConfigError as error:
        raise CheckpointError("resume", path, error.valid) from None
    facts, (_, shape) = found["facts"], found["arrays"].get("x", (None, [0, 0]))
    if found["round"] != round or sum(math.prod(size) for _, size in facts["layout"]) != (
        shape[-1] if shape else None
    ):
        raise CheckpointError(
            "resume", path, "is damaged: its round, arrays and layout do not go together"
        )
    return found


def _brief(arrays: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {dtype}{shape}" for name, (dtype, shape) in sorted(arrays.items()))


def _stem(folder: Path, round: int) -> Path:
    return folder / f"round_{round:09d}"
