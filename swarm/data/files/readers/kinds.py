"""Interprets columns of a table: as numbers, names, times, one-hot features, or row numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from swarm.common.errors import ConfigError
from swarm.common.names import Names, canonical, coded, listed
from swarm.data.dataset import Ints
from swarm.data.files.readers.columns import Column
from swarm.data.scaling import Numbers

# between dots a year has four digits, as 1.2.34 is rather a version
_DATE_ELSEWHERE = re.compile(
    r"(\d{1,2}\.\d{1,2}\.\d{4}|\d{1,4}([/-])\d{1,2}\2\d{2,4})([ T].*)?",
)


def codes_of(column: Column, key: str, name: str) -> tuple[Ints, Names]:
    """The code of each value ``[S]`` and the names that codes stand for, in the order of
    :mod:`swarm.common.names`.

    Raises ``ConfigError`` for a missing value, and for one that is neither text nor a whole number.
    """
    missing = np.flatnonzero(pd.isna(column)) if column.ndim == 1 else np.zeros(0)
    if column.ndim != 1 or missing.size:
        where = (
            f"row {missing[0]} (counted from 0) is empty, or says NA, None or the like"
            if missing.size
            else f"has shape {list(column.shape)}"
        )
        raise ConfigError(key, name, f"{where}; every row needs a value")
    if (
        column.dtype.kind == "f"
        and (wrong_S := ~np.isfinite(column) | (column != np.floor(column))).any()
    ):
        row = int(np.flatnonzero(wrong_S)[0])
        hint = (
            "; data.task=regression with a partition such as iid would do" if key == "label" else ""
        )
        raise ConfigError(
            key,
            name,
            f"row {row} (counted from 0) is {column[row]}, not text or a whole number{hint}",
        )
    try:
        return coded(column, f"{key}={name}")
    except ValueError as error:
        raise ConfigError(key, name, str(error)) from None


def worded(table: dict[str, Column], column: str, names: Names) -> Names:
    """The names of classes: those that the table knows of a column that numbers them, else the
    ``names`` that the column has.
    """
    words = getattr(table, "words", {}).get(column, [])
    if not all(name.isdigit() and int(name) < len(words) for name in names):
        return names
    return tuple(canonical(words[int(name)]) for name in names)


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
    """Whether a column and the label determine each other: equal numbers in a regression, one value
    for each class (``classes``) in a classification.
    """
    if column.ndim != 1:
        return False
    if not classes:
        return bool(np.array_equal(column, y_S))
    # The first rows already tell most columns apart from the label.
    for rows in (slice(0, 1000), slice(None)):
        code_R, values = pd.factorize(column[rows])
        label_R = y_S[rows].astype(np.int64)
        both = len(np.unique(code_R * (int(label_R.max()) + 1) + label_R))
        if not both == len(values) == len(np.unique(label_R)):
            return False
    return True


def one_hot_of(column: Column, name: str) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """The one-hot features of a column, ``[S, V]`` (one where the column has its v-th value), and
    their names.

    Raises ``ConfigError`` for a missing value, and for more than 1,000 different ones.
    """
    codes, values = codes_of(column, "one_hot", name)
    if len(values) > 1000:
        raise ConfigError(
            "one_hot", name, f"has {len(values)} different values; at most 1000 become features"
        )
    return np.eye(len(values), dtype=np.uint8)[codes], [f"{name}#{v}" for v in range(len(values))]


def moments_of(column: Column, name: str) -> Ints:
    """The time of each row, ``[S]``: whole numbers as they are, dates in microseconds since 1970,
    other numbers as their ranks.

    Raises ``ConfigError`` for a value that is neither a number nor an ISO date.
    """
    if column.ndim == 1 and column.dtype.kind in "iu":
        return column.astype(np.int64)
    if column.ndim == 1 and column.dtype.kind == "f" and np.isfinite(column).all():
        return np.unique(column, return_inverse=True)[1].astype(np.int64)
    stamps = _stamps(column)
    if stamps is None or bool(stamps.isna().any()):
        valid = "must hold a number or an ISO date of the years 1 to 9999 in every row"
        wrong = first_no_date(column)
        raise ConfigError("time", name, valid if wrong is None else f"{valid}, and {wrong}")
    return _microseconds(stamps)


def days_of(column: Column) -> npt.NDArray[np.float64] | None:
    """Dates as days since 1970 ``[S]``, NaN where there is none; None for a column of other things.

    A day has 86,400 seconds, and a date without a time zone is one of UTC.
    """
    stamps = None if column.dtype.kind in "iuf" else _stamps(column)
    if stamps is None or bool(stamps.isna().all()):
        return None
    there = stamps.notna().to_numpy()
    days = np.full(len(column), np.nan)
    days[there] = _microseconds(stamps[there]) / 86_400e6
    return days


def _stamps(column: Column) -> pd.Series | None:
    """The dates of a column, NaT where there is none; None if a value is no date."""
    if column.ndim != 1 or column.dtype.kind in "biuf":
        return None
    try:
        return pd.to_datetime(pd.Series(column), utc=True, format="ISO8601")
    except (ValueError, TypeError):
        return None


def first_no_date(column: Column) -> str | None:
    """The first row of a column that is no ISO date, in words for a message; None for a column of
    which no more than half of the rows are dates, of whatever form.
    """
    if column.ndim != 1 or column.dtype.kind in "biuf" or is_text(column).mean() < 0.5:
        return None
    try:
        stamps = pd.to_datetime(pd.Series(column), utc=True, format="ISO8601", errors="coerce")
    except (ValueError, TypeError):
        return None
    none = stamps.isna()
    text = none & pd.notna(column)  # a text that is no date says more than a cell that is empty
    rows = np.flatnonzero(text if text.any() else none)
    if not len(rows):
        return None
    if none.mean() >= 0.5 and sum(map(_is_date_elsewhere, column)) <= len(column) / 2:
        return None
    row = int(rows[0])
    found = repr(str(column[row])[:40]) if text.any() else "empty"
    return f"row {row} (counted from 0) is {found}"


def _is_date_elsewhere(value: object) -> bool:
    """Whether a value is a date as it is written in some country, 8.12.2022 or 12/08/2022."""
    return isinstance(value, str) and _DATE_ELSEWHERE.fullmatch(value.strip()) is not None


def _microseconds(stamps: pd.Series) -> Ints:
    # A difference of timestamps would be in nanoseconds, which end in the year 2262.
    plain = stamps.dt.tz_localize(None).to_numpy()
    moments: Ints = plain.astype("datetime64[us]").astype(np.int64)
    return moments


def missing_of(column: Column) -> npt.NDArray[np.bool_]:
    """In which rows of a column a value is missing ``[S]``: NaN, or nothing at all."""
    if column.dtype.kind in "biuUS":
        return np.zeros(len(column), np.bool_)
    missing = np.asarray(pd.isna(column), np.bool_).reshape(len(column), -1)
    return np.asarray(missing.any(axis=1))


def is_numeric(column: Column) -> bool:
    """Whether a column holds numbers or truth values."""
    return column.dtype.kind in "biuf"


def is_text(column: Column) -> npt.NDArray[np.bool_]:
    """Which values of a column are neither numbers nor text that reads as one: ``[S]``."""
    values = pd.Series(
        [
            value if isinstance(value, str) else None
            for value in column.reshape(len(column), -1)[:, 0]
        ]
    )
    return np.asarray(pd.to_numeric(values, errors="coerce").isna(), dtype=np.bool_)


def first_text(column: Column) -> str:
    """The first row of a column that is no number, in words for a message."""
    bad = np.flatnonzero(is_text(column))
    row = int(bad[0]) if len(bad) else 0
    return f"row {row} (counted from 0) is {str(column[row])[:40]!r}"


def listed_columns(columns: Iterable[object]) -> str:
    """The names of columns with commas between them; of more than 30, the first 30 and a count."""
    return listed([str(column) for column in columns], 30)
