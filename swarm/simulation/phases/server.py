"""The ``server`` phase: a server averages the rows of all devices, and all receive the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm.communication.check_messages import check_server
from swarm.communication.round_messages import Traffic
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
        return messages.traffic_through_server(round, self.bits, seed)

    def seconds_on_line(self, round: int) -> Floats:
        """See :meth:`Phase.seconds_on_line`: one message up to the server and one down."""
        hardware = self.communication.fleet.hardware
        if hardware is None:
            return super().seconds_on_line(round)
        copies_N = self.communication.messages.copies_N
        up = self.bits if copies_N is None else self.bits * copies_N
        return up / hardware.uplink + self.bits / hardware.downlink

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

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Hand every device of a shard the mean, unless no device was heard."""
        assert arrived.mean_M is not None
        active = self.communication.active(round)
        if active is None or active.any():
            shard.receive_mean(self.number, arrived.mean_M)
        self._finish(shard, round)
        return None
