"""Looks at the random generators that all code of a process shares. This package never draws from
them.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

_SEEDED = ContextVar("seeded", default=False)


@contextmanager
def seeded_torch() -> Iterator[None]:
    """A block in which torch's generator is seeded for what is drawn there, and restored after."""
    token = _SEEDED.set(True)
    try:
        yield
    finally:
        _SEEDED.reset(token)


def states() -> dict[str, Any]:
    """The states of the global generators of the libraries that are loaded, by their owners. That
    of torch is left out where it is seeded for the moment."""
    found: dict[str, Any] = {"Python's": random.getstate()}
    if (numpy := sys.modules.get("numpy")) is not None:
        _, words, *others = numpy.random.get_state()
        found["NumPy's"] = (words.tobytes(), *others)
    if (torch := sys.modules.get("torch")) is not None and not _SEEDED.get():
        with suppress(RuntimeError):  # of a tensor without numbers, while torch counts or traces
            found["torch's"] = torch.get_rng_state().numpy().tobytes()
    return found
