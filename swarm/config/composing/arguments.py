"""The arguments of a plug-in: the parameters of its signature, and whether a value fits them."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from swarm.common.errors import ConfigError
from swarm.common.ranges import ordinary
from swarm.config.explain import must_be, shown

TARGET = "_target_"
MISSING = inspect.Parameter.empty  # the annotation of a parameter that has none


@cache
def _signature(found: Any) -> inspect.Signature:
    return inspect.signature(found)


def parameters(found: Any) -> tuple[dict[str, Any], bool]:
    """Return each parameter's annotation (or ``MISSING``) by name, and whether any other key is
    taken (``**kwargs``).

    Raises :class:`ConfigError` for annotations that cannot be read.
    """
    known, found_parameters, open_ended = hints(found), {}, False
    for name, parameter in _signature(found).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            found_parameters[name] = known.get(name, MISSING)
    return found_parameters, open_ended


def defaults(found: Any) -> set[str]:
    """Return the names of the parameters that have a default."""
    return {name for name, p in _signature(found).parameters.items() if p.default is not MISSING}


@cache
def hints(found: Any) -> dict[str, Any]:
    """Return the resolved annotations of a call: those of a function, or of a class's ``__init__``
    and, for a dataclass, of its fields.

    Raises :class:`ConfigError` for annotations that cannot be read.
    """
    try:
        if isinstance(found, type):
            fields = get_type_hints(found, include_extras=True) if is_dataclass(found) else {}
            return fields | get_type_hints(found.__init__, include_extras=True)  # type: ignore[misc]
        return get_type_hints(found, include_extras=True)
    except NameError as error:
        text = f"its annotations name {error.name}, which the module does not import"
        raise ConfigError(TARGET, f"{found.__module__}.{found.__qualname__}", text) from error
    except Exception as error:  # an annotation is an expression, which can raise any error
        text = f"its annotations cannot be read: {type(error).__name__}: {shown(error)}"
        raise ConfigError(TARGET, f"{found.__module__}.{found.__qualname__}", text) from error


def fit(
    value: Any, annotation: Any, key: str, make: Callable[[Mapping[str, Any], type, str], Any]
) -> Any:
    """Return ``value`` as the type ``annotation``: JSON types are checked strictly, and lists
    become tuples where the type is a tuple.

    A nested section with a ``_target_`` is built by ``make(section, class, key)``.

    Raises :class:`ConfigError` on ``key`` for a value that does not fit, and TypeError for a nested
    section whose annotation allows several classes.
    """
    if annotation is MISSING:
        ordinary(key, value)
        return value
    if isinstance(value, Mapping) and TARGET in value and (classes := _classes(annotation)):
        if len(classes) > 1:
            raise TypeError(f"{key}: a nested section fits one class, not {classes}")
        return make(value, classes[0], key)
    if isinstance(value, list) and any(isinstance(v, Mapping) and TARGET in v for v in value):
        item = _item(annotation)
        if item is not None and _classes(item):
            made = [fit(v, item, f"{key}.{i}", make) for i, v in enumerate(value)]
            return tuple(made) if get_origin(annotation) is tuple else made
    try:
        fitted = _adapter(annotation).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError, ValueError) as error:
        raise ConfigError(key, shown(value), must_be(annotation, value)) from error
    ordinary(key, fitted)
    return fitted


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    # JSON never gives an arbitrary type; they are allowed for annotations such as "Path | Foo"
    try:
        return TypeAdapter(
            annotation, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
        )
    except Exception:  # pydantic models and dataclasses bring their own config
        return TypeAdapter(annotation)


def _classes(annotation: Any) -> list[type]:
    """The classes in an annotation that a nested section can describe, without the plain types that
    YAML itself has.
    """
    if get_origin(annotation) in (Union, types.UnionType):
        return [c for a in get_args(annotation) for c in _classes(a)]
    annotation = get_origin(annotation) or annotation
    plain = annotation in (object, type(None)) or not isinstance(annotation, type)
    known = (str, int, float, bool, Mapping, Sequence, set, frozenset, Path)
    return (
        []
        if plain or issubclass(annotation, known) or annotation.__module__ == "collections.abc"
        else [annotation]
    )


def _item(annotation: Any) -> Any:
    """The type X of ``list[X]``, ``Sequence[X]`` or ``tuple[X, ...]``, also within a union; else
    None.
    """
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for a in get_args(annotation) if (found := _item(a)) is not None), None)
    origin, arguments = (
        get_origin(annotation),
        [a for a in get_args(annotation) if a is not Ellipsis],
    )
    listed = isinstance(origin, type) and issubclass(origin, Sequence) and len(arguments) == 1
    return arguments[0] if listed else None
