"""Tables: CSV, Parquet or NPZ files with a named label column and perhaps a column that says whose row it is."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from swarm.check import number
from swarm.data.columns import Column
from swarm.data.dataset import Dataset, Floats, Ints, Source
from swarm.data.prepare import Samples, Scale, latest, prepare
from swarm.data.table_files import read_table
from swarm.errors import ConfigError
from swarm.fetched import locate


class Table(Source):
    """One row per sample. ``x`` is ``[S, features]``; an NPZ whose only feature array has more axes keeps its shape.

    ``label`` and ``device`` name columns; ``features`` names the others to use, by default every numeric one (columns
    that are left out for not being numeric are named in a warning; one that is mostly numeric is refused, as it has a
    typing error in it). Labels of a classification may be strings or whole numbers: the sorted distinct values become
    0 … C-1. The values of ``device`` become owners 0 … O-1 in the same way, for ``partition=natural``. Every feature
    must be finite: no missing cells.

    Each column of ``one_hot`` becomes a 0/1 feature for each of its values, which is not scaled. By ``time`` (numbers or
    ISO dates) devices meet their rows in the order of that column; ``later`` then holds out each owner's last rows for test and
    validation, instead of a random draw.
    """

    def __init__(
        self,
        path: str | None = None,
        label: str = "label",
        device: str | None = None,
        task: Literal["classification", "regression"] = "classification",
        features: list[str] | None = None,
        one_hot: list[str] | None = None,
        time: str | None = None,
        later: bool = False,
        scale: Scale = "standard",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
    ) -> None:
        number("max_mb", max_mb, 1)
        if not path:
            raise ConfigError("path", "null", "must be a .csv, .parquet or .npz file")
        if task not in ("classification", "regression"):
            raise ConfigError("task", task, "must be classification or regression")
        if features is not None and (not features or len(set(features)) < len(features)):
            raise ConfigError("features", features, "must be at least one column, each named once, or null for all")
        if later and time is None:
            raise ConfigError("later", later, "needs data.time, the column that says when a row happened")
        self.path, self.label, self.device, self.task, self.features = path, label, device, task, features
        self.one_hot, self.time, self.later = one_hot or [], time, later
        self.scale, self.test, self.validation = scale, test, validation
        self.max_bytes, self.seed = max_mb << 20, seed

    def load(self) -> Dataset:
        return self.of(read_table(locate(self.path), self.max_bytes))

    def of(self, table: dict[str, Column]) -> Dataset:
        """The data set of a table that has been read."""
        named = (
            ("label", self.label),
            ("device", self.device),
            ("time", self.time),
            *(("one_hot", n) for n in self.one_hot),
        )
        for key, name in named:
            if name is not None and name not in table:
                raise ConfigError(key, name, f"is not a column of {self.path}; its columns are {_names(table)}")
        x, columns, scaled = self._x(table)
        y, classes = self._y(table[self.label])
        owner = None if self.device is None else _codes(table[self.device], "device", self.device)[0]
        time = None if self.time is None else _moments(table[self.time], self.time)
        held = latest(owner, time, self.test, self.validation) if self.later and time is not None else (None, None)
        samples = Samples(
            x,
            y,
            classes,
            owner=owner,
            time=time,
            validation=held[0],
            test=held[1],
            columns=columns,
            scaled=scaled,
            origin=("path", self.path),
        )
        return prepare(samples, self.seed, test=self.test, validation=self.validation, scale=self.scale)

    def _x(self, table: dict[str, Column]) -> tuple[npt.NDArray[np.generic], tuple[str, ...], int | None]:
        """Features, their names, and how many of them are to be scaled (None: all)."""
        others = [name for name in table if name not in (self.label, self.device, self.time, *self.one_hot)]
        for name in self.features or []:
            if name not in others:
                raise ConfigError("features", name, f"is not a feature of {self.path}; there are {_names(others)}")
            if not _numeric(table[name]):
                raise ConfigError("features", name, f"is not numeric: {_first_text(table[name])}; give numeric columns")
        chosen = self.features or self._numeric_ones(table, others)
        if len(chosen) == 1 and table[chosen[0]].ndim > 2:
            return table[chosen[0]], (), None
        parts = [table[name].reshape(len(table[name]), -1) for name in chosen]
        names = [
            name if part.shape[1] == 1 else f"{name}[{i}]"
            for name, part in zip(chosen, parts, strict=True)
            for i in range(part.shape[1])
        ]
        bits = [_one_hot(table[name], name) for name in self.one_hot]
        wide = np.concatenate([*parts, *(bit for bit, _ in bits)], axis=1, dtype=np.float64)
        return wide, (*names, *(n for _, each in bits for n in each)), len(names) if bits else None

    def _numeric_ones(self, table: dict[str, Column], others: list[str]) -> list[str]:
        chosen = [name for name in others if _numeric(table[name])]
        left_out = [name for name in others if name not in chosen]
        for name in left_out:
            if table[name].ndim == 1 and not _text(table[name]).mean() >= 0.5:
                valid = f"column {name!r} is numeric but for {_first_text(table[name])}; mend it, or list data.features"
                raise ConfigError("path", self.path, valid)
        if not chosen:
            raise ConfigError("path", self.path, f"has no numeric feature; its columns are {_names(table)}")
        if left_out:
            warnings.warn(f"{self.path}: left out as not numeric: {_names(left_out)}", stacklevel=2)
        return chosen

    def _y(self, column: Column) -> tuple[Ints | Floats, int]:
        if self.task == "regression":
            if not _numeric(column):
                valid = f"is not numeric: {_first_text(column)}; regression needs numbers"
                raise ConfigError("label", self.label, valid)
            with np.errstate(over="ignore"):
                return column.reshape(len(column), -1).astype(np.float32), 0
        if column.ndim != 1:
            raise ConfigError("label", self.label, f"has shape {list(column.shape)}; one label per sample is needed")
        codes, classes = _codes(column, "label", self.label)
        if not 2 <= classes < max(3, len(column)):
            found = "one value in all rows" if classes < 2 else "another value in every row"
            raise ConfigError("label", self.label, f"has {found}; at least two classes with several rows are needed")
        return codes, classes


def _codes(column: Column, key: str, name: str) -> tuple[Ints, int]:
    """Each value's place among the sorted distinct ones, and how many those are; none may be missing or fractional."""
    missing = np.flatnonzero(pd.isna(column)) if column.ndim == 1 else np.zeros(0)
    if column.ndim != 1 or missing.size:
        where = f"row {missing[0]} (counted from 0) is empty" if missing.size else f"has shape {list(column.shape)}"
        raise ConfigError(key, name, f"{where}; every row needs a value")
    if column.dtype.kind == "f" and (column != np.floor(column)).any():
        row = int(np.flatnonzero(column != np.floor(column))[0])
        hint = "; data.task=regression would do" if key == "label" else ""
        raise ConfigError(key, name, f"row {row} (counted from 0) is {column[row]}, not text or a whole number{hint}")
    values, codes = np.unique(column.astype(str) if column.dtype.kind == "O" else column, return_inverse=True)
    return codes.astype(np.int64), len(values)


