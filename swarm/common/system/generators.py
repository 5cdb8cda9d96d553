"""Looks at the random generators that all code of a process shares. This package never draws from
them.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
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


class Watch:
    """Looks at the states again and again, and says which of them has changed in between."""

    def __init__(self) -> None:
        self.last = states()

    def changed(self) -> str | None:
        """The owner of a generator that has changed since the last look; None if none has."""
        before, now = self.last, states()
        self.last = before | now
        return next((name for name in now if now[name] != before.get(name)), None)

    def forgiving(self) -> Any:
        """A trace function for a call that may change them; what has changed before stays seen."""
        begun = states()

        def leaving(frame: FrameType, event: str, _: Any) -> Any:
            if event == "return":
                seen = {name for name, at in self.last.items() if begun.get(name) != at}
                self.last |= {name: at for name, at in states().items() if name not in seen}
            return leaving

        return leaving


def draws_for_nobody(frame: FrameType) -> bool:
    """Whether ``frame`` begins to read from a torch DataLoader without worker processes. It draws
    the seed of such processes from the global generator even where it does not shuffle, and then
    nobody uses it."""
    code, module = frame.f_code.co_name, frame.f_globals.get("__name__")
    if code != "__init__" or module != "torch.utils.data.dataloader":
        return False
    return getattr(frame.f_locals.get("loader"), "num_workers", None) == 0
