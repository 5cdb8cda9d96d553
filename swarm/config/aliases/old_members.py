"""Members of classes under the names of earlier versions: plug-ins that use them go on working.

The section ``members`` of ``old_names.yaml`` lists them: for each of our classes the old name of
a method, field or flag, and the name of today. A dot leads into a field: a flag of a protocol is a
field of its ``requirements``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import wraps
from operator import attrgetter
from types import FunctionType
from typing import Any, TypeVar

from swarm.config import aliases

T = TypeVar("T", bound=type)


class OldMembers:
    """Base of the classes that plug-ins derive from or are handed.

    A subclass that defines a member under its old name defines it under today's; a member that is
    read or set under its old name is today's. Both give a ``DeprecationWarning``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for old, new in _renamed(cls).items():
            if old in vars(cls):
                _warn(cls, old, new)
                _define(cls, new, vars(cls)[old])
            # one for each class, so that super() finds the method of the class it asks
            setattr(cls, old, OldMember(cls, old, new))


class OldMember:
    """Stands in a class under the old name of a member, and hands on today's."""

    def __init__(self, owner: type, old: str, new: str) -> None:
        self.owner, self.old, self.new = owner, old, new

    def __get__(self, instance: Any, kind: type | None = None) -> Any:
        _warn(self.owner, self.old, self.new)
        method = getattr(self.owner, self.new, None) if "." not in self.new else None
        if isinstance(method, FunctionType):
            return method if instance is None else method.__get__(instance, kind)
        return attrgetter(self.new)(kind if instance is None else instance)

    def __set__(self, instance: Any, value: Any) -> None:
        _warn(self.owner, self.old, self.new)
        _define(instance, self.new, value)


def old_keywords(cls: T) -> T:
    """Let the constructor of a dataclass take its fields under their old names."""
    init, names = cls.__init__, _renamed(cls)  # type: ignore[misc]

    @wraps(init)
    def with_old_names(self: Any, *values: Any, **named: Any) -> None:
        for old in names.keys() & named.keys():
            _warn(cls, old, names[old])
            named[names[old]] = named.pop(old)
        init(self, *values, **named)

    cls.__init__ = with_old_names  # type: ignore[misc]
    return cls


def _renamed(cls: type) -> Mapping[str, str]:
    """The old names of the members of ``cls`` and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= aliases.members(f"{base.__module__}.{base.__qualname__}")
    return found


def _define(where: Any, new: str, value: Any) -> None:
    """Set a member of a class or of an object; one inside a dataclass by a copy of that."""
    name, dot, inner = new.partition(".")
    setattr(where, name, replace(getattr(where, name), **{inner: value}) if dot else value)


def _warn(cls: type, old: str, new: str) -> None:
    text = f"{cls.__module__}.{cls.__qualname__}: {old} is called {new} now"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
