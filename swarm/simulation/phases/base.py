"""What a phase of a round is, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.communication.protocol.base import Protocol
from swarm.communication.returned import width_of
from swarm.communication.round_messages import Traffic
from swarm.simulation.phases.transport import Arrived, Payload, Transport

if TYPE_CHECKING:
    from swarm.simulation.experiment.communication import Communication
    from swarm.simulation.shard import Shard

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainResult:
    """What a shard's n devices report of a phase of learning, in the order of ``Shard.devices``.

    Attributes:
        loss_n: The mean training loss.
        scored_n: How many samples were met for the first time.
        score_n: The sum of their scores before learning from them.
        steps_n: The local steps taken.
        work_n: What was computed, predictions included, in local steps on a mini-batch each.
        finite_n: Whether the parameters are finite.
    """

    loss_n: Floats
    scored_n: Floats
    score_n: Floats
    steps_n: Ints
    work_n: Floats
    finite_n: npt.NDArray[np.bool_]


class Phase(ABC):
    """One phase of a round: number ``number`` of its protocol, which names it by its kind.

    In a round an engine asks for :meth:`transport`, calls :meth:`collect` on every shard if
    anything travels, carries what was collected, and calls :meth:`apply` on every shard. The rest
    says in advance what a phase takes. A new kind is a class in a file of this folder, listed in
    ``KINDS``.

    Attributes:
        name: What protocols call this kind in ``Protocol.phases``.
        learns: Whether devices take local steps.
        packets: Whether a device sends the same row to all its neighbours, so that it may be
            compressed, and be under way for several rounds.
        mixes: Whether an aggregator combines what devices hear.
        per_edge: Whether there is a row for each neighbour.
        through_server: Whether a server stands in the middle.
        delivery: How messages travel, in words, where that is not one message to all neighbours.
    """

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    packets: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    per_edge: ClassVar[bool] = False
    through_server: ClassVar[bool] = False
    delivery: ClassVar[str | None] = None

    def __init__(self, number: int, communication: Communication) -> None:
        self.number, self.communication = number, communication

    # --- in a round -------------------------------------------------------------------------------

    @abstractmethod
    def transport(self, round: int) -> Transport:
        """How rows travel in ``round``: a pure function of the round."""

    def collect(self, shard: Shard, round: int) -> Payload:
        """The rows that the devices of a shard send."""
        raise NotImplementedError

    @abstractmethod
    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Change the devices of a shard by what has arrived; returns what they learnt, if they
        did."""

    def shares(self, round: int) -> Floats:
        """Each device's weight ``[N]`` in a mean over all."""
        n = self.communication.settings.devices
        return np.full(n, 1.0 / n)

    # --- what it takes ----------------------------------------------------------------------------

    @property
    def sends(self) -> bool:
        """Whether anything is sent."""
        return not self.learns

    @property
    def protocol(self) -> Protocol:
        """The protocol that the phase is of."""
        return self.communication.protocol

    @property
    def width(self) -> int:
        """M, the numbers of a payload row."""
        return width_of(self.protocol, self.number, self.communication.layout.width)

    @property
    def bits(self) -> int:
        """Bits of one message."""
        return self.width * self.communication.number_bits

    def check(self) -> None:
        """Raises :class:`~swarm.common.errors.ConfigError` for a combination with graph, weights
        and network that cannot work."""
        return

    def traffic(self, round: int) -> Traffic:
        """What is put on the wire in ``round``."""
        raise NotImplementedError

    def seconds_on_line(self, round: int) -> Floats:
        """``[N]``: virtual seconds until a device's last message of ``round`` is through; zeros
        without a fleet."""
        return np.zeros(self.communication.settings.devices)

    def in_flight(self) -> dict[str, tuple[int, ...]]:
        """The shapes, for one device, of what is kept of messages from round to round."""
        return {}

    def held_numbers(self) -> float:
        """How many numbers all devices hold at once beside what is kept: what is sent, received,
        and made of it."""
        return 0.0

    # --- for the kinds ----------------------------------------------------------------------------

    @property
    def _last(self) -> bool:
        return self.number == len(self.protocol.phases) - 1

    def _finish(self, shard: Shard) -> None:
        """With the last phase of a round goes what lives within one only."""
        if self._last:
            shard.state.round_buffers.clear()

    def _show_own_packet(self, shard: Shard, sent: Tensor) -> None:
        """Show the protocol its own messages as the others read them, if it asks for that."""
        if self.protocol.requirements.own_packet:
            shard.state.round_buffers["sent"] = sent

    def _made_by_protocol(self) -> int:
        """How many payloads the protocol makes for itself: as it sends, and as it receives."""
        kind = type(self.protocol)
        return (kind.send is not Protocol.send) + (kind.receive is not Protocol.receive)
