"""The share of devices beyond what their rule bears is that of placements that are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.communication.aggregation.beyond import share_beyond
from swarm.communication.aggregation.coordinate_median import CoordinateMedian
from swarm.communication.topology.graph import Graph

STAR = Graph.from_edges(7, [(0, i) for i in range(1, 7)])
RING = Graph.from_edges(7, [(i, (i + 1) % 7) for i in range(7)])


def drawn(graph: Graph, hostile: int) -> float:
    """For each device in turn, placements on the others: how often a median, which bears fewer than
    half of its rows, hears more hostile ones."""
    draw, beyond = np.random.default_rng(0), []
    heard = np.zeros((graph.n, graph.n))
    heard[graph.dst_E, graph.src_E] = 1
    for device in range(graph.n):
        others = np.delete(np.arange(graph.n), device)
        bears = int(heard[device].sum()) // 2
        for _ in range(4000):
            placed = draw.permutation(others)[:hostile]
            beyond.append(heard[device, placed].sum() > bears)
    return float(np.mean(beyond))


@pytest.mark.parametrize("hostile", [1, 2, 4])
def test_the_share_is_that_of_placements_that_are_drawn(hostile: int) -> None:
    rule = CoordinateMedian(unsafe="warn")
    each = [share_beyond(rule, [graph], hostile) for graph in (STAR, RING)]
    assert each == pytest.approx([drawn(graph, hostile) for graph in (STAR, RING)], abs=0.01)
    assert share_beyond(rule, [STAR, RING], hostile) == pytest.approx(np.mean(each))


def test_nobody_is_beyond_where_nobody_is_hostile() -> None:
    assert share_beyond(CoordinateMedian(), [STAR, RING], 0) == 0
