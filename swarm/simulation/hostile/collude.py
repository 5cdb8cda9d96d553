"""The exchange in which colluding devices learn what the honest ones send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swarm.communication.attack.base import Known, MessageAttack
from swarm.simulation.phases.base import Floats, Phase, TrainResult
from swarm.simulation.phases.transport import Arrived, MeanOverAll, Payload, Transport

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


class Collude(Phase):
    """Comes before a phase that sends: the weighted mean of the rows that honest devices are about
    to send, and of their squares, goes to all shards.

    It is a mean over all devices as any other, so that it has the same bits on every engine. It
    costs nothing: nobody counts what attackers tell one another.
    """

    name = "collude"

    def __init__(self, before: Phase, attack: MessageAttack) -> None:
        """Take the phase that it comes ``before``."""
        super().__init__(before.number, before.communication)
        self.before, self.attack = before, attack

    @property
    def sends(self) -> bool:
        """False, as no message is counted."""
        return False

    def plays(self, round: int) -> bool:
        """Whether the phase that it comes before is a part of ``round``."""
        return self.before.plays(round)

    def transport(self, round: int) -> Transport:
        """:class:`MeanOverAll`."""
        return MeanOverAll()

    def shares(self, round: int) -> Floats:
        """The weights that the attack gives to honest devices, of those that send in ``round``."""
        c = self.communication
        assert c.hostile_N is not None
        shares_N, active = self.attack.watched(~c.hostile_N, c.settings.seed), c.active(round)
        if active is None:
            return shares_N
        heard = np.where(active, shares_N, 0.0)
        return heard / heard.sum() if heard.any() else shares_N

    def collect(self, shard: Shard, round: int) -> Payload:
        """The rows that the devices are about to send; those of no weight count for nothing, and
        need not be finite."""
        draft = shard.draft = self.before.draft(shard, round)
        return Payload(draft.changed, draft.changed, None, 1, round)

    def partial_sums(self, shard: Shard, round: int) -> Iterator[tuple[int, Tensor]]:
        """See :meth:`Phase.partial_sums`; also of the squares, if the attack asks for the
        spread."""
        rows = self.collect(shard, round).packets
        return shard.partial_means(rows, self.shares(round), self.attack.spread)

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Keep what colluders know until the next phase."""
        found, square_M, there_M = arrived.mean_M, None, None
        assert found is not None
        if self.attack.spread:
            found, square_M = found.chunk(2)
        if (cohorts := self.before.cohorts) is not None:  # over those who have a number
            shares_N = self.shares(round)
            there_M = cohorts.mean_of_holders(torch.ones_like(found), shares_N) > 0
            found = cohorts.mean_of_holders(found, shares_N)
            if square_M is not None:
                square_M = cohorts.mean_of_holders(square_M, shares_N)
        std_M = None if square_M is None else (square_M - found.square()).clamp_min(0).sqrt()
        shard.known = Known(found, std_M, there_M)
        return None

    def in_flight(self) -> dict[str, tuple[int, ...]]:
        """Nothing, as it is done within a round."""
        return {}


def with_collusion(phases: Sequence[Phase], attack: MessageAttack) -> tuple[Phase, ...]:
    """The phases of a round, with the exchange of colluders before each that sends."""
    found: list[Phase] = []
    for phase in phases:
        if phase.packets or phase.through_server:
            found.append(Collude(phase, attack))
        found.append(phase)
    return tuple(found)
