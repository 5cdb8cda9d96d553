"""``metrics.jsonl``, the source of truth: one JSON object a line, flushed at once, repairable after
``kill -9``.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from swarm.common.errors import ConfigError, StorageError
from swarm.common.system.files import appending, replacing
from swarm.config.schema import checked
from swarm.results.schemas import Record
from swarm.simulation.metrics.record import LEADING


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
    """``value`` with every scalar in it as :func:`plain` has it: mappings, lists and tuples become
    JSON's.
    """
    if isinstance(value, Mapping):
        return {str(key): tree(item) for key, item in value.items()}
    return [tree(item) for item in value] if isinstance(value, list | tuple) else plain(value)


def line(record: dict[str, Any]) -> str:
    """One record as one line of JSON, leading keys first, the rest sorted; keys with ``_`` in front
    are left out.
    """
    public = {key: value for key, value in record.items() if not key.startswith("_")}
    keys = [key for key in LEADING if key in public] + sorted(public.keys() - set(LEADING))
    return (
        json.dumps({key: plain(public[key]) for key in keys}, ensure_ascii=False, allow_nan=False)
        + "\n"
    )


class JsonlSink:
    """Appends records to ``path``, each flushed to the operating system before :meth:`record`
    returns.

    A torn last line (the process was killed while writing it) is cut off when the file is opened. A
    link in its place is refused: :class:`ConfigError`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
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
        """Writes one line and hands it to the operating system, so that a crash of this process
        cannot lose it.

        Raises:
            StorageError: the file is no longer in its folder: what is written to it would be lost
                without a word.
            OSError: it cannot be written.
        """
        if self._file is None:
            raise ValueError("the sink is closed")
        self._file.write(line(record))
        self._file.flush()
        try:
            there = os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            there = False
        if not there:
            raise StorageError(
                f"{self._path} was removed, renamed or replaced while its run went on: the run ends"
                " here"
            )

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """Asks the operating system to put the arm's records on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def attach(self, files: Sequence[Path]) -> None:
        """Nothing to do: they lie beside the file."""

    def close(self) -> None:
        """Closes the file; a second call does nothing, also after an error of the first."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def read_jsonl(path: Path, damaged: list[int] | None = None) -> list[dict[str, Any]]:
    """The records of ``path`` in file order, without a torn last line. A missing file has none.

    With ``damaged``, the numbers of lines that are no records are put there, and those lines left
    out.

    Raises:
        ConfigError: the file cannot be read, or a line other than the last is no record
            (:class:`swarm.results.schemas.Record`) and there is no ``damaged``.
    """
    records = []
    for number, (text, record) in enumerate(_lines(path), start=1):
        if record is not None:
            records.append(record)
        elif damaged is not None:
            damaged.append(number)
        else:
            _require_record(path, number, text)
    return records


def _require_record(path: Path, number: int, text: bytes) -> None:
    """Raises ConfigError: says what is wrong with a line."""
    try:
        checked(_parsed(text), Record, path, f"/{path.name}")
    except ConfigError as error:
        valid = error.valid.replace("damaged;", f"damaged; line {number}:").replace(
            "must be one JSON", "must be a JSON"
        )
        raise ConfigError(error.key, path, valid) from None
    raise AssertionError


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any] | None]]:
    """Every whole line, and the record that it is, if it is one."""
    try:
        if not path.exists():
            return []
        if not path.is_file():
            raise ConfigError(f"/{path.name}", path, "damaged; must be a file")
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"/{path.name}", path, f"cannot be read: {error.strerror or error}"
        ) from None
    # what follows the last newline is nothing, or a line that was never completed
    return [(text, _record(text)) for text in raw.split(b"\n")[:-1]]


def _record(text: bytes) -> dict[str, Any] | None:
    value = _parsed(text)
    try:
        Record.model_validate(value)
    except ValidationError:
        return None
    return dict(value)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def truncate(path: Path, keep: Callable[[dict[str, Any]], bool]) -> int:
    """Rewrites ``path`` atomically with the records for which ``keep`` is true; returns how many
    lines were dropped.

    The kept lines are the same bytes as before; lines that are no records go. A missing file stays
    missing.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not path.exists():
        return 0
    lines = _lines(path)
    kept = [text for text, record in lines if record is not None and keep(record)]
    with replacing(path) as file:
        file.writelines(text + b"\n" for text in kept)
    return len(lines) - len(kept)


class Ledger:
    """The SHA-256 of an arm's lines in ``metrics.jsonl``, read on from where it last stopped."""

    def __init__(self, path: Path, arm: str) -> None:
        self._path, self._arm, self._at, self._sum = path, arm, 0, hashlib.sha256()

    def so_far(self) -> str:
        """Return the SHA-256 of all lines that are there by now; they are on the disk when this
        returns."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
            file.seek(self._at)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._at += len(whole + newline)
        for text in whole.split(b"\n"):
            record = _record(text)
            if record is not None and record["arm"] == self._arm:
                self._sum.update(text + b"\n")
        return self._sum.hexdigest()


def records_of(path: Path, arm: str, until: int) -> tuple[set[int], str]:
    """The rounds of an arm's records up to round ``until``, and the SHA-256 of their lines.

    Damaged lines are passed over.

    Raises:
        ConfigError: the file cannot be read.
    """
    lines = [
        (t, r["round"])
        for t, r in _lines(path)
        if r is not None and r["arm"] == arm and r["round"] <= until
    ]
    digest = hashlib.sha256(b"".join(text + b"\n" for text, _ in lines))
    return {round for _, round in lines}, digest.hexdigest()


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
