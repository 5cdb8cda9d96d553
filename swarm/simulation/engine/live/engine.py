"""The live engine: actors learn, send and mix at their own pace, and the driver only watches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.config.choices import choice
from swarm.simulation.engine.base import Block, Ints, RoundResult
from swarm.simulation.engine.live.actor import LiveActor, LiveReport
from swarm.simulation.engine.live.news import News
from swarm.simulation.engine.ray.actor_pool import ActorPool, Call, FaultError
from swarm.simulation.engine.ray.cluster import Cluster
from swarm.simulation.engine.ray.engine import RayEngine
from swarm.simulation.experiment import Experiment

T = TypeVar("T")
POLL_SECONDS = 0.1  # between two questions of the driver to all actors
MOST_PACE = 10.0  # seconds a round, for which the driver's questions wait
SUMMED = ("sent", "mixed", "lost", "between_actors")
DRAIN_SECONDS = 5.0  # how long the driver waits at the end for messages that are under way


class LivePool(ActorPool):
    """The actors of a live session."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._host = self.ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(LiveActor)


class LiveEngine(RayEngine):
    """Runs each shard in an actor that waits for nobody: it plays its rounds as fast as it can,
    sends its rows to the mailboxes of other actors, and mixes what has arrived.

    The round of a result is the mean over devices of the rounds that they have played; there is one
    whenever it has grown. An experiment ends when every actor has played all rounds, or after
    ``seconds`` of the wall clock. No actor plays more than a round in ``pace`` seconds.

    The devices of an actor that dies are gone until it is restarted; they go on with the rows of
    the last checkpoint.
    """

    pool: ClassVar[type[ActorPool]] = LivePool
    common_rounds = False

    def __init__(
        self,
        actors: int | Literal["auto", "per_device"] = "auto",
        block: Block = "auto",
        seconds: float | None = None,
        pace: float = 0.0,
        address: str | None = None,
        prefork: bool = True,
        dashboard: bool = False,
        restarts: int = 5,
    ) -> None:
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ConfigError("seconds", seconds, "must be null or a number of seconds above 0")
        if not 0 <= pace <= MOST_PACE:
            raise ConfigError("pace", pace, f"must be a number of seconds from 0 to {MOST_PACE:g}")
        super().__init__(actors, block, address, prefork, dashboard, restarts)
        self.limit, self.pace, self._session = seconds, pace, 0

    def check_arm(self, experiment: Experiment) -> None:
        if experiment.model.cohorts is not None:
            named = ", ".join(experiment.settings.cohorts)
            raise ConfigError("/cohorts", named, "must be {} with engine=live")
        for key, value, valid in _refusals(experiment):
            raise ConfigError(key, value, f"{valid} with engine=live")

    # --- from start to stop -----------------------------------------------------------------------

    def start(self, experiment: Experiment) -> None:
        self.ended, self._asked_at, self._told_at = False, 0.0, 0.0
        self._since: float | None = None
        self._session += 1
        self._away: set[int] = set()
        self._at_N = np.zeros(experiment.settings.devices, np.int64)
        self._news = News.none(experiment.settings.devices)
        self._totals = dict.fromkeys(SUMMED, 0)
        super().start(experiment)
        self._place_all()

    def _place_all(self) -> None:
        """Have all actors take their places, with the rows of the last snapshot."""
        self._away = set(range(len(self.assignment.members)))
        try:
            self._join()
        except FaultError as fault:
            self._recover(fault)

    def _join(self) -> None:
        """Have the actors that are away take their places, and tell the others of them."""
        members, held = self.assignment.members, self.assignment.devices
        owner_N = np.empty_like(self._at_N)
        for number, devices in enumerate(held):
            owner_N[devices] = number
        handles, calls = [member.handle for member in members], []
        for i, member in enumerate(members):
            if i in self._away:
                start = int(self._at_N[held[i][0]])
                place = self._session, i, owner_N, handles, start, self.pace
                ref = member.handle.join.remote(*place)
            else:
                ref = member.handle.meet.remote(handles)
            calls.append(Call(member, ref, "meeting the other actors"))
        self._gather(calls)
        self._away = set()

    def _tell(self, word: Literal["go", "halt"]) -> None:
        """Have all actors begin, or stop, to play rounds."""
        members = self.assignment.members
        self._gather([Call(m, getattr(m.handle, word).remote(), word) for m in members])

    def _recover(self, fault: FaultError) -> None:
        """Restart dead actors; their devices go on with the rows of the last snapshot.

        Raises as :meth:`Recovery.next_try` does."""
        assert self.cluster is not None
        members = self.assignment.members
        while True:
            wait = self.recovery.next_try(fault)
            self.cluster.check()
            time.sleep(wait)
            try:
                self.actor_pool.restart_dead(members)
                again = [i for i, member in enumerate(members) if not member.begun]
                self._away |= set(again)
                self._gather([self._begin(i) for i in again])
                self._gather([self._put_back(i) for i in sorted(self._away)])
                self._join()
                if self._since is not None and not self.ended:
                    self._tell("go")
            except FaultError as another:
                fault = another
            else:
                return

    def _put_back(self, i: int) -> Call:
        """Give actor ``i`` the rows of the last snapshot."""
        member, devices = self.assignment.members[i], self.assignment.devices[i]
        rows = self.recovery.snapshot.rows_of(devices)
        return Call(member, member.handle.reset.remote(rows), "going back to an earlier state")

    def restore(self, arrays: Mapping[str, Tensor], round: int) -> None:
        self.round, self._at_N[:] = round, round
        self.recovery.keep(round, dict(arrays))
        everybody = range(len(self.assignment.members))
        self._away = set(everybody)
        try:
            self._gather([self._put_back(i) for i in everybody])
            self._join()
        except FaultError as fault:
            self._recover(fault)

    # --- watching ---------------------------------------------------------------------------------

    def advance(self, until: int) -> Iterator[RoundResult]:
        if self._since is None:
            self._since = self._told_at = time.perf_counter()
            self._looking(lambda: self._tell("go"))
        rounds = self.experiment.settings.rounds
        while self.round < until and not self.ended:
            self._poll()
            done = bool((self._at_N >= rounds).all())
            over = self.limit is not None and time.perf_counter() - self._since >= self.limit
            if done or over:
                self.ended = not done
                self._finish()
            mean = float(self._at_N.mean())
            if self.ended:  # its last record comes although no further round is complete
                mean = min(rounds, max(math.ceil(mean), self.round + 1))
            if int(mean) > self.round:
                self.round = int(mean)
                yield self._result()

    def _poll(self) -> None:
        """Ask all actors what they have done, at most every ``POLL_SECONDS``."""
        time.sleep(max(0.0, self._asked_at + POLL_SECONDS - time.perf_counter()))
        self._asked_at = time.perf_counter()
        members, dead = self.assignment.members, None
        calls = [Call(m, m.handle.progress.remote(), "a round") for m in members]
        for call, devices in zip(calls, self.assignment.devices, strict=True):
            try:
                (found,) = self._gather([call])
            except FaultError as fault:
                dead = fault
            else:
                self._take_progress(found, devices)
        took = time.perf_counter() - self._asked_at
        self.actor_pool.slowest = max(self.actor_pool.slowest or 0.0, took)
        if dead is not None:
            self._recover(dead)

    def _take_progress(self, found: LiveReport, devices: Ints) -> None:
        self._at_N[devices] = found.round
        self._news.take(found, devices)
        more = (
            int(found.sent_n.sum()),
            int(found.received_n.sum()),
            int(found.lost_N.sum()),
            found.mailed,
        )
        for name, count in zip(SUMMED, more, strict=True):
            self._totals[name] += count

    def _finish(self) -> None:
        """Halt all actors, and wait until no message is under way any more."""
        self._looking(lambda: self._tell("halt"))
        end = time.perf_counter() + DRAIN_SECONDS
        while True:
            self._poll()
            totals = self._totals
            left = totals["sent"] - totals["mixed"] - totals["lost"] - self._news.waiting
            # with an actor its own counts die, so that these sums never meet
            if left == 0 or self.recovery.deaths or time.perf_counter() > end:
                return

    def _result(self) -> RoundResult:
        """What has happened since the result before."""
        news, self._news = self._news, self._news.emptied()
        before, self._told_at = self._told_at, time.perf_counter()
        phases = [phase for phase in self.experiment.communication.phases if phase.sends]
        took = self._told_at - before
        return news.result(self.round, self._at_N, phases[0].bits if phases else 0, took)

    def _looking(self, look: Callable[[], T]) -> T:
        while True:
            try:
                return look()
            except FaultError as fault:
                self._recover(fault)

    def describe(self) -> dict[str, Any]:
        found = super().describe()
        del found["seconds_an_actor_and_round"]
        messages = {**self._totals, "unread": self._news.waiting}
        return {**found, "name": "live", "out_of_time": self.ended, "messages": messages}


