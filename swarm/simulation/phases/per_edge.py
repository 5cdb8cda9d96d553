"""The ``per_edge`` phase: every neighbour gets a row of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm.communication.check_messages import check_undirected, check_weights
from swarm.communication.returned import sent
from swarm.simulation.hostile.sending import sent_rows
from swarm.simulation.phases.base import TrainResult
from swarm.simulation.phases.neighbours import ToNeighbours
from swarm.simulation.phases.transport import AlongLinks, Arrived, NoTransport, Payload, Transport

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


class PerEdge(ToNeighbours):
    """A device sends each neighbour a separate row, and receives theirs in the same order. Its
    links are those of round 1, so the graph must not change."""

    name = "per_edge"
    per_edge = True
    delivery = "each neighbour a message of its own"

    def transport(self, round: int) -> Transport:
        """:class:`AlongLinks`; :class:`NoTransport` where no message arrives."""
        messages = self.communication.messages.per_edge(round)
        return NoTransport() if messages.silent else AlongLinks(messages)

    @property
    def weighs(self) -> bool:
        """See :meth:`Phase.weighs`."""
        return self.protocol.requirements.weights

    def _check_weights(self) -> None:
        check_undirected(self.communication.messages)
        check_weights(self.communication.messages)

    def held_numbers(self) -> float:
        """See :meth:`Phase.held_numbers`: the rows sent and received, but at least the parameter
        rows that they are computed from.
        """
        n = self.communication.settings.devices
        messages = 3 * n * self.width * self.communication.most_links
        return max(messages, 2 * n * self.communication.layout.width)

    def collect(self, shard: Shard, round: int) -> Payload:
        """The rows ``[n, d, M]`` that the protocol sends, flattened to ``[n · d, M]``."""
        rows = sent_rows(self, shard, round).changed
        flat = rows.reshape(-1, rows.shape[2])
        return Payload(flat, flat, None, 1, round)

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult | None:
        """Hand every device of a shard the rows of its neighbours, ``[n, d, M]``."""
        route = arrived.route
        if route is None:
            rows = sent(self.protocol, self.number, shard.state)
        else:
            flat = route.product(shard.take_payload().joined(route, arrived.from_shards))
            rows = flat.view(len(shard.devices), self.communication.most_links, flat.shape[1])
        with shard.present_only(round, "receive"):
            self.protocol.receive(self.number, shard.state, rows)
        self._finish(shard, round)
        return None
