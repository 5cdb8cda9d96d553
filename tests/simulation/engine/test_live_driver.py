"""What the driver of a live run counts, and when it ends, without Ray and on a clock of the test's
own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from swarm.simulation.engine.base import RoundResult
from swarm.simulation.engine.live import engine as driver
from swarm.simulation.engine.live.engine import DRAIN_SECONDS, POLL_SECONDS, LiveEngine
from swarm.simulation.engine.live.mailbox import Mailbox, Packet
from swarm.simulation.engine.live.news import News
from swarm.simulation.engine.ray.actor_pool import Call
from tests.simulation.engine.live_queue import actors
from tests.support import experiment

SWARM = ("devices=8", "engine.block=2", "topology=ring")


class Clock:
    """Time passes while somebody sleeps."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Driver(LiveEngine):
    """A live engine with two actors in this process; the first is served ``faster`` times as often
    as the second."""

    def __init__(self, clock: Clock, rounds: int, faster: int, *words: str) -> None:
        super().__init__(actors=2)
        self.clock, self.faster = clock, faster
        self.experiment = experiment(*SWARM, f"rounds={rounds}", *words)
        self.handles = actors(self.experiment, 2, go=False)
        held = [handle.actor._own().devices for handle in self.handles]
        members: Any = [SimpleNamespace(handle=handle) for handle in self.handles]
        self.assignment: Any = SimpleNamespace(members=members, devices=held)
        self.actor_pool: Any = SimpleNamespace(slowest=None)
        self.round, self.ended, self._since = 0, False, None
        self._asked_at = self._told_at = 0.0
        n = self.experiment.settings.devices
        self._at_N, self._news = np.zeros(n, np.int64), News.none(n)
        self._totals = dict.fromkeys(driver.SUMMED, 0)

    def _gather(self, calls: Sequence[Call]) -> list[Any]:
        while not all(call.ref.there for call in calls):
            for _ in range(self.faster):
                self.handles[0].serve()
            self.handles[1].serve()
        return [call.ref.value for call in calls]

    def results(self) -> list[RoundResult]:
        return list(self.advance(self.experiment.settings.rounds))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(driver, "time", found)

    def wait(refs: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return [ref for ref in refs if ref.there], [ref for ref in refs if not ref.there]

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(wait=wait))
    return found


def test_each_message_is_counted_once_by_the_device_that_sent_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost_N, put = np.zeros(8, np.int64), Mailbox.put

    def counted(self: Mailbox, packet: Packet) -> None:
        kept = self._kept.get(packet.phase, {})
        for device in set(packet.devices.tolist()) & set(kept):
            here = np.isin(self._links.src_E, device)
            lost_N[device] += here.sum()
        put(self, packet)

    monkeypatch.setattr(Mailbox, "put", counted)
    engine = Driver(clock, 20, 4, "topology=complete")
    found = engine.results()
    sent_N, received_N, told_N = (
        sum((getattr(each.traffic[0], name) for each in found), np.zeros(8, np.int64))
        for name in ("sent_N", "received_N", "lost_N")
    )
    assert (sent_N == 20 * 7).all()  # each round, to each of the others
    assert lost_N.sum() > 100  # the slower actor reads a quarter of what the other sends
    assert told_N.tolist() == lost_N.tolist()
    said = engine._totals
    assert (said["sent"], said["mixed"]) == (sent_N.sum(), received_N.sum())
    assert said["lost"] == lost_N.sum()
    assert said["sent"] == said["mixed"] + said["lost"] + found[-1].measured["unread"]


def test_throughput_is_of_the_steps_and_seconds_since_the_record_before(clock: Clock) -> None:
    engine = Driver(clock, 12, 3)
    told, steps = 0.0, 0
    for result in engine.advance(12):
        expected = result.steps_N.sum() / (clock.now - told)
        assert result.measured["steps_per_s"] == pytest.approx(expected)
        told, steps = clock.now, steps + int(result.steps_N.sum())
        engine._poll()  # what it hears goes into the next record, with what that one hears
    assert steps == 12 * 8 * engine.experiment.settings.train.local_steps


def test_an_arm_ends_at_the_first_question_after_its_seconds(clock: Clock) -> None:
    engine = Driver(clock, 1000, 1)
    engine.limit = 1.0
    found = engine.results()
    assert engine.ended
    last = found[-2] if len(found) > 1 else found[-1]
    assert last.round < found[-1].round < 1000
    assert 1.0 <= engine._asked_at <= 1.0 + 4 * POLL_SECONDS  # with those that wait for messages
    assert found[-1].measured["local_round_mean"] <= found[-1].round
    assert not any(handle.actor.running for handle in engine.handles)


def test_the_last_record_of_an_arm_comes_although_no_round_is_complete(clock: Clock) -> None:
    engine = Driver(clock, 1000, 1)
    engine.limit = 1.0
    results = engine.advance(1000)
    before = next(results).round
    for handle in engine.handles:
        handle.actor.halt()
    engine._poll()
    rounds = [result.round for result in results]
    assert rounds[-1] == max(before, *rounds[:-1], before) + 1
    assert engine.ended


def test_an_arm_without_seconds_ends_with_its_rounds(clock: Clock) -> None:
    engine = Driver(clock, 12, 3)
    assert engine.results()[-1].round == 12
    assert not engine.ended


@pytest.mark.parametrize(("deaths", "seconds"), [(0, DRAIN_SECONDS), (1, 0.0)])
def test_messages_that_never_come_are_not_waited_for_longer(
    clock: Clock, deaths: int, seconds: float
) -> None:
    """With an actor its counts die; without a death a message may be late by some seconds."""
    engine = Driver(clock, 3, 1)
    engine.recovery.deaths = deaths
    engine._totals["sent"] = 1
    engine._looking(lambda: engine._tell("go"))
    begin = clock.now
    engine._finish()
    assert seconds <= clock.now - begin <= seconds + 2 * POLL_SECONDS


def test_messages_that_are_under_way_at_the_end_are_waited_for(clock: Clock) -> None:
    engine = Driver(clock, 30, 1)
    engine._looking(lambda: engine._tell("go"))
    for _ in range(5):
        engine.handles[0].serve()  # whose packets wait in the other's queue
    waiting = [name for _, name, _ in engine.handles[1].queue].count("deliver")
    assert waiting > 2
    engine._finish()
    totals = engine._totals
    assert totals["sent"] == totals["mixed"] + totals["lost"] + engine._news.waiting
