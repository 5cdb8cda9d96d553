"""The interface of a phase of a round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.communication.protocol.base import Protocol
from swarm.communication.returned import plays, sent, width_of
from swarm.communication.round_messages import Traffic
from swarm.simulation.hostile.sending import Draft, memory_of
from swarm.simulation.phases.transport import Arrived, Payload, Transport

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.experiment.cohorts.cohorts import Cohorts
    from swarm.simulation.experiment.cohorts.messages import MixedMessages
    from swarm.simulation.experiment.communication import Communication
    from swarm.simulation.shard import Shard

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TrainResult:
    """The results of a learning phase for a shard's n devices, in the order of ``Shard.devices``.

    Attributes:
        loss_n: The mean training loss.
        scored_n: How many samples were met for the first time.
        score_n: The sum of their scores before learning from them.
        steps_n: The local steps taken.
        work_n: The computation, predictions included, in local steps on a plain mini-batch.
        finite_n: Whether the parameters are finite.
        kept_finite_n: Whether what devices keep for themselves beside them is finite.
    """

    loss_n: Floats
    scored_n: Floats
    score_n: Floats
    steps_n: Ints
    work_n: Floats
    finite_n: Bools
    kept_finite_n: Bools


class Phase(ABC):
    """One phase of a round: entry ``number`` of the protocol's ``phases``, which names its kind.

    In a round an engine asks for :meth:`transport`, calls :meth:`collect` on every shard if
    anything travels, carries the collected rows, and calls :meth:`apply` on every shard. The other
    methods say in advance what a phase costs. A new kind is a class in a file of this folder,
    listed in ``KINDS``.

    Attributes:
        name: The name of this kind in ``Protocol.phases``.
        learns: Whether devices take local steps.
        packets: Whether a device sends the same row to all its neighbours, so that the row may be
            compressed, and be under way for several rounds.
        mixes: Whether an aggregator combines what devices hear.
        per_edge: Whether a device sends each neighbour a row of its own.
        through_server: Whether messages go to a server and back.
        of_parameters: Whether its rows are made of parameters, as far as the protocol's are, so
            that a message between two cohorts has only the numbers that both ends have.
        delivery: How messages travel, in words, where that is not one message to all neighbours.
        place: The number of this phase among all that are played, those of colluders included.
    """

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    packets: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    per_edge: ClassVar[bool] = False
    through_server: ClassVar[bool] = False
    of_parameters: ClassVar[bool] = True
    delivery: ClassVar[str | None] = None

    def __init__(self, number: int, communication: Communication) -> None:
        self.number = self.place = number
        self.communication = communication

    # --- in a round -------------------------------------------------------------------------------

    def plays(self, round: int) -> bool:
        """Whether this phase is a part of ``round``; the protocol may leave out phases of
        communication."""
        return self.learns or plays(self.protocol, self.number, round)

    @abstractmethod
    def transport(self, round: int) -> Transport:
        """How rows travel in ``round``; the answer must depend on the round only."""

    def collect(self, shard: Shard, round: int) -> Payload:
        """The rows that the devices of a shard send; phases in which nothing travels have none."""
        raise NotImplementedError

    def rows(self, shard: Shard, round: int) -> Tensor:
        """The rows of the devices of a shard before anything changes them, by default those that
        the protocol sends."""
        return sent(self.protocol, self.number, shard.state)

    def draft(self, shard: Shard, round: int) -> Draft:
        """The rows that the devices of a shard send if they are honest."""
        rows = self.rows(shard, round)
        return Draft(rows, rows)

    def partial_sums(self, shard: Shard, round: int) -> Iterator[tuple[int, Tensor]]:
        """What each block of a shard contributes to a mean over all, in order: the number of the
        block, and Σ_i share_i · row_i over its devices, ``[M]``, masked in a secure sum. What is
        applied is their sum."""
        rows = self.collect(shard, round).packets
        return self.communication.sums.parts(self, shard, round, rows)

    @abstractmethod
    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Change the devices of a shard by what has arrived; returns the result of learning, or
        None if the phase does not learn."""

    def shares(self, round: int) -> Floats:
        """The weight of each device in a mean over all, ``[N]``."""
        n = self.communication.settings.devices
        return np.full(n, 1.0 / n)

    # --- its cost ---------------------------------------------------------------------------------

    @property
    def sends(self) -> bool:
        """Whether devices send anything in this phase."""
        return not self.learns

    @property
    def weighs(self) -> bool:
        """Whether the mixing weights have a part in what devices make of what they hear."""
        return False

    @property
    def protocol(self) -> Protocol:
        """The protocol whose phase this is."""
        return self.communication.protocol

    @property
    def cohorts(self) -> Cohorts | None:
        """Which device has which model; None where all have the same, and where the rows of this
        phase are not made of parameters."""
        return self.communication.cohorts if self.of_parameters else None

    @property
    def mixed(self) -> MixedMessages | None:
        """The messages between those cohorts; None where :attr:`cohorts` is."""
        return self.communication.mixed if self.of_parameters else None

    @property
    def width(self) -> int:
        """M, the number of numbers in a payload row."""
        return width_of(self.protocol, self.number, self.communication.layout.width)

    @property
    def bits(self) -> int:
        """The number of bits of one message."""
        return self.width * self.communication.sums.number_bits

    def check(self) -> None:
        """Raises :class:`~swarm.common.errors.ConfigError` if the phase cannot work with the graph,
        the weights or the network."""
        return

    def traffic(self, round: int) -> Traffic:
        """The messages that are sent in ``round``, counted."""
        raise NotImplementedError

    def measured(self, round: int) -> Ints:
        """How many models each device measures in ``round`` on its own validation samples,
        ``[N]``, as far as it is counted; see :meth:`Requirements.own_validation`."""
        return np.zeros(self.communication.settings.devices, np.int64)

    @property
    def beside_N(self) -> Floats:
        """The most that each device computes in this phase, in local steps, ``[N]``, beside a phase
        of learning."""
        return np.zeros(self.communication.settings.devices)

    def work(self, round: int) -> Floats:
        """What each device computes in this phase of ``round``, in local steps, ``[N]``, beside a
        phase of learning."""
        return np.zeros(self.communication.settings.devices)

    def bytes_at_work(self, e: Experiment, activations: int) -> int:
        """The bytes that a block of devices takes while it computes in this phase, beside a phase
        of learning; a backward pass keeps ``activations`` bytes of a sample."""
        return 0

    def seconds_on_line(self, round: int) -> Floats:
        """The virtual seconds until a device's last message of ``round`` is transmitted, ``[N]``;
        zeros without a fleet."""
        return np.zeros(self.communication.settings.devices)

    def in_flight(self) -> dict[str, tuple[int, ...]]:
        """The shapes, for one device, of the arrays that keep messages from round to round."""
        return memory_of(self)

    def held_numbers(self) -> float:
        """The most numbers that all devices hold at once in this phase, beside what they keep from
        round to round."""
        return 0.0

    # --- for the kinds ----------------------------------------------------------------------------

    def _finish(self, shard: Shard, round: int) -> None:
        """Round parameters to the devices' grid, if they have one, and clear, after the last phase
        of ``round``, the buffers that last for one round only."""
        grid, state = shard.experiment.model.grid, shard.state
        if grid is not None:
            round_n, when = np.full_like(shard.devices, round), f"phase.{self.number}"
            state.x = grid.rounded(state.x, shard.devices, round_n, when)
        later = self.communication.phases[self.place + 1 :]
        if not any(phase.plays(round) for phase in later):
            shard.state.round_buffers.clear()

    def _show_packets(self, shard: Shard, round: int, sent: Tensor) -> None:
        """Show the messages of a shard's devices as others read them: to the protocol, if it asks
        for that, and to whoever listens."""
        if self.protocol.requirements.own_packet:
            shard.state.round_buffers["sent"] = sent
        if shard.listener is not None:
            shard.listener(self, round, sent)

    def _made_by_protocol(self) -> int:
        """The number of arrays of payload size that the protocol allocates, in ``send`` and in
        ``receive``."""
        kind = type(self.protocol)
        return (kind.send is not Protocol.send) + (kind.receive is not Protocol.receive)
