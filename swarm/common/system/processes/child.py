"""A forked copy of this process that works beside it on another core.

What the child finds, it sends as messages that JSON can hold. Nothing depends on it: a child that
dies or hangs only means that its work is done here, later.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import select
import signal
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from swarm.common.system.interrupts import ENDING
from swarm.common.system.machine import cores

PATIENCE_S = 60.0  # a child that does nothing for so long hangs
POLL_S = 0.25
_PDEATHSIG = 1  # of prctl
# what parent and child share: the format of each number, and its place
_BEATS, _SLOWEST, _AWAITED, _ASKED = ("<q", 0), ("<d", 8), ("<?", 16), ("<?", 17)


def spare_cores() -> int:
    """The cores that children may keep busy beside this process; 0 where it should not be forked.

    ``OMP_NUM_THREADS`` limits them, as it limits threads. A fork copies the calling thread alone:
    a lock that another one holds would stay locked for ever, so there must be no other. A child
    that ends with this process, however that ends, is something that only Linux has.
    """
    if not sys.platform.startswith("linux") or not _only_thread():
        return 0
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    most = int(allowed) if allowed.isdecimal() else cores()
    return max(0, min(most, cores()) - 1)


def _only_thread() -> bool:
    return threading.active_count() == 1


class Parent:
    """The parent as its child sees it."""

    def __init__(self, pipe: int, shared: mmap.mmap) -> None:
        self._pipe, self._shared = pipe, shared
        self._beats, self._last = 0, time.monotonic()

    def send(self, message: Any) -> None:
        """Send a message that JSON can hold."""
        line = json.dumps(message).encode() + b"\n"
        while line:
            line = line[os.write(self._pipe, line) :]

    def beat(self) -> None:
        """Tell the parent that the work gets on; to be called often."""
        now, self._beats = time.monotonic(), self._beats + 1
        slowest = max(_read(self._shared, _SLOWEST), now - self._last)
        self._last = now
        _write(self._shared, _SLOWEST, slowest)
        _write(self._shared, _BEATS, self._beats)

    @property
    def waits(self) -> bool:
        """Whether the parent has nothing to do but wait for this child."""
        return bool(_read(self._shared, _AWAITED))

    @property
    def asked(self) -> bool:
        """Whether the parent has asked for what the child waits with."""
        return bool(_read(self._shared, _ASKED))


class Child:
    """A forked copy of this process that does ``work``, and then ends.

    It does not outlive this process, nor the thread that made it, and leaves Ctrl-C to it.
    ``OSError`` means that no process could be made.
    """

    def __init__(self, work: Callable[[Parent], object]) -> None:
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._read, write = os.pipe()
        self._rest = b""
        for stream in (sys.stdout, sys.stderr):  # or the child would write it once more
            stream.flush()
        parent = os.getpid()
        # A signal in the child's first moment would raise in its copy of what this process does.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self.pid: int | None = None
        try:
            with warnings.catch_warnings():
                # Python warns of any other thread. Those that are left wait for work of torch's.
                warnings.simplefilter("ignore", DeprecationWarning)
                self.pid = os.fork()
            if self.pid == 0:
                _child(parent, work, Parent(write, self._shared), blocked)
        finally:
            os.close(write)
            if self.pid is None:
                os.close(self._read)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def receive(self, meanwhile: Callable[[], object] = lambda: None) -> Any:
        """The next message; None if none will come, as the child has died or hangs.

        ``meanwhile`` is called several times a second while there is none.
        """
        silent, before = 0.0, -1
        _write(self._shared, _AWAITED, True)
        try:
            while self.pid is not None and b"\n" not in self._rest:
                if select.select([self._read], [], [], POLL_S)[0]:
                    self._take()
                    continue
                meanwhile()
                beats = int(_read(self._shared, _BEATS))
                # counted in looks, so that the time in which both are stopped is not counted
                silent, before = (0.0 if beats != before else silent + POLL_S), beats
                if silent > max(PATIENCE_S, 10 * _read(self._shared, _SLOWEST)):
                    self.end()
        finally:
            _write(self._shared, _AWAITED, False)
        line, found, self._rest = self._rest.partition(b"\n")
        return json.loads(line) if found else None

    def ask(self) -> None:
        """Ask for what the child waits with."""
        _write(self._shared, _ASKED, True)

    def _take(self) -> None:
        data = os.read(self._read, 1 << 16)
        self._rest += data
        if not data:
            self.end()

    def end(self) -> None:
        """End the child, whatever it does."""
        pid, self.pid = self.pid, None
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(self._read)


def _read(shared: mmap.mmap, what: tuple[str, int]) -> Any:
    return struct.unpack_from(what[0], shared, what[1])[0]


def _write(shared: mmap.mmap, what: tuple[str, int], value: float) -> None:
    struct.pack_into(what[0], shared, what[1], value)


def _child(
    parent: int, work: Callable[[Parent], object], teller: Parent, signals: set[int]
) -> None:
    """Everything that the child does; it never returns into what its copy of the stack would do."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # which may have died before the line above
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            with suppress(OSError):  # if memory runs out, the child goes first
                Path("/proc/self/oom_score_adj").write_text("1000")
            gc.freeze()  # or a search for garbage would copy every page that both share
            work(teller)
            sys.stdout.flush()
            code = 0
    finally:
        os._exit(code)
