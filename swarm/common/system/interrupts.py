"""Ctrl-C and SIGTERM: both end a run in the same way, and neither disturbs what is being cleared
away.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def terminable() -> Iterator[list[int]]:
    """While the block lasts SIGTERM is a :class:`KeyboardInterrupt`, as Ctrl-C is; the list says
    afterwards whether it came.

    A program that has its own way with SIGTERM keeps it.
    """
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    if not _main() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield came
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """While the block lasts neither Ctrl-C nor SIGTERM does anything: for clearing away, which must
    not be left half done.

    A handler that does nothing, not ``SIG_IGN``: that one would be inherited by every process that
    is started meanwhile.
    """
    if not _main():  # handlers are the main thread's
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()
