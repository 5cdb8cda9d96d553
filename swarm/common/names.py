"""Names of owners, nodes, devices and classes: one form and one order, whatever file they were read
from.
"""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from swarm.common.errors import meant

Names = tuple[str, ...]
Maybe = tuple[str | None, ...]  # None: this one has no name

LONGEST = 256  # characters of a name
# names that a summary lists; graph.json and devices.parquet have those of any number of devices
FEW = 1000
_NUMBER = re.compile(r"([+-]?)0*([0-9]+)(?:\.0*)?", re.ASCII)


def canonical(value: object) -> str:
    """The name that ``value`` stands for: ``2``, ``2.0``, ``"2"``, ``" 2"``, ``"02"`` and NumPy's 2
    are all ``"2"``.

    A CSV reader makes 2 of all of these, so a table would otherwise be another experiment in
    another format. Other text is trimmed and put into Unicode's form C, in which one accented
    letter has one spelling.
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
    """Canonical names in their one order: by value if all are whole numbers, else as text."""
    found = list(names)
    return sorted(found, key=int) if all(map(is_number, found)) else sorted(found)


def coded(column: npt.NDArray[np.generic], what: str) -> tuple[npt.NDArray[np.int64], Names]:
    """Each value's place among the distinct names, ``[S]``, and the names in order.

    No value may be missing.

    ``what`` names the column in a warning where two texts turn out to be one name. Raises
    ``ValueError`` that says which row has no name, or none that can be taken.
    """
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
    """Two texts that are one name are most likely meant so; but who meant two has to hear of it."""
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
    """Finds which of ``count`` things is meant: by its name; by its number from 0 on where no name
    is a whole number.

    So a number never means two things: of classes called 1, 2 and 3, ``2`` is the one of that name.
    None: there is none.
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


def choices(names: Sequence[str | None] | None, count: int, wanted: object = "") -> str:
    """What :func:`finder` finds, for a message: ``lie, run, sit, walk, or 0 to 3``; and which name
    was probably meant where ``wanted`` is none of them."""
    given = [name for name in names or () if name is not None]
    numbers = f"0 to {count - 1}" if count > 1 else "0"
    if not given:
        return numbers
    return (
        listed(given)
        + ("" if any(map(is_number, given)) else f", or {numbers}")
        + meant(wanted, given)
    )


def telling(names: Maybe | None) -> Maybe | None:
    """The names, where they say more than the numbers 0, 1, … of what they name; else None."""
    return (
        None
        if names is None or all(name in (None, str(i)) for i, name in enumerate(names))
        else names
    )


def few(names: Maybe | None) -> list[str | None]:
    """:func:`telling` names, for a file in which many would be too many: empty where there are
    none, or more than ``FEW``.
    """
    found = telling(names)
    return list(found) if found is not None and len(found) <= FEW else []


def listed(names: Sequence[str], most: int = 8) -> str:
    """``adam, liu, mia``; of many the first ones and how many more there are."""
    shown = [name if len(name) <= 40 else name[:39] + "…" for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def titled(device: int, name: str | None) -> str:
    """``device 7 (zoe)``, or ``device 7`` where it has no name."""
    return f"device {device}" + (f" ({name})" if name else "")


def called(names: Sequence[str | None] | None, wanted: int | str) -> str:
    """What :func:`finder` finds for ``wanted``, by its name where it has one."""
    found = finder(names, len(names or ()))(wanted)
    return str(wanted if found is None else named(names, found) or wanted)


def named(names: Sequence[str | None] | None, device: int) -> str | None:
    """The name of one of the devices, or None."""
    return names[device] if names is not None and device < len(names) else None
