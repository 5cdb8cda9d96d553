"""Which columns of a table are features, as numbers; and what is done about missing values."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, meant
from swarm.data.dataset import Ints
from swarm.data.files.readers.columns import Column, nameless
from swarm.data.files.readers.images import ImageFormat, is_image, pixels_of
from swarm.data.files.readers.kinds import (
    counts_rows,
    days_of,
    first_no_date,
    first_text,
    is_numeric,
    is_text,
    listed_columns,
    missing_of,
)
from swarm.data.missing import IN_ARRAY

Missing = Literal["refuse", "drop", "mean"]
Table = dict[str, Column]
_MARKED = re.compile(  # also of a negative number, -$5 or $ -5 or (5)
    r"\s*\(?[+-]?[$€£¥]?\s*[+-]?\d{1,3}([,' ]?\d{3})*([.,]\d+)?\)?\s*[%$€£¥]?\s*"
)


def require_one_role_each(single: dict[str, list[str]], lists: dict[str, list[str]]) -> None:
    """Refuse a column with two roles: a label that is also a feature would make the task trivial.

    ``single`` and ``lists`` have the columns by the option that names them; an option of ``lists``
    is shown as a whole.
    """
    roles: dict[str, str] = {}
    for key, names in (single | lists).items():
        for name in names:
            if name in roles and key in single:
                raise ConfigError(
                    key, name, f"is data.{roles[name]} already; a column has one part to play"
                )
            if name in roles:
                valid = (
                    f"names {name}, which is data.{roles[name]} already; a column has one part to"
                    " play"
                )
                raise ConfigError(key, names, valid)
            roles[name] = key


def with_numbers(
    path: object,
    table: Table,
    others: list[str],
    features: list[str] | None,
    images: ImageFormat,
    most: int,
) -> Table:
    """The table with images decoded, and with the dates that ``features`` names as days since 1970.

    ``others`` are the columns that have no other role than that of a feature. Raises
    ``ConfigError`` for a feature that is not among them, or that is no number, date or image.
    """
    found = copy.copy(table)  # which knows more of its columns than a dict does
    for name in features or others:
        if name not in others:
            close = meant(name, others)
            valid = f"is not a feature of {path}{close}; there are {listed_columns(others)}"
            raise ConfigError("features", name, valid)
        column = table[name]
        if not is_numeric(column) and is_image(column):
            found[name] = pixels_of(path, column, name, images, most)
        elif not is_numeric(column) and features is not None:
            days = days_of(column)
            if days is None:
                wrong = first_no_date(column)
                valid = f"is not numeric: {first_text(column)}; give numeric columns"
                if wrong is not None:
                    valid = f"has dates, but {wrong}, which is no date such as 2022-12-08"
                raise ConfigError("features", name, valid)
            found[name] = days
    return found


def _repeats(column: Column) -> bool:
    """Whether a column has words that come again and again, as far as its first rows tell."""
    first = column[:1000].tolist() if column.ndim == 1 else []
    return len(set(map(str, first))) <= len(first) // 4


def numeric_ones(
    path: object, table: Table, others: list[str], none_will_do: bool = False
) -> list[str]:
    """The features where the user names none: the numeric columns that have a name.

    Warnings name those that are left out. Raises ``ConfigError`` for a column that is mostly
    numeric, as it has a typing error in it, and where no column is numeric and one has to be
    (unless ``none_will_do``).
    """
    unnamed = [name for name in others if nameless(name)]
    _warn_of_unnamed(path, unnamed)
    others = [name for name in others if name not in unnamed]
    chosen = [name for name in others if is_numeric(table[name])]
    left_out = [name for name in others if name not in chosen]
    for name in left_out:
        if table[name].ndim == 1 and not is_text(table[name]).mean() >= 0.5:
            valid = (
                f"column {name!r} is numeric, but {first_text(table[name])}; mend it, or"
                " list data.features"
            )
            raise ConfigError("path", path, valid)
    if not chosen and not none_will_do:
        empty = [name for name in left_out if missing_of(table[name]).all()]
        hint = f"; no row has a value of {listed_columns(empty)}" if empty else ""
        hint = hint or _ways_in(table, left_out)
        hint = hint or "; data.one_hot=[…] makes features of text" * bool(left_out)
        valid = f"has no numeric feature; its columns are {listed_columns(table)}{hint}"
        raise ConfigError("path", path, valid)
    _warn_of_joined_arrays(path, table, chosen)
    if left_out:
        hint = _ways_in(table, left_out)
        marked = next((name for name in left_out if _is_marked(table[name])), None)
        if marked is not None:
            cell = str(table[marked][0]).strip()
            hint += f"; {marked!r} has numbers with marks ({cell!r}), which a number must not have"
        warnings.warn(
            f"{path}: columns that are not numeric are left out: {listed_columns(left_out)}{hint}",
            stacklevel=2,
        )
    for name in chosen:
        if counts_rows(table[name]):
            found = (
                f"column {name!r} counts the rows, and tells the label where they are sorted by it"
            )
            warnings.warn(f"{path}: {found}; data.features=[…] leaves it out", stacklevel=2)
    return chosen


def _ways_in(table: Table, left_out: list[str]) -> str:
    """How columns that are not numeric can become features, and the first cell that keeps a column
    of dates from it."""
    dates = [name for name in left_out if days_of(table[name]) is not None]
    wrong = {
        name: said
        for name in left_out
        if name not in dates and (said := first_no_date(table[name])) is not None
    }
    words = [n for n in left_out if n not in dates and n not in wrong and _repeats(table[n])]
    hint = ""
    if dates:
        hint += f"; data.features=[…] takes a date as a number ({listed_columns(dates)})"
    for name, said in wrong.items():
        hint += f"; data.features=[…] takes {name!r} when each row has a date such as 2022-12-08,"
        hint += f" but {said}"
    if words:
        hint += f"; data.one_hot=[…] makes features of text ({listed_columns(words)})"
    return hint


def _warn_of_joined_arrays(path: object, table: Table, chosen: list[str]) -> None:
    """Warn of numbers beside arrays of several dimensions, which become flat with them: beside
    images they often are other labels.
    """
    shaped = [name for name in chosen if table[name].ndim > 2]
    if not shaped or len(chosen) == 1:
        return
    others = [name for name in chosen if table[name].ndim != 4]
    if len(others) < len(chosen) and others:
        found = (
            f"{listed_columns(others)}: numbers beside images are features, too, and the"
            " images become flat; data.features=[…] leaves them out"
        )
    else:
        first, total = shaped[0], sum(table[name][0].size for name in chosen)
        found = (
            f"{listed_columns(chosen)} are joined into {total} features, in which {first} loses its"
            f" shape {list(table[first].shape[1:])}; data.features=[{first}] keeps it"
        )
    warnings.warn(f"{path}: {found}", stacklevel=3)


def _is_marked(column: Column) -> bool:
    """Whether the first rows hold numbers with marks of thousands, of a currency or of percent."""
    first = column[:20] if column.ndim == 1 else column[:0]
    return len(first) > 0 and all(
        isinstance(cell, str) and _MARKED.fullmatch(cell) for cell in first
    )


def _warn_of_unnamed(path: object, unnamed: list[str]) -> None:
    if not unnamed:
        return
    what = (
        "a column that has no name"
        if len(unnamed) == 1
        else f"{len(unnamed)} columns that have no name"
    )
    verb = "is" if len(unnamed) == 1 else "are"
    it = "it" if len(unnamed) == 1 else "them"
    hint = f"data.features=[…] takes {it} in ({listed_columns(unnamed)})"
    warnings.warn(f"{path}: {what}, most often a row number, {verb} left out; {hint}", stacklevel=2)


def require_present(path: object, table: Table, chosen: Iterable[str]) -> None:
    """Refuse the first missing value of the features, by its row and column."""
    for name in chosen:
        missing_S = missing_of(table[name])
        if missing_S.any():
            ways = _ways_out(table[name], missing_S)
            valid = (
                f"has no value in row {int(np.argmax(missing_S))} (counted from 0) of column"
                f" {name!r}; {ways}"
            )
            raise ConfigError("path", path, valid)


def _ways_out(column: Column, missing_S: npt.NDArray[np.bool_]) -> str:
    """What can be done about the missing values of a column; of an array ``[S, …]`` only what
    leaves a row, and finds a mean for every place."""
    drops, fills = "data.missing=drop leaves such rows out", "data.missing=mean fills them up"
    if not _is_array(column):
        return f"{drops}, and {fills}"
    ways = [] if missing_S.all() else [drops]
    ways += [] if np.isnan(column).all(axis=0).any() else [fills]
    return "; ".join([*ways, f"{'or ' * bool(ways)}{IN_ARRAY}"])


def _is_array(column: Column) -> bool:
    """Whether a column has several numbers in a row, of which data.features can choose none."""
    return column.size > len(column)


def without_missing(
    path: object, table: Table, used: Iterable[str], test: Ints | None
) -> tuple[Table, Ints | None]:
    """The table and the rows of its own test set (None: it has none), without the rows in which a
    column of ``used`` has no value. A warning says how many these are.

    Raises ``ConfigError`` if no row is left, or none of the test set.
    """
    gone_by = {name: missing_of(table[name]) for name in used}
    gone_S = np.any(list(gone_by.values()), axis=0)
    if not gone_S.any():
        return table, test
    worst = max(gone_by, key=lambda name: int(gone_by[name].sum()))
    if gone_S.all() or (test is not None and gone_S[test].all()):
        of_test = "" if gone_S.all() else " of its test set"
        hint = IN_ARRAY if _is_array(table[worst]) else "data.features=[…] can leave it out"
        valid = (
            f"would leave no row{of_test} of {path}; column {worst!r} has no value in"
            f" {int(gone_by[worst].sum())} of {len(gone_S)} rows; {hint}"
        )
        raise ConfigError("missing", "drop", valid)
    columns = [name for name in gone_by if gone_by[name].any()]
    warnings.warn(
        f"{path}: {int(gone_S.sum())} of {len(gone_S)} rows are left out, as they have no value in"
        f" {listed_columns(columns)}",
        stacklevel=2,
    )
    if test is not None:
        of_test_S = np.zeros(len(gone_S), np.bool_)
        of_test_S[test] = True
        test = np.flatnonzero(of_test_S[~gone_S])
    kept = copy.copy(table)
    kept.update((name, column[~gone_S]) for name, column in table.items())
    return kept, test
