"""Which code made a run, and what of a run's config its numbers depend on: the two together say that it is done already."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarm import paths

WITHOUT_NUMBERS = ("tracker", "checkpoint", "report", "resume", "preset")  # sections that change no number of a run


def code_version(plugins: Sequence[str] = ()) -> dict[str, str | None]:
    """``version`` of the package, ``source``: a hash of its Python files, the scenarios' and the ``plugins``', and
    ``commit``, the clone's, for people to read: a commit to the docs alone makes no run out of date."""
    root, digest = paths.root(), hashlib.sha256()
    files = [*Path(paths.__file__).parent.rglob("*.py"), *(root / "scenarios").rglob("*.py")]
    named = {str(file.relative_to(root.parent)): file for file in files if "__pycache__" not in file.parts}
    named |= {entry: Path(entry) for entry in plugins if entry.endswith(".py") and Path(entry).is_file()}
    for name, file in sorted(named.items()):
        digest.update(f"{Path(name).name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return {"version": _version(), "source": digest.hexdigest()[:16], "commit": _commit(root)}


def same_code(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two code versions give the same numbers."""
    return all(a.get(name) == b.get(name) for name in ("version", "source"))


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a resolved config, by dotted key, that its numbers depend on. Of the engine that is the block only."""
    kept = {key: value for key, value in config.items() if key not in WITHOUT_NUMBERS}
    engine = kept.get("engine")
    kept["engine"] = {"block": engine.get("block", "auto") if isinstance(engine, Mapping) else "auto"}
    return dict(_leaves(kept))


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
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON mapping; None where there is no such file, or something else in it."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
