"""``overrides.json`` of a run folder: the words ``KEY=VALUE`` that its settings were typed as.

They are shown, never obeyed: ``config.yaml`` says what the run's settings are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swarm.common.errors import typed
from swarm.config.schema import read_json
from swarm.results.schemas import Overrides
from swarm.simulation import checkpoint

FILE = "overrides.json"


def write(folder: Path, words: Sequence[str] | None) -> None:
    """Put the words into the folder of their run; None, where they are not known, leaves no
    file.
    """
    if words is not None:
        checkpoint.write_json(folder / FILE, {"overrides": [*words]})


def read(folder: Path, key: str = f"/{FILE}") -> tuple[str, ...] | None:
    """The words of the run in ``folder``; None where they are not known: Python gave its settings,
    or an earlier version ran it.

    Raises :class:`~swarm.common.errors.ConfigError` on ``key`` where the file is damaged.
    """
    file = folder / FILE
    return tuple(read_json(file, Overrides, key)["overrides"]) if file.exists() else None


def changed(words: Sequence[str], by: Mapping[str, Any]) -> list[str]:
    """The words after a resume with other values ``by`` key: those that had such a key are left
    out, and where another option of a group was chosen, those about the one before.
    """
    groups = tuple(f"{key}." for key in by if "." not in key)
    keys = {word: word.lstrip("+").partition("=")[0] for word in words}
    kept = [w for w in words if keys[w] not in by and not keys[w].startswith(groups)]
    return [*kept, *(f"{key}={typed(value)}" for key, value in by.items())]
