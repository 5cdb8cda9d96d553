"""Words for error messages: what a type accepts, how a value is shown, which key was probably
meant.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from swarm.common.errors import ConfigError, counted, meant, typed, with_article
from swarm.common.ranges import LARGEST_WHOLE
from swarm.config import aliases

_LONGEST = 80
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PLAIN: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    Path: "a path",
    type(None): "null",
    Any: "any value",
}


def shown(value: object) -> str:
    """Write ``value`` as a user would type it, shortened to one line of at most 80 characters."""
    text = " ".join(typed(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def unknown(key: str, value: object, valid: Iterable[str], what: str = "key") -> ConfigError:
    """Make the error for a name that does not exist.

    It says which of the ``valid`` names is spelt much like it, and lists them all; of a name of an
    earlier version, it says what to write now. ``what`` is the kind of name: a key, an option, a
    class. The name is ``value`` for an option, else the last part of ``key``.
    """
    if (write := _write_now(key, shown(value), what)) is not None:
        new = write.partition("=")[2 if what == "option" else 0]
        return ConfigError(key, shown(value), f"is called {new} now; write {write}")
    names = sorted(valid)
    wrong = str(value) if what == "option" else key.rsplit(".", 1)[-1]
    plural = what + ("es" if what.endswith("s") else "s")
    return ConfigError(
        key,
        shown(value),
        f"no such {what}{meant(wrong, names)}; valid {plural}: {', '.join(names) or 'none'}",
    )


def _write_now(key: str, value: str, what: str) -> str | None:
    """What to write instead of a key, or an option of a group, of an earlier version; None for all
    others.
    """
    new = aliases.key(key) if what == "key" else key
    said = aliases.option(new, value)
    return f"{new}={said}" if new != key or (what == "option" and said != value) else None


def must_be(annotation: Any, value: object, described: str | None = None) -> str:
    """Say what would be valid instead of ``value``, which does not fit a type, and what was
    probably meant.

    For a closed set of words, that is the word spelt much like ``value``. A whole number that was
    typed with a point or an exponent (1e9, 3.0) is repeated without.
    """
    words = list(_words(annotation))
    given = value if isinstance(value, list | tuple) else [value]
    wrong = next((item for item in given if isinstance(item, str) and item not in words), "")
    said = f"must be {described or describe(annotation)}"
    digits = _digits(value) if "whole number" in said else value
    if digits is not value:
        return f"{said}, written without a point or an exponent (here {shown(digits)})"
    if isinstance(value, str) and " number" in said and _NUMBER.fullmatch(value):
        return f"{said}, written without quotes, which make it text"
    if isinstance(value, str | int | float) and _fits(annotation, [value]):
        return f"{said}; [{shown(value)}] is one"
    return f"{said}{meant(wrong, words)}"


def _fits(annotation: Any, value: list[Any]) -> bool:
    """Whether a list is of the type ``annotation``."""
    if annotation is None:
        return False
    try:
        TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except (PydanticUserError, ValidationError, TypeError, ValueError):
        return False
    return True


def _words(annotation: Any) -> Iterator[str]:
    """Yield the words of all ``Literal`` types within a type."""
    if get_origin(annotation) is Literal:
        yield from (word for word in get_args(annotation) if isinstance(word, str))
    else:
        for argument in get_args(annotation):
            yield from _words(argument)


def describe(annotation: Any) -> str:
    """Describe the values of type ``annotation`` as a noun phrase, with their bounds if it is
    ``Annotated``.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        text = describe(arguments[0])
        filled = any(getattr(part, "min_length", None) for part in _parts(arguments[1:]))
        return (
            text.replace("a list", "a list that is not empty", 1) if filled else text
        ) + _bounds(arguments[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(a) for a in arguments))
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(shown(a) for a in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a section"
    if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
        items = [a for a in arguments if a is not Ellipsis]
        return (
            f"a list, each item {describe(items[0])}"
            if len(items) == 1
            else f"a list of {counted(len(items), 'value')}"
        )
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if annotation in (list, tuple):
        return "a list"
    if annotation is dict:
        return "a section"
    return with_article(annotation.__name__) if inspect.isclass(annotation) else str(annotation)


def _digits(value: object) -> object:
    """``value`` with its whole floats as whole numbers; the same object if there are none."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_WHOLE:
        return int(value)
    if isinstance(value, list):
        found = [_digits(item) for item in value]
        return value if all(new is old for new, old in zip(found, value, strict=True)) else found
    return value


def _bounds(metadata: Iterable[Any]) -> str:
    """``Ge(1), Le(8)`` in words, " from 1 to 8"; other metadata is left out."""
    found: dict[str, Any] = {}
    for part in _parts(metadata):
        found |= {
            name: getattr(part, name) for name in ("ge", "gt", "le", "lt") if hasattr(part, name)
        }
    if "ge" in found and "le" in found:
        return f" from {found['ge']:,} to {found['le']:,}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    text = " and ".join(
        f"{words[name]} {limit:,}" for name, limit in found.items() if limit is not None
    )
    return f" {text}" if text else ""


def _parts(metadata: Iterable[Any]) -> Iterator[Any]:
    for item in metadata:
        # pydantic's Field(...) carries its bounds inside
        yield from getattr(item, "metadata", None) or (item,)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without empty lines and links to Hydra's pages."""
    lines = [
        line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line
    ]
    return lines[0] if lines else type(error).__name__


def unresolved(error: BaseException, values: Any) -> str:
    """Say why OmegaConf finds no value for an interpolation such as ``${sed}``; ``values`` are
    those of the whole config, as dictionaries.
    """
    line = first_line(error)
    if (found := re.search(r"Interpolation key '(.+)' not found", line)) is not None:
        keys = [key for key in leaves(values) if not key.startswith("hydra.")]
        hint = re.sub(r"mean (.+)\?", r"mean ${\1}?", meant(found[1], keys))
        return f"cannot be resolved: there is no key {found[1]}{hint}"
    if (found := re.search(r"Environment variable '(.+?)'", line)) is not None:
        name = found[1]
        default = f"${{oc.env:{name},VALUE}} names a default"
        return f"cannot be resolved: the environment has no variable {name}; {default}"
    return f"cannot be resolved: {shown(line)}"


def leaves(values: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all values in nested dictionaries."""
    if not isinstance(values, dict):
        yield prefix
        return
    for key, value in values.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
