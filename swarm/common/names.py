"""Names of owners, nodes, devices and classes: a name has one form and names have one order,
whatever file they were read from.
"""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from swarm.common.errors import meant

Names = tuple[str, ...]
Maybe = tuple[str | None, ...]  # None stands for a thing without a name

LONGEST = 256  # characters of a name
# a summary lists at most this many names; graph.json and devices.parquet have all of them
FEW = 1000
_NUMBER = re.compile(r"([+-]?)0*([0-9]+)(?:\.0*)?", re.ASCII)


def canonical(value: object) -> str:
    """Return the name that ``value`` stands for: ``2``, ``2.0``, ``"2"``, ``" 2"``, ``"02"`` and
    NumPy's 2 are all ``"2"``.

    A CSV reader makes 2 of all of these, so without this one table would be two experiments in two
    file formats. Other text is trimmed and put into Unicode's form C, in which an accented letter
    has one spelling.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        value = int(value)
    text = unicodedata.normalize("NFC", str(value)).strip()
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    sign, digits = number.groups()
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def is_number(name: str) -> bool:
    """Whether a name is a whole number."""
    return _NUMBER.fullmatch(name) is not None


def ordered(names: Iterable[str]) -> list[str]:
    """Sort canonical names: by value if all are whole numbers, else as text."""
    found = list(names)
    return sorted(found, key=int) if all(map(is_number, found)) else sorted(found)


def coded(column: npt.NDArray[np.generic], what: str) -> tuple[npt.NDArray[np.int64], Names]:
    """Replace the values ``[S]`` of a column by codes: each value's index among the distinct names,
    ``[S]``, and the names in order.

    No value may be missing. If two texts turn out to be one name, a warning says so, in which
    ``what`` names the column. Raises ``ValueError`` for values that are not text or whole numbers,
    and with the row of a name that is empty or too long.
    """
    import pandas as pd  # most runs have no names, and it takes a quarter of a second

    try:
        raw_S, found = pd.factorize(column)
    except TypeError:
        raise ValueError(
            f"has {type(column[0]).__name__} values; names must be text or whole numbers"
        ) from None
    names = [canonical(value) for value in found]
    for place, name in enumerate(names):
        if not 0 < len(name) <= LONGEST:
            row = int(np.flatnonzero(raw_S == place)[0])
            long = f"has {len(name):,} characters; a name has at most {LONGEST}"
            raise ValueError(
                f"row {row} (counted from 0)"
                f" {long if name else 'is empty; every row needs a value'}"
            )
    _warn_of_spellings(found, names, what)
    order = ordered(set(names))
    place_of = {name: place for place, name in enumerate(order)}
    return np.array([place_of[name] for name in names], np.int64)[raw_S], tuple(order)


def _warn_of_spellings(found: Iterable[object], names: Sequence[str], what: str) -> None:
    """Warn of two texts that are one name: most likely one was meant, but a user who meant two has
    to know.
    """
    first: dict[str, str] = {}
    for value, name in zip(found, names, strict=True):
        if isinstance(value, str) and first.setdefault(name, value) != value:
            warnings.warn(
                f"{what}: {first[name][:40]!r} and {value[:40]!r} are taken for one name,"
                f" {name[:40]}",
                stacklevel=4,
            )
            return


def finder(names: Sequence[str | None] | None, count: int) -> Callable[[object], int | None]:
    """Return a function that finds which of ``count`` things is meant, by its name or its number.

    Numbers count from 0, and are only understood if no name is a whole number. So a number never
    means two things: among classes called 1, 2 and 3, ``2`` is the one of that name. The function
    returns the number of the thing, or None if there is no such thing.
    """
    place_of = {name: place for place, name in enumerate(names or ()) if name is not None}
    numbered = not any(map(is_number, place_of))

    def find(wanted: object) -> int | None:
        name = canonical(wanted)
        if name in place_of:
            return place_of[name]
        plain = numbered and name.isascii() and name.isdigit() and len(name) < 19
        return int(name) if plain and int(name) < count else None

    return find


def choices(
    names: Sequence[str | None] | None,
    count: int,
    wanted: object = "",
    there: Sequence[int] | None = None,
) -> str:
    """List for a message what :func:`finder` understands: ``lie, run, sit, walk, or 0 to 3``.

    If ``wanted`` is spelt much like one of the names, the text asks whether that name was meant.
    ``there`` has the numbers that may be chosen, ascending (None: all).
    """
    numbers = _numbers(range(max(count, 1)) if there is None else there)
    asked = None if there is None else set(there)
    given = [
        name
        for i, name in enumerate(names or ())
        if name is not None and (asked is None or i in asked)
    ]
    if not given:
        return numbers
    return (
        listed(given)
        + ("" if any(map(is_number, given)) else f", or {numbers}")
        + meant(wanted, given)
    )


def _numbers(there: Sequence[int]) -> str:
    whole = there[-1] - there[0] == len(there) - 1 > 0
    return f"{there[0]} to {there[-1]}" if whole else listed([str(number) for number in there])


def telling(names: Maybe | None) -> Maybe | None:
    """Return ``names`` if they say more than the numbers 0, 1, … of the things; else None."""
    return (
        None
        if names is None or all(name in (None, str(i)) for i, name in enumerate(names))
        else names
    )


def few(names: Maybe | None) -> list[str | None]:
    """Return the :func:`telling` names for a file that should stay small: an empty list if there
    are none, or more than ``FEW``.
    """
    found = telling(names)
    return list(found) if found is not None and len(found) <= FEW else []


def listed(names: Sequence[str], most: int = 8) -> str:
    """Join names for a message: ``adam, liu, mia``; after the first ``most`` names it says how many
    more there are.
    """
    shown = [name if len(name) <= 40 else name[:39] + "…" for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def titled(device: int, name: str | None) -> str:
    """Write a device for a message: ``device 7 (zoe)``, or ``device 7`` if it has no name."""
    return f"device {device}" + (f" ({name})" if name else "")


def name_or_number(names: Sequence[str | None] | None, wanted: int | str) -> str:
    """Return the name of the thing that :func:`finder` finds for ``wanted``; ``wanted`` itself if
    nothing is found or it has no name.
    """
    found = finder(names, len(names or ()))(wanted)
    return str(wanted if found is None else named(names, found) or wanted)


def named(names: Sequence[str | None] | None, device: int) -> str | None:
    """Return the name of a device, or None if it has none."""
    return names[device] if names is not None and device < len(names) else None
