"""The network of a swarm: what becomes of a round's messages.

A round is a tick of ``network.round_seconds`` virtual seconds: round r begins at (r − 1) · tick.
Every draw is keyed by (seed, purpose, device or edge, round), so that results do not depend on the
order in which rounds are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from swarm.common.arrays import fixed
from swarm.common.rng import Keys
from swarm.communication.network.base import Bools, Churn, Clock, Delay, Floats, Ints, Outage
from swarm.communication.network.returned import seconds_of, truths_of
from swarm.communication.network.sharing import LinkRates
from swarm.communication.topology.events import lengths
from swarm.communication.topology.graph import Graph

LOST, UNSENT, LATE = -1, -2, -3  # stand in place of the ticks that a message takes


@dataclass(frozen=True)
class MessageOutcomes:
    """What becomes of the message on each edge of a round's graph.

    ``ticks_E`` holds the ticks until the message arrives, or LOST, UNSENT (its sender is not
    active) or LATE (it would take more than ``max_delay`` rounds).
    """

    ticks_E: Ints

    @classmethod
    def ideal(cls, graph: Graph) -> MessageOutcomes:
        """Return the outcomes of a network in which every message arrives in its own round."""
        return cls(np.zeros(len(graph.src_E), np.int64))


@dataclass(frozen=True)
class Network:
    """The network of a swarm, made of its parts.

    ``drop`` is the probability that a message is lost; with ``symmetric`` both directions of a link
    are lost together. A message that would arrive more than ``max_delay`` rounds after it was sent
    is given up as late.

    With ``lines`` and a clock, messages of ``bits`` bits also take the time to transmit them. In a
    swarm without a clock they do not, since a round lasts as long as its slowest message. Where
    messages have several sizes, ``bits_on`` says how large they are, by senders and receivers, and
    ``bits`` is the largest size.
    """

    devices: int
    seed: int
    round_seconds: float = 1.0
    drop: float = 0.0
    symmetric: bool = False
    max_delay: int = 8
    delay: Delay | None = None
    churn: Churn | None = None
    outage: Outage | None = None
    clock: Clock | None = None
    lines: LinkRates | None = None
    bits: float = 0.0
    bits_on: Callable[[Ints, Ints], Ints] | None = None
    _kept: dict[tuple[str, int], Bools] = field(default_factory=dict, repr=False, compare=False)

    @property
    def ideal(self) -> bool:
        """Whether all devices are always awake, and every message arrives in the round in which it
        is sent.
        """
        return not (self.drop or self.churn or self.outage or self.clock or self.delay)

    @property
    def reach(self) -> int:
        """The most rounds that a message is under way."""
        longest = self.longest_on_the_line + (0.0 if self.delay is None else self.delay.longest)
        return (
            min(self.max_delay, math.floor(lengths(longest, self.round_seconds)))
            if math.isfinite(longest)
            else self.max_delay
        )

    @property
    def longest_on_the_line(self) -> float:
        """The most seconds that a message can take to transmit: those of a sender that sends to all
        others over the slowest link, or of a receiver that hears all if messages share its line.
        """
        if self.lines is None or not self._on_the_line:
            return 0.0
        heard = self.devices if self.lines.fair else 1
        slowest = min(self.lines.uplink_N.min() / self.devices, self.lines.downlink_N.min() / heard)
        return float(self.bits / slowest)

    @property
    def _on_the_line(self) -> bool:
        return self.lines is not None and self.clock is not None

    def _bits(self, src_S: Ints, dst_S: Ints) -> float | Ints:
        """The bits of messages from ``src_S`` to ``dst_S``."""
        return self.bits if self.bits_on is None else self.bits_on(src_S, dst_S)

    def online(self, round: int) -> Bools | None:
        """Return which devices are online in ``round``, ``[N]``; None: all."""
        churn = self.churn
        return (
            None
            if churn is None
            else self._keep(
                "online",
                round,
                lambda: truths_of(
                    "churn", churn, f"online({round})", churn.online(round), self.devices
                ),
            )
        )

    def members(self, round: int) -> Bools | None:
        """Return which devices belong to the swarm in ``round``, ``[N]``; None: all."""
        found = None if self.churn is None else self.churn.members(round)
        return (
            None
            if found is None
            else truths_of("churn", self.churn, f"members({round})", found, self.devices)
        )

    def active(self, round: int) -> Bools | None:
        """Return which devices learn and send in ``round``, ``[N]``; None: all."""
        online, clock = self.online(round), self.clock
        if clock is None:
            return online
        wakes = self._keep(
            "wakes",
            round,
            lambda: truths_of("clock", clock, f"wakes({round})", clock.wakes(round), self.devices),
        )
        return wakes if online is None else self._keep("awake", round, lambda: online & wakes)

    def outcomes(self, round: int, graph: Graph, asleep: bool = False) -> MessageOutcomes:
        """Return what becomes of the messages that are sent in ``round`` on the edges of ``graph``;
        with ``asleep`` devices that are online send even while they are asleep.

        The outcome is decided when a message is sent: it is lost if the receiver will be offline
        when it arrives.
        """
        active = self.online(round) if asleep else self.active(round)
        edge_S = (
            np.arange(len(graph.src_E)) if active is None else np.flatnonzero(active[graph.src_E])
        )
        src, dst, n = graph.src_E[edge_S], graph.dst_E[edge_S], graph.n
        ticks_S = self._ticks(round, graph, edge_S)
        if self.drop:
            low, high = (
                (np.minimum(src, dst), np.maximum(src, dst)) if self.symmetric else (src, dst)
            )
            ticks_S[_draws(Keys(self.seed, "network.loss"), low, high, n, round) < self.drop] = LOST
        if self.outage is not None:
            up_E = self.outage.up(round, graph)
            ticks_S[
                ~truths_of("outage", self.outage, f"up({round}, graph)", up_E, len(graph.src_E))[
                    edge_S
                ]
            ] = LOST
        if self.churn is not None:
            for ticks in np.unique(ticks_S[ticks_S >= 0]).tolist():
                there = self.online(round + ticks)
                assert there is not None
                ticks_S[(ticks_S == ticks) & ~there[dst]] = LOST
        ticks_E = np.full(len(graph.src_E), UNSENT)
        ticks_E[edge_S] = ticks_S
        return MessageOutcomes(ticks_E)

    def server_hears(self, round: int) -> tuple[Bools, Bools] | None:
        """Return which devices a server's message would reach in ``round``, and whose answers would
        reach the server, ``[N]`` each; None: all.
        """
        if not self.drop:
            return None
        draw_N2 = Keys(self.seed, "network.server").uniform(np.arange(self.devices), round, 2)
        down_N, up_N = (draw_N2 >= self.drop).T
        return down_N, down_N if self.symmetric else up_N

    def quickest(self, graph: Graph) -> float:
        """Return the virtual seconds of the fastest message possible on ``graph``; infinity if it
        has no links.
        """
        edge_S = np.arange(len(graph.src_E))
        seconds_S = np.zeros(len(edge_S))
        if self.delay is not None:
            ends = [
                _delayed(self.delay, graph, edge_S, np.full(len(edge_S), draw))
                for draw in (2.0**-53, 1.0)
            ]
            seconds_S = np.minimum(*ends)
        if self._on_the_line and self.lines is not None:
            lines = self.lines
            seconds_S = seconds_S + self._bits(graph.src_E, graph.dst_E) / np.minimum(
                lines.uplink_N[graph.src_E], lines.downlink_N[graph.dst_E]
            )
        return float(seconds_S.min(initial=math.inf))

    def _ticks(self, round: int, graph: Graph, edge_S: Ints) -> Ints:
        """The ticks that the messages on the edges ``edge_S`` are under way, or LATE, ``[S]``."""
        src, dst = graph.src_E[edge_S], graph.dst_E[edge_S]
        seconds_S = np.zeros(len(edge_S))
        if self.delay is not None:
            draw_S = _draws(Keys(self.seed, "network.delay"), src, dst, graph.n, round)
            seconds_S = _delayed(self.delay, graph, edge_S, draw_S)
        if self._on_the_line and self.lines is not None:
            seconds_S = seconds_S + self.lines.seconds(src, dst, self._bits(src, dst))
        ticks_S = np.minimum(lengths(seconds_S, self.round_seconds), 2.0**40).astype(np.int64)
        ticks_S[ticks_S > self.max_delay] = LATE
        return ticks_S

    def _keep(self, what: str, round: int, make: Callable[[], Bools]) -> Bools:
        """``make()``, cached for the latest rounds, as it is asked for many times a round."""
        key = what, round
        if key not in self._kept:
            value = fixed(make().copy())  # a part may change its own array for the next round
            while len(self._kept) > 3 * (self.max_delay + 8):
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = value
        return self._kept[key]


def _delayed(delay: Delay, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
    return seconds_of(delay, delay.seconds(graph, edge_S, draw_S), len(draw_S))


def _draws(keys: Keys, one_S: Ints, other_S: Ints, n: int, round: int) -> Floats:
    """A uniform draw for each ordered pair of devices in ``round``."""
    return keys.uniform(one_S * n + other_S, round, 1)[:, 0]
