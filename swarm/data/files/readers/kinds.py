"""What a column of a table is: numbers, names, moments, or a count of its rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from swarm.common.errors import ConfigError
from swarm.common.names import Names, coded
from swarm.data.dataset import Ints
from swarm.data.files.readers.columns import Column
from swarm.data.scaling import Numbers


def codes_of(column: Column, key: str, name: str) -> tuple[Ints, Names]:
    """Each value's place among the names (:mod:`swarm.common.names`) in order, and these; none may
    be missing or fractional.
    """
    missing = np.flatnonzero(pd.isna(column)) if column.ndim == 1 else np.zeros(0)
    if column.ndim != 1 or missing.size:
        where = (
            f"row {missing[0]} (counted from 0) is empty"
            if missing.size
            else f"has shape {list(column.shape)}"
        )
        raise ConfigError(key, name, f"{where}; every row needs a value")
    if (
        column.dtype.kind == "f"
        and (wrong_S := ~np.isfinite(column) | (column != np.floor(column))).any()
    ):
        row = int(np.flatnonzero(wrong_S)[0])
        hint = "; data.task=regression would do" if key == "label" else ""
        raise ConfigError(
            key,
            name,
            f"row {row} (counted from 0) is {column[row]}, not text or a whole number{hint}",
        )
    try:
        return coded(column, f"{key}={name}")
    except ValueError as error:
        raise ConfigError(key, name, str(error)) from None


def counts_rows(column: Column) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, … from the first row to the last."""
    if (
        column.ndim != 1
        or column.dtype.kind not in "iuf"
        or len(column) < 3
        or column[0] not in (0, 1)
    ):
        return False
    return bool(np.array_equal(column, np.arange(len(column)) + int(column[0])))


def says_the_same(column: Column, y_S: Numbers, classes: bool) -> bool:
    """Whether a column tells a sample's label, and the label its value: equal numbers, or one value
    for each class.
    """
    if column.ndim != 1:
        return False
    if not classes:
        return bool(np.array_equal(column, y_S))
    # most columns are known for others by their first rows
    for rows in (slice(0, 1000), slice(None)):
        code_R, values = pd.factorize(column[rows])
        label_R = y_S[rows].astype(np.int64)
        both = len(np.unique(code_R * (int(label_R.max()) + 1) + label_R))
        if not both == len(values) == len(np.unique(label_R)):
            return False
    return True


def one_hot_of(column: Column, name: str) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """``[S, V]``: one where the column has its v-th value."""
    codes, values = codes_of(column, "one_hot", name)
    if len(values) > 1000:
        raise ConfigError(
            "one_hot", name, f"has {len(values)} different values; at most 1000 become features"
        )
    return np.eye(len(values), dtype=np.uint8)[codes], [f"{name}#{v}" for v in range(len(values))]


def moments_of(column: Column, name: str) -> Ints:
    """When each row happened: whole numbers as they are, dates in microseconds, other numbers by
    rank.
    """
    if column.ndim == 1 and column.dtype.kind in "iu":
        return column.astype(np.int64)
    if column.ndim == 1 and column.dtype.kind == "f" and np.isfinite(column).all():
        return np.unique(column, return_inverse=True)[1].astype(np.int64)
    try:
        stamps = pd.to_datetime(pd.Series(column.reshape(-1)), utc=True, format="ISO8601")
    except (ValueError, TypeError):
        stamps = pd.Series([pd.NaT])
    if column.ndim != 1 or column.dtype.kind in "bf" or bool(stamps.isna().any()):
        raise ConfigError(
            "time", name, "must hold a number or an ISO date of the years 1 to 9999 in every row"
        )
    # not as a difference of timestamps, which would be one in nanoseconds and end in the year 2262
    return stamps.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)


def is_numeric(column: Column) -> bool:
    return column.dtype.kind in "biuf"


def is_text(column: Column) -> npt.NDArray[np.bool_]:
    """Which values of a column are not numbers, nor text that reads as one."""
    values = pd.Series(
        [
            value if isinstance(value, str) else None
            for value in column.reshape(len(column), -1)[:, 0]
        ]
    )
    return np.asarray(pd.to_numeric(values, errors="coerce").isna(), dtype=np.bool_)


def first_text(column: Column) -> str:
    bad = np.flatnonzero(is_text(column))
    row = int(bad[0]) if len(bad) else 0
    return f"row {row} (counted from 0) is {str(column[row])[:40]!r}"


def listed(columns: object) -> str:
    names = list(columns)  # type: ignore[call-overload]
    return ", ".join(map(str, names[:30])) + (
        f" and {len(names) - 30} more" if len(names) > 30 else ""
    )
