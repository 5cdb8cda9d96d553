"""A tracker on a thread of its own, so that the run does not wait for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from swarm.common.plugin import called
from swarm.results.track.base import Tracker

MOST_WAITING = 128  # calls, each of which may have a number for each device


class NoAnswerError(TimeoutError):
    """A tracker has not got on for ``deadline_s``; errors that it raises itself are others."""


def beside(tracker: Tracker) -> Tracker:
    """``tracker`` on a thread of its own, if it says that it may be called there."""
    return tracker if tracker.deadline_s is None else Background(tracker, tracker.deadline_s)


class _Call(NamedTuple):
    make: Callable[[], object]
    always: bool = False  # also after an error of the tracker's


class Background(Tracker):
    """Hands each call to ``tracker`` on a thread of its own, in their order.

    An error of the tracker's is raised by the next call here, at the latest by :meth:`close`; calls
    that were still waiting are then left out. If one call, or one step of it (``tracker.steps``),
    takes longer than ``deadline_s``, that is an error, too. The thread is a daemon, so that it
    never keeps the process alive.
    """

    def __init__(self, tracker: Tracker, deadline_s: float) -> None:
        self.called = called(tracker)  # in messages
        self._tracker, self._deadline_s = tracker, deadline_s
        self._calls: queue.Queue[_Call | None] = queue.Queue(MOST_WAITING)
        self._error: BaseException | None = None
        self._made = 0  # calls
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=self.called, daemon=True)
        self._thread.start()

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        """See :meth:`Sink.configure`."""
        self._hand_over(lambda: self._tracker.configure(arm, config))

    def start(self, arm: str, rounds: int, done: int) -> None:
        """See :meth:`Sink.start`. An arm that is resumed goes on when the tracker is ready for it,
        as the tracker may read the arm's records of before."""
        self._hand_over(lambda: self._tracker.start(arm, rounds, done))
        if done > 0:
            ready = threading.Event()
            self._put(_Call(ready.set, always=True))
            self._wait(ready.wait)
            self._raise()

    def record(self, record: dict[str, Any]) -> None:
        """See :meth:`Sink.record`."""
        self._hand_over(lambda: self._tracker.record(record))

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """See :meth:`Sink.finish`."""
        self._hand_over(lambda: self._tracker.finish(arm, summary))

    def conclude(self, summary: dict[str, Any]) -> None:
        """See :meth:`Sink.conclude`."""
        self._hand_over(lambda: self._tracker.conclude(summary))

    def attach(self, files: Sequence[Path]) -> None:
        """See :meth:`Sink.attach`."""
        self._hand_over(lambda: self._tracker.attach(files))

    def close(self) -> None:
        """Closes the tracker after all its calls, and waits until that is done.

        Raises what the tracker raised, and :class:`NoAnswerError` if it takes too long.
        """
        if self._closed:
            return
        self._closed = True
        self._put(_Call(lambda: self._tracker.close(), always=True))
        self._put(None)
        self._wait(self._ended)
        self._raise()

    def _hand_over(self, make: Callable[[], object]) -> None:
        self._raise()
        self._put(_Call(make))

    def _put(self, call: _Call | None) -> None:
        self._wait(lambda seconds: self._fits(call, seconds))

    def _fits(self, call: _Call | None, seconds: float) -> bool:
        try:
            self._calls.put(call, timeout=seconds)
        except queue.Full:
            return False
        return True

    def _ended(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _wait(self, until: Callable[[float], bool]) -> None:
        """Wait for ``until``, which waits so many seconds, as long as the tracker gets on."""
        before = self._made, self._tracker.steps
        while not until(self._deadline_s):
            now = self._made, self._tracker.steps
            if now == before:
                raise self._late()
            before = now

    def _late(self) -> NoAnswerError:
        self._closed = True  # nothing more is expected of it
        return NoAnswerError(f"it did not answer for {self._deadline_s:g} s")

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        """On the thread: make the calls; after an error only those that are always made."""
        failed = False
        while (call := self._calls.get()) is not None:
            if failed and not call.always:
                continue
            try:
                call.make()
            # whatever it is, it is raised in the run's own thread
            except BaseException as error:
                failed, self._error = True, self._error or error
            self._made += 1
