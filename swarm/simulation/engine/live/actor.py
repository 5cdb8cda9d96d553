"""The actor side of a live run: a shard that plays its rounds without waiting for anybody.

An actor asks itself for its next round, in a call of its own. What has come meanwhile (packets of
other actors, questions of the driver) stands before that call in its queue, so it is done between
two rounds, and nothing has to be locked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swarm.common.plugin import blamed
from swarm.simulation.engine.base import Floats
from swarm.simulation.engine.live.mailbox import Array, Bools, Ints, LiveLinks, Mailbox, Packet
from swarm.simulation.engine.prefork.reduce_wakeups import exact_timeouts
from swarm.simulation.engine.ray.actor import ShardActor
from swarm.simulation.phases.base import Phase, TrainResult
from swarm.simulation.phases.transport import Arrived
from swarm.simulation.shard import Shard

UNDER_WAY = 8  # packets that may be under way to one actor; further ones are dropped


@dataclass
class LiveReport:
    """What an actor with n devices has done since it was last asked.

    Attributes:
        round: The last round that it has played, counted from 1.
        loss_n: The latest mean training losses.
        sums_4n: Samples met, the sum of their scores, local steps and computation, as in
            :class:`~swarm.simulation.phases.base.TrainResult`.
        finite_n: Whether the parameters are finite.
        kept_finite_n: Whether what devices keep for themselves beside them is finite.
        sent_n: The messages that each of its devices sent.
        received_n: The messages that each of its devices mixed.
        lost_N: The messages of each device of the swarm that this actor saw get lost: overwritten
            before they were read, or dropped because too many were under way.
        mailed: How many of the mixed messages came from other actors.
        behind: The rounds by which those were behind the round that mixed them, added up.
        seconds: The seconds from sending to mixing of those, added up.
        waiting: The messages that lie in its mailbox.
    """

    round: int
    loss_n: Floats
    sums_4n: Floats
    finite_n: Bools
    kept_finite_n: Bools
    sent_n: Ints
    received_n: Ints
    lost_N: Ints
    mailed: int = 0
    behind: int = 0
    seconds: float = 0.0
    waiting: int = 0

    @classmethod
    def after(cls, round: int, loss_n: Floats, devices: int) -> LiveReport:
        """Nothing done since ``round``, in a swarm of so many ``devices``."""
        n = len(loss_n)
        nothing_n = np.zeros(n, np.int64)
        return cls(
            round,
            loss_n,
            np.zeros((4, n)),
            np.ones(n, bool),
            np.ones(n, bool),
            nothing_n,
            nothing_n,
            np.zeros(devices, np.int64),
        )

    def take(self, found: TrainResult) -> None:
        """Add the results of a phase of learning."""
        self.loss_n = np.where(found.steps_n > 0, found.loss_n, self.loss_n)
        self.sums_4n += np.stack([found.scored_n, found.score_n, found.steps_n, found.work_n])
        self.finite_n, self.kept_finite_n = found.finite_n, found.kept_finite_n


class LiveActor(ShardActor):
    """Holds one shard, and plays its rounds from :meth:`go` to the last one, or to :meth:`halt`."""

    session = 0
    running = False

    def join(
        self,
        session: int,
        number: int,
        owner_N: Ints,
        peers: Sequence[Any],
        start: int,
        pace: float,
    ) -> None:
        """Become actor ``number`` of ``peers`` in an experiment, and go on after round ``start``;
        ``owner_N`` says which actor holds each device, and ``pace`` is the least number of seconds
        that a round takes."""
        exact_timeouts()  # else a pace of a few milliseconds would become a tenth of a second
        e = self._own().experiment
        self.session, self.number, self.peers = session, number, peers
        self.last, self.pace = e.settings.rounds, pace
        self.links = LiveLinks(e, owner_N, number)
        self.mailbox = Mailbox(self.links)
        self.done = LiveReport.after(start, np.zeros(len(self.links.devices)), e.settings.devices)
        self.error: BaseException | None = None
        self.running = False
        self._under_way: dict[int, deque[Any]] = {}

    def meet(self, peers: Sequence[Any]) -> None:
        """Take these handles for the actors: one of them has been restarted."""
        self.peers = peers

    def go(self) -> None:
        """Begin to play rounds."""
        if not self.running:
            self.running, self.due = True, time.monotonic()
            self._ask_for_next()

    def halt(self) -> None:
        """Play no further round."""
        self.running = False

    def end(self) -> None:
        """See :meth:`ShardActor.end`."""
        self.session, self.running, self.peers = 0, False, ()
        super().end()

    def step(self, session: int) -> None:
        """Play one round, and ask for the next one. An error ends the rounds, and
        :meth:`progress` raises it."""
        if session != self.session or not self.running:
            return
        try:
            self._play(self.done.round + 1)
        except Exception as error:
            self.error, self.running = error, False
        else:
            # what comes meanwhile waits in the queue, and is done before the next round
            self.due = max(self.due + self.pace, time.monotonic() - self.pace)
            if (left := self.due - time.monotonic()) > 0:
                time.sleep(left)
            self._ask_for_next()

    def _ask_for_next(self) -> None:
        self.running = self.done.round < self.last
        if self.running:
            self.peers[self.number].step.remote(self.session)

    def deliver(self, packet: Packet) -> None:
        """Put a packet of another actor into the mailbox."""
        if packet.session == self.session:
            self.mailbox.put(packet)

    def progress(self) -> LiveReport:
        """What was done since the last call of this method.

        Raises the error that has ended the rounds, if one has."""
        if self.error is not None:
            raise self.error
        found = self.done
        found.lost_N = found.lost_N + self.mailbox.take_overwritten()
        found.waiting = self.mailbox.waiting
        self.done = LiveReport.after(found.round, found.loss_n, len(found.lost_N))
        return found

    # --- a round ----------------------------------------------------------------------------------

    @blamed()
    def _play(self, round: int) -> None:
        """Play the phases of ``round``, each with what is here."""
        shard = self._own()
        communication, n = shard.experiment.communication, len(shard.devices)
        active_N = communication.active(round)
        active_n = np.ones(n, bool) if active_N is None else active_N[shard.devices]
        with torch.inference_mode():
            for phase in communication.phases:
                if not phase.plays(round):
                    continue
                if phase.sends and self.links.some:
                    self._exchange(shard, phase, round, active_n)
                elif (found := phase.apply(shard, round, Arrived())) is not None:
                    self.done.take(found)
        self.done.round = round

    def _exchange(self, shard: Shard, phase: Phase, round: int, active_n: Bools) -> None:
        """Send the rows of the active devices, and mix what has arrived until now."""
        shard.payload = phase.collect(shard, round)
        self._send(phase, round, shard.payload.packets.cpu().numpy(), active_n)
        letters = self.mailbox.take(phase.number)
        arrived, came_E = self.links.arrived(active_n, letters)
        phase.apply(shard, round, arrived)
        done, now = self.done, time.time()
        done.received_n = done.received_n + np.bincount(
            self.links.dst_E[came_E], minlength=len(active_n)
        )
        for device, letter in letters.items():
            fan = int(self.links.fan_N[device])
            done.mailed += fan
            done.behind += fan * max(0, round - letter.round)
            done.seconds += fan * max(0.0, now - letter.time)

    def _send(self, phase: Phase, round: int, rows_nM: Array, active_n: Bools) -> None:
        self.done.sent_n = self.done.sent_n + np.where(active_n, self.links.sent_n, 0)
        for other, (place, links) in self.links.outgoing.items():
            some, devices = place[active_n[place]], self.links.devices[place[active_n[place]]]
            if not len(some):
                continue
            if self._is_full(other):
                self.done.lost_N[devices] += links[active_n[place]]
                continue
            packet = Packet(self.session, phase.number, round, time.time(), devices, rows_nM[some])
            self._under_way[other].append(self.peers[other].deliver.remote(packet))

    def _is_full(self, other: int) -> bool:
        """Whether too many packets are under way to an actor, which then plays much more slowly
        than this one, or is stuck."""
        under_way = self._under_way.setdefault(other, deque())
        if len(under_way) >= UNDER_WAY:
            import ray

            _, left = ray.wait(list(under_way), num_returns=len(under_way), timeout=0)
            self._under_way[other] = under_way = deque(left)
        return len(under_way) >= UNDER_WAY
