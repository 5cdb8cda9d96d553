"""Graphs of 20,000 devices: random families have the statistics of networkx's graphs of the same
name, and no family makes a Python object for each device or link.
"""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy.sparse import coo_array

from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Floats, Graph
from swarm.communication.topology.random_links import regular_links
from tests.communication.topology.test_topologies import (
    CHANGING,
    RANDOM,
    REGULAR,
    check,
    make,
    same,
)

N = 20_000
SIZES = {"hypercube": 1 << 14, "torus": 140 * 140, "complete": 400}
THEIRS: dict[str, Callable[[int], Any]] = {
    "erdos_renyi": lambda seed: nx.fast_gnp_random_graph(N, 6 / (N - 1), seed=seed),
    "small_world": lambda seed: nx.watts_strogatz_graph(N, 6, 0.2, seed=seed),
    "barabasi_albert": lambda seed: nx.barabasi_albert_graph(N, 3, seed=seed),
    "random_regular": lambda seed: nx.random_regular_graph(4, N, seed=seed),
}


def topology(name: str, seed: int = 0) -> Topology:
    """The family with its default options, in as many pieces as it is drawn."""
    options: dict[str, Any] = {"radius": 12.0} if name == "waypoint" else {}
    if name in ("erdos_renyi", "small_world", "random_regular"):
        options["allow_disconnected"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(name, SIZES.get(name, N), seed, **options)


def large(name: str, seed: int = 0) -> Graph:
    """The family's first graph."""
    return topology(name, seed).graph(0)


def triangles(graph: Graph) -> float:
    """Three times the number of triangles."""
    ones = np.ones(len(graph.src_E))
    links = coo_array((ones, (graph.src_E, graph.dst_E)), shape=(graph.n, graph.n)).tocsr()
    return float((links @ links).multiply(links).sum()) / 2


def shares(graph: Graph) -> Floats:
    """How many devices of 1,000 have each degree, up to 29."""
    return 1000 * np.bincount(np.minimum(graph.degree_in, 29), minlength=30) / graph.n


@pytest.mark.parametrize("name", THEIRS)
def test_statistics_are_those_of_networkx(name: str) -> None:
    """Each statistic differs by at most five standard deviations, as the counts of two independent
    draws do (those of triangles and pieces are about Poisson)."""
    mine, theirs = large(name), Graph.from_networkx(THEIRS[name](1))
    check(mine, N)
    assert not same(mine, large(name, seed=1))
    for a, b in (
        (len(mine.src_E) / 2, len(theirs.src_E) / 2),
        (triangles(mine), triangles(theirs)),
        (mine.components(), theirs.components()),
    ):
        assert abs(a - b) <= 5 * np.sqrt(3 * (a + b)) + 5, (a, b)
    if name != "erdos_renyi":  # the others have a fixed number of links
        assert abs(len(mine.src_E) - len(theirs.src_E)) == 0
    a_D, b_D = shares(mine), shares(theirs)
    assert (np.abs(a_D - b_D) <= 5 * np.sqrt((a_D + b_D + 0.1) * 1000 / N)).all()
    # whom a device is linked to: the degree at the other end of a link
    far = [np.sqrt(g.degree_in[g.src_E]).mean() for g in (mine, theirs)]
    assert far[0] == pytest.approx(far[1], rel=0.03)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_links_of_a_small_world_move_as_often_as_they_should(p: float) -> None:
    """The share of links that are still on the ring, and where the others go: anywhere alike."""
    graph = make("small_world", N, 3, p=p).graph(0)
    near, far = graph.links_E2.T
    apart = np.minimum(far - near, N - (far - near))
    on_ring = (apart <= 3).sum()
    assert len(near) == 3 * N
    assert abs(on_ring - 3 * N * (1 - p)) <= 5 * np.sqrt(3 * N * p * (1 - p) + 10)
    moved = apart[apart > 3]
    if p:
        assert moved.mean() == pytest.approx(N / 4, rel=0.02)
        # the near end stays: everybody keeps the three links that it owns
        assert graph.degree_in.min() >= 3


def test_newcomers_link_by_degree() -> None:
    """A share of 2m(m + 1) / (k(k + 1)(k + 2)) has the degree k (Dorogovtsev et al. 2000), and the
    first devices are the hubs."""
    graph = make("barabasi_albert", N, 2).graph(0)
    degree_N = graph.degree_in
    for k in (3, 4, 5, 8):
        expected = N * 24 / (k * (k + 1) * (k + 2))
        assert abs((degree_N == k).sum() - expected) < 5 * np.sqrt(expected)
    above = N * 12 / (30 * 31)  # of degree 30 or more
    assert abs((degree_N >= 30).sum() - above) < 5 * np.sqrt(above)
    assert degree_N[:10].mean() > 20 * degree_N[N // 2 :].mean()


@pytest.mark.parametrize("name", [*REGULAR, *RANDOM, *CHANGING])
def test_there_is_no_python_object_for_a_link(name: str) -> None:
    """At most 130 bytes at any moment for each link and device, in arrays; networkx's own graphs
    take more than twice as much. A base graph keeps the links of all rounds of its period."""
    make(name, 16, 0)
    tracemalloc.start()
    made = topology(name)
    graph = made.graph(0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    check(graph, SIZES.get(name, N))
    rounds = made.period if name == "base_graph" else 1
    assert rounds is not None
    assert peak < 130 * (rounds * len(graph.src_E) + graph.n)


@pytest.mark.parametrize(("n", "degree"), [(8, 3), (101, 50), (200, 60)])
def test_dense_regular_graphs_are_those_that_sorting_finds(
    n: int, degree: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of pairs saves time only: a seed has the same graph with it and without it."""
    by_table = regular_links(n, degree, np.random.default_rng(3))
    monkeypatch.setattr("swarm.communication.topology.random_links.DENSE", 0)
    assert (by_table == regular_links(n, degree, np.random.default_rng(3))).all()
