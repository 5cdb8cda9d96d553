"""The seams of the network, and what they come to in a round.

A round is a tick of ``network.tick`` virtual seconds. Every draw is keyed by (seed, purpose, device or edge, round), so that
nothing depends on what was asked before.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swarm.rng import Keys
from swarm.topology.graph import Graph

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
LOST, UNSENT, LATE = -1, -2, -3  # instead of the ticks that a message takes


@dataclass(frozen=True)
class Fates:
    """What becomes of the message on each edge of a round's graph: the ticks until it arrives, or LOST, UNSENT (its sender is
    not awake) or LATE (it would take longer than is waited for)."""

    ticks_E: Ints

    @classmethod
    def ideal(cls, graph: Graph) -> Fates:
        return cls(np.zeros(len(graph.src_E), np.int64))


class Churn(ABC):
    """Who is part of the swarm, and there. A device that is not neither learns nor sends nor receives, and keeps its state."""

    @abstractmethod
    def online(self, round: int) -> Bools:
        """``[N]``, in ``round`` (from 1)."""


class AlwaysThere(Churn):
    """Everybody, always."""

    def online(self, round: int) -> Bools:
        raise NotImplementedError("a network without churn does not ask")


class Outage(ABC):
    """Links that are down, whatever is sent on them: a network in pieces, for example."""

    @abstractmethod
    def up(self, round: int, graph: Graph) -> Bools:
        """``[E]``, in ``round``."""


class AllUp(Outage):
    """No link is ever down."""

    def up(self, round: int, graph: Graph) -> Bools:
        return np.ones(len(graph.src_E), bool)


class Clock(ABC):
    """When devices wake to learn and send; the others only listen."""

    @abstractmethod
    def wakes(self, round: int) -> Bools:
        """``[N]``, in ``round``."""


class EveryRound(Clock):
    """Everybody, in every round."""

    def wakes(self, round: int) -> Bools:
        raise NotImplementedError("a network without clocks does not ask")


class Delay(ABC):
    """How long messages take, besides what their size takes on the line."""

    @abstractmethod
    def seconds(self, graph: Graph, draw_E: Floats) -> Floats:
        """``[E]`` virtual seconds; ``draw_E`` are uniform draws in (0, 1), one a message."""

    @property
    @abstractmethod
    def longest(self) -> float:
        """No message takes more seconds; infinity if there is no such number."""


class Instant(Delay):
    """Every message arrives in the round in which it is sent."""

    longest = 0.0

    def seconds(self, graph: Graph, draw_E: Floats) -> Floats:
        return np.zeros_like(draw_E)


@dataclass(frozen=True)
class Network:
    """The parts together. ``loss`` is the probability that a message is lost; with ``symmetric`` both directions of a link are
    lost together. A message that would arrive more than ``patience`` ticks after it was sent is given up as late.
    """

    devices: int
    seed: int
    tick: float = 1.0
    loss: float = 0.0
    symmetric: bool = False
    patience: int = 8
    delay: Delay | None = None
    churn: Churn | None = None
    outage: Outage | None = None
    clock: Clock | None = None

    @property
    def ideal(self) -> bool:
        """Whether everybody is always awake and every message arrives in the round in which it is sent."""
        return not (self.loss or self.churn or self.outage or self.clock or self.delay)

    @property
    def reach(self) -> int:
        """The most ticks that a message is under way."""
        if self.delay is None:
            return 0
        ticks = self.delay.longest / self.tick
        return min(self.patience, math.floor(ticks)) if math.isfinite(ticks) else self.patience

    def online(self, round: int) -> Bools | None:
        """Who is there; None: everybody."""
        return None if self.churn is None else self.churn.online(round)

    def awake(self, round: int) -> Bools | None:
        """Who learns and sends; None: everybody."""
        online, wakes = self.online(round), None if self.clock is None else self.clock.wakes(round)
        if online is None or wakes is None:
            return wakes if online is None else online
        return online & wakes

    def fates(self, round: int, graph: Graph) -> Fates:
        """What becomes of the messages of ``round``. It is settled when they are sent: whoever will not be there when one
        arrives does not get it."""
        src, dst, n = graph.src_E, graph.dst_E, graph.n
        low, high = (np.minimum(src, dst), np.maximum(src, dst)) if self.symmetric else (src, dst)
        ticks_E = np.zeros(len(src), np.int64)
        if self.delay is not None:
            draw_E = Keys(self.seed, "network.delay").uniform(src * n + dst, round, 1)[:, 0]
            ticks_E = np.minimum(self.delay.seconds(graph, draw_E) / self.tick, 2.0**40).astype(np.int64)
            ticks_E[ticks_E > self.patience] = LATE
        if self.loss:
            ticks_E[Keys(self.seed, "network.loss").uniform(low * n + high, round, 1)[:, 0] < self.loss] = LOST
        if self.outage is not None:
            ticks_E[~self.outage.up(round, graph)] = LOST
        if self.churn is not None:
            for ticks in range(self.reach + 1):
                there = self.online(round + ticks)
                assert there is not None
                ticks_E[(ticks_E == ticks) & ~there[dst]] = LOST
        awake = self.awake(round)
        if awake is not None:
            ticks_E[~awake[src]] = UNSENT
        return Fates(ticks_E)
