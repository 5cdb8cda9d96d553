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
    """The base of all classes that plug-ins derive from or are handed.

    If a subclass defines a member under its old name, the member is defined under today's name as
    well. Reading or setting a member by its old name reads or sets today's. Both give a
    ``DeprecationWarning``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for old, new in _renamed(cls).items():
            if old in vars(cls):
                _warn(cls, old, new)
                _define(cls, new, vars(cls)[old])
            # each class has its own, so that super().OLD() calls the method of the right class
            setattr(cls, old, OldMember(cls, old, new))


class OldMember:
    """A descriptor under the old name of a member, which reads and sets today's member."""

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
    """Decorate a dataclass so that its constructor takes its fields under their old names too."""
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
    """Set a member of a class or object; a field inside a dataclass is set by replacing that
    dataclass with a changed copy.
    """
    name, dot, inner = new.partition(".")
    setattr(where, name, replace(getattr(where, name), **{inner: value}) if dot else value)


def _warn(cls: type, old: str, new: str) -> None:
    text = f"{cls.__module__}.{cls.__qualname__}: {old} is called {new} now"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
