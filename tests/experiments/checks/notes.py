"""A tracker that notes its calls, for the check of trackers; ``how`` says what it does wrong."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.results.track.base import Tracker

CALLS: list[tuple[Any, ...]] = []


class Notes(Tracker):
    def __init__(self, folder: Path, how: str = "") -> None:
        self.how = how
        self.deadline_s = 0.3 if how in ("sleeps", "threads", "times out") else None
        self.thread = threading.get_ident()
        (folder / "notes.txt").touch()

    def note(self, name: str, *given: Any) -> None:
        CALLS.append((name, *given))
        if self.how == name:
            raise OSError("nobody listens")
        if self.how == "threads" and threading.get_ident() != self.thread:
            raise OSError("made in another thread")
        if self.how == "times out" and name == "record":
            raise TimeoutError("timed out")  # as a socket does

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        self.note("configure", arm, sorted(config))

    def start(self, arm: str, rounds: int, done: int) -> None:
        self.note("start", arm, rounds, done)

    def record(self, record: dict[str, Any]) -> None:
        self.note("record", sorted(record))

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        self.note("finish", arm, sorted(summary))

    def conclude(self, summary: dict[str, Any]) -> None:
        self.note("conclude", sorted(summary))

    def attach(self, files: Sequence[Path]) -> None:
        if self.how == "sleeps":
            threading.Event().wait(2)
        self.note("attach", [file.name for file in files])

    def close(self) -> None:
        self.note("close")

    def missing(self, arms: Sequence[str], files: Sequence[Path] = ()) -> Any:
        return {"misses": [*arms], "forgets": None}.get(self.how, [])
