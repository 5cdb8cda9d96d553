"""What a metric and its columns say of themselves, held against the words that are known: another
one would have no effect, or another one than is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, get_args

from swarm.common.errors import meant
from swarm.simulation.metrics.column import PARTS, Column, Direction, Main, Surface

_ONE: dict[str, tuple[str, ...]] = {
    "better": get_args(Direction),
    "main": get_args(Main),
    "target_kind": ("classes", "numbers"),
}
_SEVERAL: dict[str, tuple[str, ...]] = {"surfaces": get_args(Surface), "on_page": PARTS}
_OF_COLUMN: dict[str, tuple[str, ...]] = {"shown": get_args(Surface)}
_TEXTS = ("unit", "head", "label")


def unknown_word(metric: object, columns: Iterable[Column] = ()) -> str | None:
    """What is wrong with a word that a metric or one of its ``columns`` says of itself, as the end
    of a sentence; None where all of them are known."""
    own = _wrong(metric, "its", _SEVERAL)
    theirs = (_wrong(column, f"its column {column.key}'s", _OF_COLUMN) for column in columns)
    return next(chain(own, *theirs), None)


def _wrong(thing: Any, whose: str, several: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for name, known in _ONE.items():
        value = getattr(thing, name, None)
        if value is not None and value not in known:
            valid = f"must be {', '.join(known)} or None{meant(value, known)}"
            yield f"{whose} {name} is {value!r}; it {valid}"
    for name, known in several.items():
        values = getattr(thing, name, None)
        if values is None:
            continue
        if isinstance(values, str) or not isinstance(values, Iterable):
            valid = f"must be a tuple such as {known[:1]}, of {', '.join(known)}"
            yield f"{whose} {name} is {values!r}; it {valid}"
            continue
        for value in values:
            if value not in known:
                valid = f"valid: {', '.join(known)}{meant(value, known)}"
                yield f"{value!r} of {whose} {name} is unknown; {valid}"
    for name in _TEXTS:
        value = getattr(thing, name, "")
        if not isinstance(value, str):
            yield f"{whose} {name} is {value!r}; it must be a text"
