"""The interfaces of the network's parts: churn, outage, clock and delay.

A round is a tick of ``network.round_seconds`` virtual seconds: round r begins at (r − 1) · tick.
:mod:`swarm.communication.network.network` asks the parts what becomes of a round's messages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from swarm.communication.topology.graph import Graph

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class NetworkPart:
    """A part of a network that an option chooses."""

    absent: ClassVar[bool] = False
    """Whether there is none, as the option ``none`` says, so that nothing of it is called."""
    file_options: ClassVar[tuple[str, ...]] = ("path",)
    """The parameters that name a file: a run goes on only while each holds what it did."""


class Churn(NetworkPart, ABC):
    """Says which devices are online, and which belong to the swarm.

    A device that is offline does not learn, send or receive, and keeps its state.
    """

    announced: float = 0.0
    """Virtual seconds after which its event, such as a failure of devices, is over; 0: none."""

    @abstractmethod
    def online(self, round: int) -> Bools:
        """Return which devices are online in ``round`` (from 1), ``[N]``."""

    def members(self, round: int) -> Bools | None:
        """Return which devices belong to the swarm in ``round``, ``[N]``; None: all.

        A device that is offline for a while still belongs to it; one that has left for good, or has
        not joined yet, does not. Only members are evaluated.
        """
        return None


class NoChurn(Churn):
    """No churn: all devices are always online."""

    absent = True

    def online(self, round: int) -> Bools:
        raise NotImplementedError("a network without churn does not ask")


class Outage(NetworkPart, ABC):
    """Says which links are down; all messages on them are lost."""

    announced: float = 0.0
    """Virtual seconds after which the outage has begun."""

    @abstractmethod
    def up(self, round: int, graph: Graph) -> Bools:
        """Return which edges of ``graph`` work in ``round``, ``[E]``."""


class NoOutage(Outage):
    """No outage: no link is ever down."""

    absent = True

    def up(self, round: int, graph: Graph) -> Bools:
        return np.ones(len(graph.src_E), bool)


class Clock(NetworkPart, ABC):
    """Says in which rounds devices wake to learn and send; in the others they only listen."""

    share: float = 1.0
    """The fraction of devices that wake in a round on average."""
    by_speed = False
    """Whether a device wakes as often as its local steps take on its hardware."""

    @abstractmethod
    def wakes(self, round: int) -> Bools:
        """Return which devices wake in ``round``, ``[N]``."""


class NoClock(Clock):
    """No clock: all devices wake in every round."""

    absent = True

    def wakes(self, round: int) -> Bools:
        raise NotImplementedError("a network without clocks does not ask")


class Delay(NetworkPart, ABC):
    """Says how long messages take, besides the time to transmit their bits."""

    longest: float
    """The most virtual seconds that a message can take; infinity if there is no bound."""
    by_length = False
    """Whether messages take longer on longer edges."""

    @abstractmethod
    def seconds(self, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
        """Return the virtual seconds of one message on each of the edges ``edge_S``, ``[S]``;
        ``draw_S`` are uniform draws in (0, 1), one for each message.
        """


class NoDelay(Delay):
    """No delay: every message arrives in the round in which it is sent."""

    absent = True
    longest = 0.0

    def seconds(self, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
        return np.zeros_like(draw_S)
