"""Ctrl-C and SIGTERM: both end a run in the same way, and neither interrupts its cleaning up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def terminable() -> Iterator[list[int]]:
    """A context in which SIGTERM raises :class:`KeyboardInterrupt`, as Ctrl-C does.

    It gives a list, which is empty until a SIGTERM comes and then holds the signal's number. A
    program that handles SIGTERM itself keeps its own handler.
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
    """A context in which neither Ctrl-C nor SIGTERM does anything, for cleaning up, which must not
    be left half done.

    The signals get a handler that does nothing. ``SIG_IGN`` would be inherited by every process
    that is started meanwhile.
    """
    if not _main():  # only the main thread may set signal handlers
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
