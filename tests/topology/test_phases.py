"""Topologies that never repeat: which rounds share a graph, and how many are kept."""

from __future__ import annotations

from functools import partial

from swarm.topology.base import RECENT, PerPhase, Topology
from swarm.topology.exponential import OnePeerExponential
from swarm.topology.graph import Graph
from swarm.topology.regular import Ring


class Endless(Topology):
    period = None

    def graph(self, round: int) -> Graph:
        return Graph.from_edges(10, [(round % 9, 9)])


def test_phases_count_from_the_first_round() -> None:
    assert [Ring(8).phase(r) for r in (1, 2, 3)] == [0, 0, 0]
    assert [OnePeerExponential(8).phase(r) for r in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert [Endless().phase(r) for r in (1, 2, 1000)] == [0, 1, 999]


def test_a_period_is_kept_whole_and_of_endless_ones_only_the_last() -> None:
    for topology, kept, made in ((OnePeerExponential(2**12), 12, 12), (Endless(), RECENT, 30)):
        found = PerPhase[int](topology)
        calls: list[int] = []
        for round in [*range(1, 31), 30, 29]:
            assert found.get(round, partial(_note, calls, round)) == topology.phase(round) + 1
        assert len(found._found) == kept
        assert calls == list(range(1, made + 1))


def _note(calls: list[int], round: int) -> int:
    calls.append(round)
    return round
