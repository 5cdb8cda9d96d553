"""Code that a run folder names: refused while a command works on a folder that this user's own command did not write.

Two settings make a process run code that is not in this package: ``plugins``, whose modules are imported, and
``engine.address``, since whoever runs a Ray cluster runs code in its drivers. A config of the user's own command may name
both. A config that came with a folder may not, unless the folder is trusted (:mod:`swarm.study.trust`). So whoever reads a
folder's config works inside :func:`refused`, and whoever is about to run such code asks :func:`require_own` first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from swarm.errors import ConfigError

_why: ContextVar[str | None] = ContextVar("why foreign code is refused", default=None)
_typed: ContextVar[Collection[object]] = ContextVar("values that the user has typed beside the folder", default=())


@contextmanager
def refused(why: str, typed: Collection[object] = ()) -> Iterator[None]:
    """Within this block :func:`require_own` raises, with ``why``, for every value that is not one of ``typed``."""
    before = _why.set(why), _typed.set(typed)
    try:
        yield
    finally:
        _why.reset(before[0])
        _typed.reset(before[1])


def require_own(key: str, value: object) -> None:
    """Raises :class:`ConfigError` with the reason given to :func:`refused`, where this is inside of it."""
    why = _why.get()
    if why is not None and value not in _typed.get():
        raise ConfigError(key, value, why)