def _refused_protocols(e: Experiment) -> Iterator[tuple[str, str, str]]:
    """What of the protocol no live run can do, as :func:`_refusals`."""
    c, protocol = e.communication, choice("protocol", e.settings.protocol)
    sending = [phase for phase in c.phases if phase.sends and phase is not c.goals]
    needs = c.protocol.requirements
    if any(not phase.mixes for phase in sending) or len(sending) > 1:
        yield "/protocol", protocol, "must have one phase that mixes, and no other that sends,"
    elif sending and (needs.conserves != "row" or needs.fixed_links):
        lost = "must do without sums that mixing conserves and without a memory for each link,"
        yield "/protocol", protocol, f"{lost} as messages get lost"
    given, public = c.protocol.distillation, e.data.dataset.public
    if given is not None and public is not None and given.redraws(len(public)):
        yield "/protocol.draw", given.draw, "must be once, as messages come from other rounds,"


def _refusals(e: Experiment) -> Iterator[tuple[str, str, str]]:
    """What of an experiment no live run can do: the key, its value, and what would be valid."""
    s, c, network = e.settings, e.communication, e.communication.network
    yield from _refused_protocols(e)
    if c.topology.period != 1:
        yield "/topology", choice("topology", s.topology), "must be a graph that never changes"
    if c.compressor is not None:
        yield "/compressor", choice("compressor", s.compressor), "must be none"
    if c.transforms:
        named = [choice("transform", node) for node in s.transforms]
        yield "/transforms", f"[{','.join(named)}]", "must be empty"
    if c.message_attack is not None or c.link_attack is not None:
        attack = choice("attack", s.attack)
        yield "/attack", attack, "must be none, or change only what devices learn from,"
    if e.data.privacy.unit is not None:
        # devices of an actor that dies do steps again, with the same noise
        yield "/privacy", choice("privacy", s.privacy), "must be none"
    if network.drop:
        yield "/network.drop", str(network.drop), "must be 0"
    simulated: dict[str, object] = {
        "secure_sum": c.sums if c.sums.secure else None,
        "delay": network.delay,
        "churn": network.churn,
        "outage": network.outage,
        "goal": c.goals,
    }
    for group, part in simulated.items():
        if part is not None:
            yield f"/{group}", choice(group, getattr(s, group)), "must be none"
    if c.fleet.hardware is not None:
        yield "/fleet", choice("fleet", s.fleet), "must be none"
