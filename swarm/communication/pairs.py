"""Random pairs: who averages with whom under a protocol whose devices meet in pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.common.rng import Keys
from swarm.communication.network.base import Floats, Ints
from swarm.communication.network.sharing import LinkRates
from swarm.communication.topology.base import Topology, graph_of
from swarm.communication.topology.graph import Graph

if TYPE_CHECKING:
    from swarm.communication.network.network import Network


class RandomPairs(Topology):
    """The pairs of devices that meet in each round, as a graph: every device that is active asks a
    random one of its neighbours in the topology, which answers even while it is asleep.

    A device meets one other in a round at most. Of several that are asked or ask at once, the
    first in a random order meets, and the others meet nobody in this round; nor does a device whose
    neighbour is offline. All draws are keyed by (seed, device, round).

    Raises ``ConfigError`` for a directed topology, whose devices cannot answer.
    """

    period = None

    def __init__(self, topology: Topology, network: Network) -> None:
        self.topology, self.network = topology, network
        self.node_names = topology.node_names
        self.keys = Keys(network.seed, "pairs")
        self._latest: tuple[int, Graph] | None = None
        self._links(1)

    @property
    def possible(self) -> Topology:
        return self.topology.possible  # somebody may meet in a later round

    def graph(self, phase: int) -> Graph:
        round, n = phase + 1, self.network.devices
        graph = self._links(round)
        active, online = self.network.active(round), self.network.online(round)
        first_N = np.searchsorted(graph.dst_E, np.arange(n + 1))
        degree_N = np.diff(first_N)
        asks_N = degree_N > 0 if active is None else active & (degree_N > 0)
        asking = np.flatnonzero(asks_N)
        draw_A2, degree_A = self.keys.uniform(asking, round, 2), degree_N[asking]
        place_A = np.minimum((draw_A2[:, 0] * degree_A).astype(np.int64), degree_A - 1)
        asked = graph.src_E[first_N[asking] + place_A]
        if online is not None:
            there = online[asked]
            asking, asked, draw_A2 = asking[there], asked[there], draw_A2[there]
        return Graph.from_edges(n, _first_come(asking, asked, draw_A2[:, 1], n))

    def _links(self, round: int) -> Graph:
        """The topology's graph of ``round``; the latest one is kept."""
        phase = self.topology.phase(round)
        if self._latest is not None and self._latest[0] == phase:
            return self._latest[1]
        graph = graph_of(self.topology, phase, self.network.devices)
        if graph.directed:
            valid = "must be undirected for a protocol whose devices meet in pairs"
            raise ConfigError("topology", called(self.topology), valid)
        self._latest = phase, graph
        return graph


def _first_come(asking: Ints, asked: Ints, order_A: Floats, n: int) -> Ints:
    """The pairs ``[M, 2]`` that meet: those that come first in ``order_A`` at both of their
    devices, then the first of those that are left, and so on.
    """
    met = []
    while len(asking):
        first_N = np.full(n, np.inf)
        np.minimum.at(first_N, asking, order_A)
        np.minimum.at(first_N, asked, order_A)
        meets = (first_N[asking] == order_A) & (first_N[asked] == order_A)
        met.append(np.stack([asking[meets], asked[meets]], axis=1))
        busy_N = np.zeros(n, bool)
        busy_N[met[-1]] = True
        left = ~(busy_N[asking] | busy_N[asked])
        asking, asked, order_A = asking[left], asked[left], order_A[left]
    return np.concatenate([np.zeros((0, 2), np.int64), *met])


def exchange_seconds(graph: Graph, lines: LinkRates, bits: float) -> Floats:
    """Return the seconds in which each device exchanges messages of ``bits`` bits with one
    neighbour, on average over its neighbours, ``[N]``; 0 without neighbours.

    Both directions are used at once: it takes bits / min(uplink_i, downlink_j, uplink_j,
    downlink_i) seconds.
    """
    rate_N = np.minimum(lines.uplink_N, lines.downlink_N)
    seconds_E = bits / np.minimum(rate_N[graph.src_E], rate_N[graph.dst_E])
    total_N = np.bincount(graph.dst_E, seconds_E, graph.n)
    return np.asarray(total_N / graph.degree_in.clip(1), np.float64)
