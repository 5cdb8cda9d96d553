"""How the rows of a phase are added up: in the clear, or under masks. Phases ask this one object,
and need not know which it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.communication.aggregation.base import Neighbourhoods
from swarm.communication.returned import shares_of
from swarm.communication.round_messages import NOTHING, Overhead
from swarm.communication.secure.base import WORD_BITS, SecureSum
from swarm.communication.secure.rounds import SecureRounds
from swarm.communication.secure.sums import neighbour_sums, server_mean, server_part

if TYPE_CHECKING:
    from swarm.simulation.experiment.communication import Communication
    from swarm.simulation.phases.base import Phase
    from swarm.simulation.shard import Shard

Floats = npt.NDArray[np.float64]


class Sums:
    """Rows are added up in the clear.

    Attributes:
        secure: Whether masks hide single rows from whoever adds up.
    """

    secure: ClassVar[bool] = False

    def __init__(self, communication: Communication) -> None:
        self.communication = communication

    @property
    def one_for_all(self) -> bool:
        """Whether the mean over all devices may be added up once, where all receive the same; a
        rule that is no mean looks at each row."""
        return self.communication.aggregator.linear

    @property
    def number_bits(self) -> int:
        """The bits of a number of a message."""
        return self.communication.number_bits

    def called_off(self, round: int) -> bool:
        """Whether a sum over all devices in ``round`` cannot be had, so that nobody takes part."""
        return False

    def overhead(self, phase: Phase, round: int) -> Overhead:
        """What is sent beside the rows of a phase."""
        return NOTHING

    def received(self, phase: Phase, round: int, found: Neighbourhoods) -> Tensor:
        """The row that each of R devices receives from its neighbours, ``[R, M]``."""
        return self.communication.aggregator.combine_all(found)

    def parts(
        self, phase: Phase, shard: Shard, round: int, rows_nM: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """What each block of a shard contributes to a sum over all devices; see
        :meth:`Phase.partial_sums`."""
        shares_N = phase.shares(round)
        if phase.cohorts is not None:
            return phase.cohorts.partial_means(shard, rows_nM, shares_N)
        return shard.partial_means(rows_nM, shares_N)

    def mean(self, phase: Phase, round: int, total_M: Tensor) -> Tensor:
        """The mean over all devices, given the sum of all parts, ``[M]``."""
        return total_M


class SecureSums(Sums):
    """Rows are added up under masks, and numbers are words of 32 bits.

    Attributes:
        rounds: Who takes part in the sums of each round.
    """

    secure = True
    one_for_all = False  # each receiver adds up for itself
    number_bits = WORD_BITS

    def __init__(self, communication: Communication, plug_in: SecureSum) -> None:
        super().__init__(communication)
        seed = communication.settings.seed
        self.rounds = SecureRounds(plug_in, communication.messages, seed)

    def called_off(self, round: int) -> bool:
        """See :meth:`Sums.called_off`: too few of its devices are left."""
        return self.rounds.called_off(round)

    def overhead(self, phase: Phase, round: int) -> Overhead:
        """See :meth:`Sums.overhead`: keys and shares."""
        if phase.through_server:
            return self.rounds.server_overhead(round, phase.number)
        return self.rounds.neighbour_overhead(round, phase.number)

    def received(self, phase: Phase, round: int, found: Neighbourhoods) -> Tensor:
        """See :meth:`Sums.received`."""
        return neighbour_sums(found, self.rounds, round, phase.number)

    def parts(
        self, phase: Phase, shard: Shard, round: int, rows_nM: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """See :meth:`Sums.parts`: the masked rows of each block modulo 2^32. Floats of 64 bits hold
        the sums of up to two million blocks exactly."""
        group, largest = self.rounds.at_server(round, phase.number), self.rounds.plug_in.range
        weight_N, masks = self._invited_shares(round), group.masks(rows_nM.shape[1])
        for block, s in shard.experiment.blocks.slices(shard.blocks):
            device_n = shard.devices[s]
            part = server_part(group, masks, rows_nM[s], device_n, weight_N, largest, round)
            yield block, torch.from_numpy(part.astype("float64"))

    def mean(self, phase: Phase, round: int, total_M: Tensor) -> Tensor:
        """See :meth:`Sums.mean`."""
        group, largest = self.rounds.at_server(round, phase.number), self.rounds.plug_in.range
        return server_mean(group, total_M.numpy(), self._invited_shares(round), largest)

    def _invited_shares(self, round: int) -> Floats:
        """The weights ``[N]`` with which devices multiply their rows for a server's sum: they sum
        to one over those that are to take part, as nobody knows yet who drops out."""
        c = self.communication
        shares = np.where(self.rounds.invited(round), shares_of(c.protocol, c.sizes_N), 0.0)
        return shares / shares.sum() if shares.any() else shares


def sums_of(secure_sum: SecureSum, communication: Communication) -> Sums:
    """How rows are added up where devices send any."""
    return Sums(communication) if secure_sum.absent else SecureSums(communication, secure_sum)
