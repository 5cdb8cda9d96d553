"""The ``server`` phase: a server averages the rows of all devices, and all receive the mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm.communication.check_messages import check_server
from swarm.communication.round_messages import Traffic
from swarm.communication.secure.masks import Masks
from swarm.communication.secure.sums import server_mean, server_part
from swarm.simulation.hostile.sending import sent_rows
from swarm.simulation.phases.base import Floats, Phase, TrainResult
from swarm.simulation.phases.transport import Arrived, MeanOverAll, Payload, Transport

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


class Server(Phase):
    """Every device receives Σ_i share_i · row_i over the devices that are heard. A device that is
    away would fetch the mean before it learns again, so it receives it as well."""

    name = "server"
    through_server = True
    delivery = "through a server"

    def transport(self, round: int) -> Transport:
        """:class:`MeanOverAll`."""
        return MeanOverAll()

    def shares(self, round: int) -> Floats:
        """The protocol's weights of the devices that are heard, ``[N]``."""
        return self.communication.server_shares(round)

    def check(self) -> None:
        """See :meth:`Phase.check`."""
        check_server(self.communication.messages)

    def traffic(self, round: int) -> Traffic:
        """One message down and one up for each participant, unless they are lost."""
        messages, seed = self.communication.messages, self.communication.settings.seed
        found = messages.traffic_through_server(round, self.bits, seed)
        secure = self.communication.secure
        if secure is None:
            return found
        return replace(found, overhead=secure.server_overhead(round, self.number))

    def seconds_on_line(self, round: int) -> Floats:
        """See :meth:`Phase.seconds_on_line`: one message up to the server and one down."""
        hardware = self.communication.fleet.hardware
        if hardware is None:
            return super().seconds_on_line(round)
        copies_N = self.communication.messages.copies_N
        up = self.bits if copies_N is None else self.bits * copies_N
        seconds_N: Floats = up / hardware.uplink + self.bits / hardware.downlink
        if (secure := self.communication.secure) is not None:
            more = secure.server_overhead(round, self.number)
            seconds_N += more.sent_N / hardware.uplink + more.received_N / hardware.downlink
        return seconds_N

    def held_numbers(self) -> float:
        """See :meth:`Phase.held_numbers`: the received rows, and the copies that the protocol
        makes."""
        c = self.communication
        n = c.settings.devices
        churn = n * c.layout.width if c.network.churn is not None else 0
        attacked = c.message_attack is not None
        return (1 + attacked + self._made_by_protocol()) * n * self.width + churn

    def collect(self, shard: Shard, round: int) -> Payload:
        """The rows that the protocol sends."""
        rows = sent_rows(self, shard, round).changed
        self._show_own_packet(shard, rows)
        return Payload(rows, rows, None, 1, round)

    def partial_sums(self, shard: Shard, round: int) -> Iterator[tuple[int, Tensor]]:
        """See :meth:`Phase.partial_sums`; of a secure sum, the masked rows of each block modulo
        2^32. Floats of 64 bits hold the sums of up to two million blocks exactly."""
        secure = self.communication.secure
        if secure is None:
            yield from super().partial_sums(shard, round)
            return
        rows_nM, group = self.collect(shard, round).packets, secure.at_server(round, self.number)
        weight_N, largest = self.communication.invited_shares(round), secure.plug_in.range
        masks = Masks(group, rows_nM.shape[1])
        for block, s in shard.experiment.blocks.slices(shard.blocks):
            device_n = shard.devices[s]
            part = server_part(group, masks, rows_nM[s], device_n, weight_N, largest, round)
            yield block, torch.from_numpy(part.astype("float64"))

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Hand every device of a shard the mean, unless no device was heard."""
        c, mean_M = self.communication, arrived.mean_M
        assert mean_M is not None
        active = c.active(round)
        if active is None or active.any():
            if c.secure is not None:
                group, weight_N = c.secure.at_server(round, self.number), c.invited_shares(round)
                mean_M = server_mean(group, mean_M.numpy(), weight_N, c.secure.plug_in.range)
            shard.receive_mean(self.number, mean_M)
        self._finish(shard, round)
        return None
