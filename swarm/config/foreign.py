"""Code that a run folder names: refused while a command works on a folder that this user's own
command did not write.

Two settings make a process run code that is not in this package: ``plugins``, whose modules are
imported, and ``engine.address``, since whoever runs a Ray cluster runs code in its drivers. A
config of the user's own command may name both. A config that came with a folder may not, unless the
folder is trusted (:mod:`swarm.results.trust`). So whoever reads a folder's config works inside
:func:`refused`, and whoever is about to run such code asks :func:`require_own` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from swarm.common.errors import ConfigError

# These are the context's and no parameters: a parameter would stand in every signature between a
# folder and the places that build plug-ins (more than twenty, also in the runs of a claim), and one
# call that left it out would run the code.
_why: ContextVar[str | None] = ContextVar("why foreign code is refused", default=None)
_typed: ContextVar[Mapping[str, object]] = ContextVar(
    "settings that the user has typed beside the folder", default=MappingProxyType({})
)


@contextmanager
def refused(why: str, typed: Mapping[str, object] | None = None) -> Iterator[None]:
    """Within this block :func:`require_own` raises, with ``why``, for every setting that is not
    among ``typed``, by key and value."""
    before = _why.set(why), _typed.set(typed or {})
    try:
        yield
    finally:
        _why.reset(before[0])
        _typed.reset(before[1])


def require_own(key: str, value: object) -> None:
    """Raises :class:`ConfigError` with the reason given to :func:`refused`, where this is inside of
    it.
    """
    why = _why.get()
    typed = _typed.get()
    name = key.removeprefix("/")
    if why is not None and not (name in typed and typed[name] == value):
        raise ConfigError(key, value, why)
