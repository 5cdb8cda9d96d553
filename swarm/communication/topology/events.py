"""Reads CSV files of events in time, which need not be trusted, and finds the events' rounds."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import LARGEST
from swarm.communication.topology.graph import Floats, Ints
from swarm.communication.topology.readers.formats import read_capped
from swarm.communication.topology.readers.parsed import text_of

T = TypeVar("T")
_LOOKED_AT = 1000  # lines of a file without a heading in which the time is looked for


def read_events(
    path: str | None,
    kind: str,
    columns: Sequence[str],
    parse: Callable[..., T],
    max_mib: float,
    most: tuple[str, int],
    optional: Sequence[str] = (),
    published: bool = False,
) -> list[T]:
    """Return the results of ``parse`` for all lines of the CSV file at ``path``.

    ``parse`` gets the fields of ``columns``, then those of the ``optional`` columns that the
    heading has, whatever their order in the file. With ``published`` the file may also have no
    heading, but a number in front and tabs or blanks between the fields, the first of which are the
    ``columns``; further fields are not used. ``kind`` says in messages what the file is,
    ``max_mib`` bounds its size, and ``most`` is the name of an option and the number of lines that
    it allows.

    Raises ``ConfigError`` on ``path`` that says what is wrong in which line, also for a
    ``ValueError`` of ``parse``, and on an option that is not above 0.
    """
    for key, cap in (("max_mib", max_mib), most):
        if not 0.0 < cap < math.inf:
            raise ConfigError(key, cap, "must be a finite number above 0")
    if not path:
        raise ConfigError(
            "path", path, f"must name a CSV file with the columns {_listed(columns, optional)}"
        )
    data = read_capped(path, max_mib)
    try:
        text = text_of(data)
        if published and (separator := _headless(text, len(columns))) is not None:
            _require_time_in_front(text)
            return _parsed_headless(text, separator, len(columns), parse, most)
        return _parsed(text, columns, parse, most, optional)
    except ValueError as error:
        raise ConfigError("path", path, f"cannot be read as {kind}: {error}") from None


def _headless(text: str, columns: int) -> str | None:
    """What separates the fields of a file without a heading: a tab, or an empty text for blanks;
    None if the file seems to have a heading.
    """
    first = next((line for line in map(str.strip, text.split("\n", 20)) if line), "")
    row = first.split()
    if "," in first or len(row) < columns or not row[0].replace(".", "", 1).isdecimal():
        return None
    return "\t" if first.count("\t") >= columns - 1 else ""


def _require_time_in_front(text: str) -> None:
    """Refuse a file without a heading whose lines are in the order of their third field, and not of
    their first, as SNAP's ``from to time`` are.
    """
    rows = [line.split()[:3] for line in text.splitlines()[:_LOOKED_AT] if line.strip()]
    try:
        first, third = ([float(row[i]) for row in rows] for i in (0, 2))
    except (ValueError, IndexError):
        return  # which is refused by its line, or has names
    if first != sorted(first) and third == sorted(third) and third[0] < third[-1]:
        raise ValueError(
            "without a heading the first field must be the time, and here the third one rises; a"
            " first line such as a,b,time, with commas, says which is which"
        )


def _parsed_headless(
    text: str, separator: str, columns: int, parse: Callable[..., T], most: tuple[str, int]
) -> list[T]:
    found: list[T] = []
    fields = 0
    for number, line in enumerate(text.splitlines(), 1):
        row = line.split(separator or None)
        if not line.strip():
            continue
        try:
            if len(found) >= most[1]:
                raise ValueError(f"more than {most[0]}={most[1]} lines")
            fields = fields or len(row)
            if len(row) != fields:
                raise ValueError(f"has {len(row)} fields, the first line {fields}")
            found.append(parse(*(field.strip() for field in row[:columns])))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return found


def _parsed(
    text: str,
    columns: Sequence[str],
    parse: Callable[..., T],
    most: tuple[str, int],
    optional: Sequence[str],
) -> list[T]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: list[T] = []
    place: list[int] = []
    try:
        heading = [name.strip().lower() for name in next((row for row in lines if any(row)), [])]
        place = _places(heading, columns, optional)
        for row in lines:
            if not any(row):
                continue
            if len(found) >= most[1]:
                raise ValueError(f"more than {most[0]}={most[1]} lines")
            if len(row) != len(heading):
                raise ValueError(f"has {len(row)} fields, the heading {len(heading)}")
            found.append(parse(*(row[i].strip() for i in place)))
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num}: not CSV ({error})") from None
    except ValueError as error:
        raise ValueError(f"line {lines.line_num}: {error}" if place else str(error)) from None
    if not found:
        raise ValueError("there is no line below the heading")
    return found


def _places(heading: list[str], columns: Sequence[str], optional: Sequence[str]) -> list[int]:
    """The positions of the columns in a line, in the order in which they are parsed."""
    valid = f"the columns are {_listed(columns, optional)}"
    for name in heading:
        if name not in (*columns, *optional):
            raise ValueError(f"unknown column {name[:40]!r} in the heading; {valid}")
        if heading.count(name) > 1:
            raise ValueError(f"the column {name!r} is there twice in the heading; {valid}")
    for name in columns:
        if name not in heading:
            raise ValueError(f"the column {name!r} is missing in the heading; {valid}")
    return [heading.index(name) for name in (*columns, *optional) if name in heading]


def _listed(columns: Sequence[str], optional: Sequence[str]) -> str:
    """``time, a, b and perhaps end``."""
    return ", ".join(columns) + "".join(f" and perhaps {name}" for name in optional)


def seconds_of(text: str, column: str) -> float:
    """Read a time in virtual seconds.

    Raises ``ValueError``, which names ``column``, unless it is a finite number of at least 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= LARGEST:
        bounds = f"at least 0 (and at most {LARGEST:g})"
        raise ValueError(f"{column} {text[:40]!r} must be a finite number of seconds, {bounds}")
    return value


def lengths(seconds: npt.ArrayLike, length: float) -> Floats:
    """Return ``seconds`` / ``length``, rounded to a whole number if it is within 1e-6 of one: 0.3 s
    are three ticks of 0.1 s, not 2.9999999999999996.
    """
    value = np.asarray(seconds, np.float64) / length
    whole = np.rint(value)
    return np.where(np.abs(value - whole) < 1e-6, whole, value)


def first_rounds(seconds: npt.ArrayLike, length: float) -> Ints:
    """Return the first round (from 1) that begins at each of these times or later.

    ``length`` is the duration of a round in virtual seconds. Rounds above 2⁴⁰, which no run
    reaches, are all given as 2⁴⁰ + 1.
    """
    return np.minimum(np.ceil(lengths(seconds, length)), 2.0**40).astype(np.int64) + 1
