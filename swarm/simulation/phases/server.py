"""The ``server`` phase: a server combines the rows of all devices, and all receive the result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from swarm.common.rng import Keys
from swarm.communication.aggregation.at_server import combined
from swarm.communication.aggregation.base import Draws
from swarm.communication.check_messages import check_server
from swarm.communication.round_messages import MessageSizes, Traffic
from swarm.simulation.experiment.cohorts.cohorts import replaces_state
from swarm.simulation.hostile.sending import sent_rows
from swarm.simulation.phases.base import Bools, Floats, Ints, Phase, TrainResult
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


class Server(Phase):
    """Every device receives Σ_i share_i · row_i over the devices that are heard, or what another
    aggregation rule makes of these rows. A device that is away would fetch the result before it
    learns again, so it receives it as well."""

    name = "server"
    through_server = True
    delivery = "through a server"

    def transport(self, round: int) -> Transport:
        """:class:`MeanOverAll`; with another rule :class:`AlongLinks`, by which every shard gets
        all rows and works out what the server makes of them."""
        if not self._by_rule:
            return MeanOverAll()
        c = self.communication
        messages = c.messages.to_server(round, c.settings.seed)
        return NoTransport() if messages is None else AlongLinks(messages)

    @property
    def _by_rule(self) -> bool:
        """Whether the server takes no mean. Where devices mix over links as well, the rule is for
        that, and the server takes the mean."""
        c = self.communication
        return not c.aggregator.linear and not any(phase.mixes for phase in c.phases)

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
        if (cohorts := self.cohorts) is not None:
            bits_N = cohorts.width_N * self.communication.number_bits
            asked_N = messages.asked_by_server(round, seed)
            from_server = int(bits_N[asked_N].sum())
            sizes = MessageSizes(found.sent_N * bits_N, found.received_N * bits_N, from_server)
            return replace(found, sizes=sizes)
        return replace(found, overhead=self.communication.sums.overhead(self, round))

    def seconds_on_line(self, round: int) -> Floats:
        """See :meth:`Phase.seconds_on_line`: one message up to the server and one down."""
        hardware = self.communication.fleet.hardware
        if hardware is None:
            return super().seconds_on_line(round)
        copies_N, cohorts = self.communication.messages.copies_N, self.cohorts
        bits: int | Ints = self.bits
        if cohorts is not None:
            bits = cohorts.width_N * self.communication.number_bits
        up = bits if copies_N is None else bits * copies_N
        seconds_N: Floats = up / hardware.uplink + bits / hardware.downlink
        more = self.communication.sums.overhead(self, round)
        seconds_N += more.sent_N / hardware.uplink + more.received_N / hardware.downlink
        return seconds_N

    def held_numbers(self) -> float:
        """See :meth:`Phase.held_numbers`: the received rows, and the copies that the protocol
        makes."""
        c = self.communication
        n = c.settings.devices
        churn = n * c.layout.width if c.network.churn is not None else 0
        attacked = c.message_attack is not None
        rule = n * self.width + c.aggregator.held_numbers(n, self.width) if self._by_rule else 0
        new = self.cohorts is None or not replaces_state(c)
        return (new + attacked + self._made_by_protocol()) * n * self.width + churn + rule

    def collect(self, shard: Shard, round: int) -> Payload:
        """The rows that the protocol sends."""
        rows = sent_rows(self, shard, round).changed
        self._show_packets(shard, round, rows)
        return Payload(rows, rows, None, 1, round)

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Hand every device of a shard the result, unless no device was heard."""
        c, found_M, sent_G = self.communication, arrived.mean_M, None
        if arrived.route is not None:
            found_M, sent_G = self._combined(shard.take_payload(), arrived)
        active = c.active(round)
        if found_M is not None and (active is None or active.any()):
            self._hand_out(shard, round, c.sums.mean(self, round, found_M), sent_G)
        self._finish(shard, round)
        return None

    def _hand_out(
        self, shard: Shard, round: int, found_M: Tensor, sent_G: Bools | None = None
    ) -> None:
        """Give every device of a shard what the server has made of all rows: of several models, of
        the groups of numbers ``sent_G`` that a rule has combined."""
        shard.receive_mean(self.number, found_M, self.shares(round), sent_G)

    def _combined(self, payload: Payload, arrived: Arrived) -> tuple[Tensor | None, Bools | None]:
        """What the rule makes of all rows, ``[M]``, and of several models, of which groups of
        numbers."""
        c, route = self.communication, arrived.route
        assert route is not None
        rows_nM = payload.joined(route, arrived.from_shards)
        draws = Draws(Keys(c.settings.seed, f"aggregator.{self.number}"), payload.round)
        if self.mixed is not None:
            return self.mixed.at_server(c.aggregator, rows_nM, route.sender_m, draws)
        return combined(c.aggregator, rows_nM, route.sender_m, draws), None
