"""A mirror never fails a run; the truth does."""

from __future__ import annotations

from typing import Any

import pytest

from swarm.results.track import ConsoleSink, Fanout, Sink, Tracker, base
from swarm.simulation.metrics.column import Column


class Recorder(Tracker):
    """Notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def start(self, arm: str, rounds: int, done: int) -> None:
        self.calls.append(("start", arm, rounds, done))

    def record(self, record: dict[str, Any]) -> None:
        self.calls.append(("record", record["round"]))

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        self.calls.append(("finish", arm))

    def close(self) -> None:
        self.calls.append(("close",))


class Failing(Recorder):
    """Fails in one method, in one way; also spoils the records it gets."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__()
        self.method, self.error = method, error

    def __getattribute__(self, name: str) -> Any:
        if name in ("start", "record", "finish", "close") and name == object.__getattribute__(
            self, "method"
        ):
            raise object.__getattribute__(self, "error")
        return object.__getattribute__(self, name)


class Spoiler(Tracker):
    """Changes what it is given."""

    def record(self, record: dict[str, Any]) -> None:
        record.clear()


def run(sink: Sink) -> None:
    sink.start("swarm", 2, 0)
    for r in range(3):
        sink.record({"arm": "swarm", "round": r})
    sink.finish("swarm", {})
    sink.close()


WHOLE = [
    ("start", "swarm", 2, 0),
    ("record", 0),
    ("record", 1),
    ("record", 2),
    ("finish", "swarm"),
    ("close",),
]


@pytest.mark.parametrize("method", ["start", "record", "finish", "close"])
@pytest.mark.parametrize("error", [RuntimeError("no\nnetwork"), SystemExit(3)])
def test_a_failing_mirror_warns_once_and_disturbs_nobody(method: str, error: BaseException) -> None:
    truth, healthy, warnings = Recorder(), Recorder(), list[str]()
    run(Fanout(truth, [Failing(method, error), healthy], warn=warnings.append))
    assert truth.calls == WHOLE
    assert healthy.calls == WHOLE
    assert len(warnings) == 1
    assert "Failing" in warnings[0]
    assert "\n" not in warnings[0]


def test_a_dropped_mirror_is_closed_and_left_alone() -> None:
    mirror = Failing("record", ValueError("x"))
    run(Fanout(Recorder(), [mirror], warn=lambda _: None))
    assert mirror.calls == [("start", "swarm", 2, 0), ("close",)]


def test_ctrl_c_inside_a_mirror_reaches_the_run() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Fanout(Recorder(), [Failing("record", KeyboardInterrupt())]))


def test_an_error_of_the_truth_ends_the_run_and_still_closes_the_mirrors() -> None:
    mirror = Recorder()
    with pytest.raises(OSError, match="disk full"):
        run(Fanout(Failing("close", OSError("disk full")), [mirror]))
    assert mirror.calls[-1] == ("close",)


def test_mirrors_cannot_change_each_others_records() -> None:
    healthy = Recorder()
    run(Fanout(Recorder(), [Spoiler(), healthy]))
    assert healthy.calls == WHOLE


def test_trackers_are_sinks() -> None:
    assert isinstance(Tracker(), Sink)


def test_a_mirror_that_takes_most_of_the_time_is_named_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run waits for it, and its user sees no reason why."""
    now = [0.0]
    monkeypatch.setattr(base.time, "perf_counter", lambda: now[0])

    class Slow(Recorder):
        def record(self, record: dict[str, Any]) -> None:
            now[0] += 12.0

    said: list[str] = []
    sink = Fanout(Recorder(), [Recorder(), Slow()], warn=said.append)
    now[0] = 1.0  # of the run's own
    run(sink)
    text = "Slow has taken 24 of the 25 s since the start, in which the run waited for it."
    assert said == [f"warning: {text}"]
    said.clear()
    now[0] = 100.0
    run(Fanout(Recorder(), [Slow()], warn=said.append))
    sink = Fanout(Recorder(), [Slow()], warn=said.append)
    now[0] += 1000.0
    run(sink)
    later = Fanout(Tracker(), [Slow()], warn=said.append)  # no run, a tracker that is told again
    for r in range(3):
        later.record({"round": r})
    assert len(said) == 1  # of the first of the two: 36 s of 1,036 are not much


def test_the_terminal_shows_what_is_not_for_trackers() -> None:
    """The main score of a run may be a metric that no tracker is to get."""
    hidden = Column("own_score", "own score", shown=("table",))
    seen: dict[str, set[str]] = {}

    class Keys(Tracker):
        def __init__(self, name: str, is_tracker: bool) -> None:
            self.name, self.is_tracker = name, is_tracker

        def record(self, record: dict[str, Any]) -> None:
            seen[self.name] = set(record)

    mirrors = [Keys("terminal", ConsoleSink.is_tracker), Keys("tracker", True)]
    Fanout(Tracker(), mirrors, columns=[hidden]).record({"round": 1, "own_score": 0.5})
    assert seen == {"terminal": {"round", "own_score"}, "tracker": {"round"}}
