"""Which code made a run, and which settings its numbers depend on. A run for which both are the
same need not be done again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarm.common.errors import typed
from swarm.common.system import paths
from swarm.config import aliases
from swarm.config.settings import DEFAULTS, later_keys

# sections that change no number of a run
WITHOUT_NUMBERS = ("tracker", "checkpoint", "report", "resume", "preset")
# keys of an engine; only one whose runs depend on the wall clock has a pace and seconds
OF_ENGINE = ("block", "pace", "seconds")
SPAN = "schedule.rounds"
# keys that configs of earlier versions did not have, and the values that give their numbers: first
# those of typed sections, then those of plug-ins
_LATER: dict[str, Any] = {
    **later_keys(),
    "aggregator.f": 0,
    "topology.weight": None,
    "aggregator.unsafe": "refuse",
    "aggregator.memory": 0.0,
    "data.local_test": "auto",
    "data.local_validation": 0,
    "data.public": 0,
    "data.tokens": "characters",
    "data.vocabulary": None,
    "data.tokenizer": None,
    "model.embedding_std": 0.02,
    "fleet.sharing": "uplink",
    "scenario.rounds": None,
    "privacy.accountant": "rdp",
    "model.bits": 32,
    "model.group": 64,
}


def code_version(plugins: Sequence[str] = ()) -> dict[str, str | None]:
    """``version`` of the package, ``source``: a hash of its Python files, the scenarios' and the
    ``plugins``', and ``commit``, the clone's, for people to read: a commit to the docs alone makes
    no run out of date."""
    root, digest = paths.root(), hashlib.sha256()
    files = [*Path(paths.__file__).parents[2].rglob("*.py"), *(root / "scenarios").rglob("*.py")]
    named = {
        str(file.relative_to(root.parent)): file
        for file in files
        if "__pycache__" not in file.parts
    }
    named |= {
        entry: Path(entry) for entry in plugins if entry.endswith(".py") and Path(entry).is_file()
    }
    for name, file in sorted(named.items()):
        digest.update(f"{Path(name).name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return {"version": _version(), "source": digest.hexdigest()[:16], "commit": _commit(root)}


def same_code(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two code versions give the same numbers."""
    return all(a.get(name) == b.get(name) for name in ("version", "source"))


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a resolved config, by dotted key, that its numbers depend on.

    Of the engine these are :data:`OF_ENGINE`.
    """
    kept = {key: value for key, value in config.items() if key not in WITHOUT_NUMBERS}
    # runs of versions before these keys were made as their defaults say
    for key, default in DEFAULTS.items():
        if kept.get(key) == default:
            del kept[key]
    engine = kept.get("engine")
    given = engine if isinstance(engine, Mapping) else {}
    of_engine = {name: given[name] for name in OF_ENGINE if name in given}
    kept["engine"] = {"block": "auto", **of_engine}
    leaves = dict(_leaves(kept))
    return {k: v for k, v in leaves.items() if k not in _LATER or v != _LATER[k]}


def made_with(config: Mapping[str, Any]) -> dict[str, Any]:
    """:func:`identity` as JSON holds it, for a run's own files.

    More rounds may follow under the same schedule, so the rounds are those of the schedule."""
    kept = identity(config)
    rounds = kept.pop("rounds", None)
    # None: a run of no rounds, under no schedule yet
    kept[SPAN] = kept.get(SPAN) or rounds or None
    return {key: _json(value) for key, value in kept.items()}


def edited(config: Mapping[str, Any], then: Mapping[str, Any]) -> str | None:
    """The first key of ``config`` that is not as it was ``then``, in :func:`made_with`, with both
    values; None if all are.
    """
    now, then = made_with(config), aliases.leaves(then)
    for key in sorted(now.keys() | then.keys()):
        if key in now and key in then and now[key] == then[key]:
            continue
        if key == SPAN and not then.get(key, True):
            continue
        name = "rounds" if key == SPAN and identity(config).get(SPAN) is None else key
        here, there = (
            f"{name}={typed(values[key])}" if key in values else f"no {name}"
            for values in (now, then)
        )
        return f"{here}, and the run was made with {there}"
    return None


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite and isinstance(value, str | bool | int | float | None) else str(value)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _version() -> str | None:
    try:
        return importlib.metadata.version("swarm-sim")
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
