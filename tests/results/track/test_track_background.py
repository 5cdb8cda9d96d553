"""A tracker on a thread of its own: the same calls in the same order, and nothing of it is lost."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from swarm.results.track import Fanout, Tracker
from swarm.results.track.background import Background, beside
from tests.results.track.test_track_fanout import WHOLE, Failing, Recorder, run


class Waiting(Recorder):
    """Waits in its first record until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.threads: set[int] = set()

    def record(self, record: dict[str, Any]) -> None:
        self.threads.add(threading.get_ident())
        self.reached.set()
        self.go_on.wait(30)
        super().record(record)


def test_the_run_does_not_wait_for_it_and_close_does() -> None:
    tracker = Waiting()
    sink = Background(tracker, 30)
    sink.start("swarm", 2, 0)
    for r in range(3):
        sink.record({"arm": "swarm", "round": r})
    assert tracker.reached.wait(30)
    assert tracker.calls == WHOLE[:1], "three records are handed over while the first one waits"
    sink.finish("swarm", {})
    tracker.go_on.set()
    sink.close()
    sink.close()
    assert tracker.calls == WHOLE
    assert threading.get_ident() not in tracker.threads


def test_an_arm_that_is_resumed_goes_on_when_the_tracker_has_read_its_records() -> None:
    tracker = Recorder()
    sink = Background(tracker, 30)
    sink.start("swarm", 4, 2)
    assert tracker.calls == [("start", "swarm", 4, 2)]
    sink.close()


@pytest.mark.parametrize("method", ["start", "record", "finish", "close"])
@pytest.mark.parametrize("error", [RuntimeError("no\nnetwork"), SystemExit(3)])
def test_its_failure_is_one_warning_that_names_it(method: str, error: BaseException) -> None:
    truth, healthy, warnings = Recorder(), Recorder(), list[str]()
    mirror = Background(Failing(method, error), 30)
    run(Fanout(truth, [mirror, healthy], warn=warnings.append))
    assert truth.calls == healthy.calls == WHOLE
    assert len(warnings) == 1
    assert warnings[0].startswith("Failing stopped: ")
    assert not mirror._thread.is_alive()


def test_after_a_failure_it_is_closed_and_left_alone() -> None:
    tracker = Failing("start", RuntimeError("no disk"))
    warnings: list[str] = []
    sink = Fanout(Recorder(), [Background(tracker, 30)], warn=warnings.append)
    sink.start("swarm", 4, 2)  # resumed: the failure is known when this returns
    assert len(warnings) == 1
    run(sink)
    assert tracker.calls == [("close",)]


def test_a_tracker_that_never_answers_is_given_up() -> None:
    tracker, warnings, truth = Waiting(), list[str](), Recorder()
    run(Fanout(truth, [Background(tracker, 0.05)], warn=warnings.append))
    assert warnings == [
        "Waiting stopped: it did not answer for 0.05 s. The run goes on; metrics.jsonl is complete."
    ]
    assert truth.calls == WHOLE
    tracker.go_on.set()


class Slow(Recorder):
    """Takes its time over each record; a resumed arm's earlier records are steps of its start."""

    def start(self, arm: str, rounds: int, done: int) -> None:
        for _ in range(done):
            time.sleep(0.4)
            self.steps += 1
        super().start(arm, rounds, done)

    def record(self, record: dict[str, Any]) -> None:
        time.sleep(0.4)
        super().record(record)


@pytest.mark.parametrize("done", [0, 4])
def test_a_tracker_that_gets_on_may_take_longer_in_all(done: int) -> None:
    """The deadline is for a call, or a step of one."""
    tracker = Slow()
    sink = Background(tracker, 1.0)
    sink.start("swarm", 4, done)
    for r in range(done, 4):
        sink.record({"arm": "swarm", "round": r})
    sink.close()
    assert len(tracker.calls) == 1 + 4 - done + 1


def test_only_a_tracker_that_says_so_is_called_there() -> None:
    plain, other = Tracker(), Tracker()
    other.deadline_s = 5.0
    assert beside(plain) is plain
    made = beside(other)
    assert isinstance(made, Background)
    made.close()
