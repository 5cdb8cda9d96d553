"""The ``mix`` phase: every device averages its own row with those that it hears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm.communication.check_messages import check_weights
from swarm.simulation.phases.base import TrainResult
from swarm.simulation.phases.neighbours import Packets
from swarm.simulation.phases.transport import (
    Alone,
    AlongLinks,
    Arrived,
    MeanOverAll,
    Payload,
    Transport,
)

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


class Mix(Packets):
    """Device i receives Σ_j W_ij · row_j over itself and the neighbours whose messages arrive."""

    name = "mix"

    def transport(self, round: int) -> Transport:
        """Along links, but where the graph has none, or where all weights are the same."""
        messages = self.communication.messages.mix(round)
        if messages.is_mean:
            return MeanOverAll()
        return Alone() if messages.silent else AlongLinks(messages)

    def _check_weights(self) -> None:
        check_weights(self.communication.messages)

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Hand every device its average."""
        if arrived.mean_M is not None:
            shard.receive_mean(self.number, arrived.mean_M)
            self._finish(shard)
            return None
        payload = shard.payload or self.collect(shard, round)
        shard.payload = None
        with shard.present_only(round, "receive"):
            self.protocol.receive(self.number, shard.state, self._mixed(shard, payload, arrived))
        self._remember(shard, payload)
        self._finish(shard)
        return None

    def _mixed(self, shard: Shard, payload: Payload, arrived: Arrived) -> Tensor:
        """What each device of the shard receives, ``[n, M]``; who hears nothing keeps its own."""
        route = arrived.route
        if route is None:
            return payload.own
        received = route.product(payload.joined(route, arrived.inbox))
        if len(route.dst_R) == len(shard.devices):
            return received
        heard = torch.as_tensor(route.dst_R, device=received.device)
        return payload.own.index_copy(0, heard, received)
