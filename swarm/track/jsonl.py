"""``metrics.jsonl``, the source of truth: one JSON object a line, flushed at once, repairable after ``kill -9``."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import IO, Any

from swarm.errors import ConfigError
from swarm.files import appending, replacing

LEADING = ("arm", "round", "virtual_s", "wall_s", "awake", "steps", "messages", "bytes", "messages_total",
           "bytes_total", "lr", "prequential_accuracy", "train_loss", "consensus_distance")  # fmt: skip


def plain(value: object) -> str | int | float | bool | None:
    """``value`` as a JSON scalar: numbers keep every digit, NaN and infinities become ``None``.

    Raises:
        TypeError: ``value`` is not a scalar.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if getattr(value, "ndim", None) == 0:  # NumPy's bool, a 0-d array or tensor
        return plain(value.item())  # type: ignore[attr-defined]
    raise TypeError(f"a record holds scalars, not {type(value).__name__}")


def tree(value: object) -> Any:
    """``value`` with every scalar in it as :func:`plain` has it: mappings, lists and tuples become JSON's."""
    if isinstance(value, Mapping):
        return {str(key): tree(item) for key, item in value.items()}
    return [tree(item) for item in value] if isinstance(value, list | tuple) else plain(value)


def line(record: dict[str, Any]) -> str:
    """One record as one line of JSON, leading keys first, the rest sorted; keys with ``_`` in front are left out."""
    public = {key: value for key, value in record.items() if not key.startswith("_")}
    keys = [key for key in LEADING if key in public] + sorted(public.keys() - set(LEADING))
    return json.dumps({key: plain(public[key]) for key in keys}, ensure_ascii=False, allow_nan=False) + "\n"


class JsonlSink:
    """Appends records to ``path``, each flushed to the operating system before :meth:`record` returns.

    A torn last line (the process was killed while writing it) is cut off when the file is opened. A link in its place is
    refused: :class:`ConfigError`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = appending(path)
        _cut_torn_line(file)
        self._file: IO[str] | None = io.TextIOWrapper(file, encoding="utf-8", newline="\n")

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        """Nothing to do: ``config.yaml`` and ``progress.json`` have it."""

    def conclude(self, summary: dict[str, Any]) -> None:
        """Nothing to do: the summary has a file of its own."""

    def start(self, arm: str, rounds: int, done: int) -> None:
        """Nothing to do: every record names its arm."""

    def record(self, record: dict[str, Any]) -> None:
        """Writes one line and hands it to the operating system, so that a crash of this process cannot lose it."""
        if self._file is None:
            raise ValueError("the sink is closed")
        self._file.write(line(record))
        self._file.flush()

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """Asks the operating system to put the arm's records on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def attach(self, files: Sequence[Path]) -> None:
        """Nothing to do: they lie beside the file."""

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_jsonl(path: Path, damaged: list[int] | None = None) -> list[dict[str, Any]]:
    """The records of ``path`` in file order, without a torn last line. A missing file has none.

    With ``damaged``, the numbers of lines that are no JSON objects are put there, and those lines left out.

    Raises:
        ConfigError: a line other than the last is not a JSON object, and there is no ``damaged``.
    """
    if not path.exists():
        return []
    raw = path.read_bytes()
    lines = raw.split(b"\n")
    records = []
    for number, text in enumerate(lines, start=1):
        if number == len(lines):  # what follows the last newline: nothing, or a line that was never completed
            break
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        elif damaged is not None:
            damaged.append(number)
        else:
            raise ConfigError(f"/{path.name}", f"line {number}", "damaged; every line must be one JSON object")
    return records


def truncate(path: Path, keep: Callable[[dict[str, Any]], bool]) -> int:
    """Rewrites ``path`` atomically with the records for which ``keep`` is true; returns how many were dropped.

    The kept lines are the same bytes as before; a torn last line goes. A missing file stays missing.

    Raises:
        ConfigError: a line other than the last is damaged (see :func:`read_jsonl`).
    """
    if not path.exists():
        return 0
    records = read_jsonl(path)
    lines = path.read_bytes().split(b"\n")[: len(records)]
    kept = [text for text, record in zip(lines, records, strict=True) if keep(record)]
    with replacing(path) as file:
        file.writelines(text + b"\n" for text in kept)
    return len(records) - len(kept)


def _cut_torn_line(file: IO[bytes]) -> None:
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - 65536)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            file.truncate(begin + newline + 1)
            return
        end = begin
    file.truncate(0)
