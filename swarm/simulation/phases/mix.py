"""The ``mix`` phase: every device combines its own row with those that it hears."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swarm.common.rng import Keys
from swarm.communication.aggregation.base import Draws, Neighbourhoods, uses_weights
from swarm.communication.check_messages import check_weights
from swarm.communication.protocol.base import Protocol
from swarm.simulation.experiment.cohorts.cohorts import replaces_state
from swarm.simulation.hostile.sending import with_link_attack
from swarm.simulation.phases.base import Ints, TrainResult
from swarm.simulation.phases.neighbours import Packets
from swarm.simulation.phases.transport import (
    AlongLinks,
    Arrived,
    MeanOverAll,
    NoTransport,
    Payload,
    Transport,
)

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


class Mix(Packets):
    """Device i receives the aggregate of its own row and the rows that arrive from its neighbours:
    Σ_j W_ij · row_j with the aggregator ``mean``."""

    name = "mix"
    mixes = True

    def transport(self, round: int) -> Transport:
        """:class:`AlongLinks`; :class:`NoTransport` where no message arrives, and
        :class:`MeanOverAll` where the mixing is the mean over all devices."""
        messages = self.communication.messages.mix(round)
        if messages.is_mean and self.communication.sums.one_for_all:
            return MeanOverAll()
        return NoTransport() if messages.silent else AlongLinks(messages)

    @property
    def weighs(self) -> bool:
        """See :meth:`Phase.weighs`; some rules of aggregation do without."""
        return uses_weights(self.communication.aggregator)

    def _check_weights(self) -> None:
        check_weights(self.communication.messages)

    def held_numbers(self) -> float:
        """See :meth:`Phase.held_numbers`, and what the aggregator holds, unless it is linear; an
        attack by link makes a row for each hostile link."""
        c = self.communication
        found = super().held_numbers()
        if not c.aggregator.linear:
            found += c.aggregator.held_numbers(c.messages.most_links + 1, self.width)
        if self.cohorts is not None and self._over_state:  # a group's, cut out and as their means
            return found - c.settings.devices * self.width + 2 * self.cohorts.most_of_group
        if self.cohorts is not None:  # the numbers of smaller models, cut out, and of each group
            found += (1 if c.aggregator.linear else 3) * c.settings.devices * self.width
        if c.aggregator.own_validation:  # what the allocator keeps of measuring, as measured
            found += c.settings.devices * self.width
        if c.link_attack is not None and c.hostile_N is not None:
            # beside the rows that are joined with the others
            found += 2 * int(c.hostile_N[c.messages.graph(1).src_E].sum()) * self.width
        return found

    def in_flight(self) -> dict[str, tuple[int, ...]]:
        """See :meth:`Packets.in_flight`, and what the aggregator remembers."""
        shapes, c = super().in_flight(), self.communication
        if c.aggregator.has_memory:
            shapes[self._memory] = (c.settings.devices,)
        return shapes

    @property
    def _memory(self) -> str:
        return f"aggregator.{self.number}"

    def measured(self, round: int) -> Ints:
        """See :meth:`Phase.measured`; a device measures its own model and each that arrives."""
        if not self.communication.aggregator.own_validation:
            return super().measured(round)
        messages, devices = (
            self.communication.messages.mix(round),
            self.communication.settings.devices,
        )
        models_N = np.ones(devices, np.int64)
        models_N[messages.dst_R] = np.diff(messages.matrix.indptr)
        return models_N

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Hand every device of a shard its aggregate."""
        if arrived.mean_M is not None:
            shard.receive_mean(self.number, arrived.mean_M, self.shares(round))
            self._finish(shard, round)
            return None
        payload = shard.payload or self.collect(shard, round)
        shard.payload = None
        with shard.present_only(round, "receive"):
            self.protocol.receive(self.number, shard.state, self._mixed(shard, payload, arrived))
        self._remember(shard, payload)
        self._finish(shard, round)
        return None

    def _mixed(self, shard: Shard, payload: Payload, arrived: Arrived) -> Tensor:
        """The row that each device of the shard receives, ``[n, M]``; a device that hears nothing
        keeps its own."""
        route, own_nM = arrived.route, payload.own
        if self.mixed is not None:
            own_nM = self.mixed.own_rows(own_nM, shard.devices)
        if route is None:
            return own_nM
        everybody = len(route.dst_R) == len(shard.devices)
        some = torch.as_tensor(route.dst_R, device=own_nM.device)
        own_RM = own_nM if everybody else own_nM[some]
        c, rows_mM = self.communication, payload.joined(route, arrived.from_shards)
        if self.mixed is not None and self._in_place(shard, payload):
            devices_R = shard.devices[route.dst_R]
            return self.mixed.mean(route, rows_mM, devices_R, shard.state.x)
        found = Neighbourhoods(
            route,
            rows_mM,
            own_RM,
            shard.devices[route.dst_R],
            Draws(Keys(c.settings.seed, f"aggregator.{self.number}"), payload.round),
            shard.state.local.measure_loss if c.aggregator.own_validation else None,
            self._memory_of(shard, some),
        )
        found = with_link_attack(self.communication, found)
        if self.mixed is None:
            received_RM = c.sums.received(self, payload.round, found)
        elif c.aggregator.linear:
            received_RM = self.mixed.mean(route, rows_mM, found.device_R)
        else:
            received_RM = self.mixed.combined(c.aggregator, found)
        if found.memory_RN is not None:
            shard.in_flight[self._memory][some] = found.memory_RN
        return received_RM if everybody else own_nM.index_copy(0, some, received_RM)

    @cached_property
    def _over_state(self) -> bool:
        """Whether means may be written into the rows of the state, as it is these that devices mix,
        and nothing asks for them afterwards. Local steps change them in every round anyway."""
        c = self.communication
        changes = c.compressor is not None or c.transforms or c.message_attack is not None
        return (
            self.mixed is not None
            and self.mixed.by_group
            and c.aggregator.linear
            and not (changes or c.messages.depth)
            and type(self.protocol).send is Protocol.send
            and replaces_state(c)
        )

    def _in_place(self, shard: Shard, payload: Payload) -> bool:
        """Whether :attr:`_over_state` holds of these rows, and nobody listens to messages."""
        state = shard.state
        alone = payload.own is state.x and state.x.is_contiguous()
        return self._over_state and alone and not state.round_buffers and shard.listener is None

    def _memory_of(self, shard: Shard, some: Tensor) -> Tensor | None:
        """What the devices with these numbers remember of others, if the aggregator remembers."""
        if not self.communication.aggregator.has_memory:
            return None
        return shard.in_flight[self._memory][some]
