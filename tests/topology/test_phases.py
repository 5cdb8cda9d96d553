"""Topologies that never repeat: which rounds share a graph, and how many are kept."""

from __future__ import annotations

from swarm.exchange import Exchanges
from swarm.network.base import Network
from swarm.protocol.dpsgd import TrainThenAverage
from swarm.topology.base import RECENT, Topology
from swarm.topology.exponential import OnePeerExponential
from swarm.topology.graph import Graph
from swarm.topology.regular import Ring


class Endless(Topology):
    period = None

    def graph(self, round: int) -> Graph:
        return Graph.from_edges(16, [(round % 9, 9)])


def test_phases_count_from_the_first_round() -> None:
    assert [Ring(8).phase(r) for r in (1, 2, 3)] == [0, 0, 0]
    assert [OnePeerExponential(8).phase(r) for r in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert [Endless().phase(r) for r in (1, 2, 1000)] == [0, 1, 999]


def test_a_period_is_kept_whole_and_of_endless_ones_only_the_last() -> None:
    for topology, kept in ((OnePeerExponential(16), 4), (Endless(), RECENT)):
        exchanges = Exchanges(topology, "auto", TrainThenAverage(), Network(16, 0), compressed=False, devices=16)
        first = {round: exchanges.mixing(round) for round in range(1, 5)}
        for round in range(1, 200):
            exchanges.of("mix", round)
        assert len(exchanges._kept) <= 6 * max(kept, RECENT)  # what each round needs
        assert all((exchanges.mixing(round) is first[round]) == topology.recurs for round in first)
