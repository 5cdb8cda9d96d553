"""The guard against code that a run folder names, while a command works on a folder that no command
of this user's has written.

Two settings make a process run code that is not in this package: ``plugins``, whose modules are
imported, and ``engine.address``, since whoever runs a Ray cluster can run code in its drivers. The
user's own command may set both. A config that came with a folder may not, unless the folder is
trusted (:mod:`swarm.results.trust`). So the config of a folder is read inside :func:`refused`, and
the places that are about to run such code call :func:`require_own` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from swarm.common.errors import ConfigError

# These are context variables and not parameters. A parameter would stand in every signature between
# a folder and the places that build plug-ins (more than twenty, also in the runs of a claim), and
# one call without it would run the code.
_why: ContextVar[str | None] = ContextVar("why foreign code is refused", default=None)
_typed: ContextVar[Mapping[str, object]] = ContextVar(
    "settings that the user has typed beside the folder", default=MappingProxyType({})
)


@contextmanager
def refused(why: str, typed: Mapping[str, object] | None = None) -> Iterator[None]:
    """A context in which :func:`require_own` raises, with the reason ``why``, for every setting
    that is not in ``typed`` with the same key and value.
    """
    before = _why.set(why), _typed.set(typed or {})
    try:
        yield
    finally:
        _why.reset(before[0])
        _typed.reset(before[1])


def require_own(key: str, value: object) -> None:
    """Allow the code that the setting ``key`` names with ``value``, unless it is refused.

    Raises :class:`ConfigError` inside a :func:`refused` block, with the reason given there, unless
    the user has typed this setting.
    """
    why = _why.get()
    typed = _typed.get()
    name = key.removeprefix("/")
    if why is not None and not (name in typed and typed[name] == value):
        raise ConfigError(key, value, why)