def _one_hot(column: Column, name: str) -> tuple[npt.NDArray[np.float32], list[str]]:
    """``[S, V]``: one where the column has its v-th value."""
    codes, count = _codes(column, "one_hot", name)
    if count > 1000:
        raise ConfigError("one_hot", name, f"has {count} different values; at most 1000 become features")
    return np.eye(count, dtype=np.float32)[codes], [f"{name}#{v}" for v in range(count)]


def _moments(column: Column, name: str) -> Ints:
    """When each row happened: whole numbers as they are, dates in microseconds, other numbers by rank."""
    if column.ndim == 1 and column.dtype.kind in "iu":
        return column.astype(np.int64)
    if column.ndim == 1 and column.dtype.kind == "f" and np.isfinite(column).all():
        return np.unique(column, return_inverse=True)[1].astype(np.int64)
    try:
        stamps = pd.to_datetime(pd.Series(column.reshape(-1)), utc=True, format="ISO8601")
    except (ValueError, TypeError):
        stamps = pd.Series([pd.NaT])
    if column.ndim != 1 or column.dtype.kind in "bf" or bool(stamps.isna().any()):
        raise ConfigError("time", name, "must hold a number or an ISO date in every row")
    microseconds = (stamps - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(microseconds=1)
    return np.asarray(microseconds, dtype=np.int64)


def _numeric(column: Column) -> bool:
    return column.dtype.kind in "biuf"


def _text(column: Column) -> npt.NDArray[np.bool_]:
    """Which values of a column are not numbers, nor text that reads as one."""
    values = pd.Series([value if isinstance(value, str) else None for value in column.reshape(len(column), -1)[:, 0]])
    return np.asarray(pd.to_numeric(values, errors="coerce").isna(), dtype=np.bool_)


def _first_text(column: Column) -> str:
    bad = np.flatnonzero(_text(column))
    row = int(bad[0]) if len(bad) else 0
    return f"row {row} (counted from 0) is {str(column[row])[:40]!r}"


def _names(columns: object) -> str:
    names = list(columns)  # type: ignore[call-overload]
    return ", ".join(map(str, names[:30])) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
