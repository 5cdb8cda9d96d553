"""The ``messages`` phase: a device receives its messages one by one, not averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from swarm.communication.protocol.base import Inbox
from swarm.simulation.phases.base import Ints, TrainResult
from swarm.simulation.phases.neighbours import Packets
from swarm.simulation.phases.transport import AlongLinks, Arrived, Transport

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


class Messages(Packets):
    """Devices receive the messages that arrive one by one, sorted by (receiver, sender, age)."""

    name = "messages"

    def transport(self, round: int) -> Transport:
        """:class:`AlongLinks`, with every message apart."""
        return AlongLinks(self.communication.messages.single(round))

    @property
    def weighs(self) -> bool:
        """See :meth:`Phase.weighs`; only protocols that keep to their links are told weights."""
        needed = self.protocol.requirements
        return needed.weights and needed.fixed_links

    def measured(self, round: int) -> Ints:
        """See :meth:`Phase.measured`; a protocol says how many models a device measures."""
        if not self.protocol.requirements.own_validation:
            return super().measured(round)
        arrived = self.communication.messages.single(round).dst_R
        arrived_N = np.bincount(arrived, minlength=self.communication.settings.devices)
        found_N, active = self.protocol.measures(arrived_N), self.communication.active(round)
        if active is None:
            return found_N
        # a device that is asleep measures what it hears, and nothing from which it would learn
        return np.where(active, found_N, found_N - self.protocol.measures(0 * arrived_N))

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Hand the devices of a shard their messages, if any have arrived."""
        payload, route = shard.take_payload(), arrived.route
        assert route is not None
        rows_AM = payload.joined(route, arrived.from_shards)
        with shard.present_only(round, "receive_messages"):
            if len(route.dst_R):
                assert route.src_R is not None
                assert route.age_R is not None
                device = rows_AM.device
                about = (
                    torch.as_tensor(each, device=device)
                    for each in (route.dst_R, route.src_R, route.age_R)
                )
                order = torch.as_tensor(route.matrix.indices.astype(np.int64), device=device)
                inbox = Inbox(rows_AM[order], *about)
                self.protocol.receive_messages(self.number, shard.state, inbox)
        self._remember(shard, payload)
        self._finish(shard, round)
        return None
