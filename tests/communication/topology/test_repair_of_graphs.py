"""Graphs in pieces are repaired, or refused; settings that allow no graph are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.topology.base import Topology, link_at_random, link_nearest
from swarm.communication.topology.base_graph import BaseGraph
from swarm.communication.topology.exponential import ExponentialGraph, OnePeerExponential
from swarm.communication.topology.gossip import Epidemic, RandomMatching
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.random import (
    BarabasiAlbert,
    ErdosRenyi,
    RandomRegular,
    SmallWorld,
)
from swarm.communication.topology.regular import Complete, Hypercube, Isolated, Ring, Torus
from swarm.communication.topology.social import Social
from swarm.communication.topology.structured import Clusters, Geometric, Hierarchy
from tests.communication.topology.graphs import RANDOM, check, make


def test_repair_links_components_with_the_fewest_links() -> None:
    sparse = ErdosRenyi(200, 0, p=0.002)  # never connected by itself
    assert sparse.graph(0).components() == 1
    with pytest.warns(UserWarning, match="components"):
        loose = ErdosRenyi(200, 0, p=0.002, allow_disconnected=True).graph(0)
    fixed = link_at_random(loose, np.random.default_rng(0))
    assert fixed.components() == 1
    assert len(fixed.links_E2) == len(loose.links_E2) + loose.components() - 1
    check(fixed, 200)


def test_repair_of_placed_graphs_takes_the_shortest_links() -> None:
    """Against Kruskal over all pairs: the added links have the same total length."""
    with pytest.warns(UserWarning, match="components"):
        loose = Geometric(80, 1, radius=0.08, allow_disconnected=True).graph(0)
    fixed = link_nearest(loose, np.random.default_rng(0))
    assert fixed.components() == 1
    assert fixed.pos_N2 is not None
    pos = fixed.pos_N2

    def total(graph: Graph) -> float:
        return float(
            np.linalg.norm(pos[graph.links_E2[:, 0]] - pos[graph.links_E2[:, 1]], axis=1).sum()
        )

    full = nx.complete_graph(80)
    for a, b, data in full.edges(data=True):
        data["weight"] = np.linalg.norm(pos[a] - pos[b])
    for a, b in loose.links_E2.tolist():
        full[a][b]["weight"] = 0.0
    best = sum(data["weight"] for _, _, data in nx.minimum_spanning_edges(full, data=True))
    assert total(fixed) - total(loose) == pytest.approx(best, rel=1e-9)
    assert len(fixed.links_E2) == len(loose.links_E2) + loose.components() - 1


@pytest.mark.parametrize("devices", [2, 3, 4, 5])
def test_repair_of_few_placed_devices(devices: int) -> None:
    graph = Geometric(devices, 0, radius=0.0).graph(0)
    assert graph.components() == 1
    assert len(graph.links_E2) == devices - 1


def test_repair_of_regular_graphs_keeps_degrees() -> None:
    for seed in range(3):
        # rings, one in a hundred draws is a single one
        graph = RandomRegular(3000, seed, degree=2).graph(0)
        assert graph.components() == 1
        assert set(graph.degree_in.tolist()) == {2}


def test_connected_draws_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in RANDOM:
            make(name, 100)
        RandomRegular(100, 0, allow_disconnected=True)


def test_allowed_pieces_are_counted_in_the_warning() -> None:
    with pytest.warns(UserWarning, match="not connected: 3 components"):
        graph = Clusters(30, 0, clusters=3, k=4, spread=1e-4, allow_disconnected=True).graph(0)
    assert graph.components() == 3
    with pytest.warns(UserWarning, match="not connected: 3 components"):
        RandomRegular(6, 0, degree=1, allow_disconnected=True)


REFUSALS: list[tuple[Callable[[], Topology], str]] = [
    (lambda: Ring(0), "devices=0: must be at least 1"),
    (lambda: ExponentialGraph(-3), "devices=-3: must be at least 1"),
    (lambda: Torus(13), "devices=13: .*torus.* at least 3; 12 or 15 would do"),
    (lambda: Torus(2), "devices=2: .*torus.*; 9 would do"),
    (lambda: Torus(13, periodic=False), "devices=13: .*grid.* at least 2; 12 or 14 would do"),
    (lambda: Torus(24, rows=5), r"rows=5: .*devices=24; sides that fit: \[3, 4, 6, 8\]"),
    (lambda: Torus(24, rows=4, cols=5), r"rows=4: .*devices=24"),
    (lambda: Torus(24, cols=2), "cols=2: must be at least 3"),
    (lambda: Torus(24, rows=0, periodic=False), "rows=0: must be at least 1"),
    (lambda: Complete(5001), "devices=5001: .*at most 5000"),
    (lambda: Hypercube(100), "devices=100: .*power of two; 64 or 128 would do"),
    (lambda: ErdosRenyi(10, 0, p=1.5), "p=1.5: .*between 0 and 1"),
    (lambda: ErdosRenyi(10, 0, p=-0.1), "p=-0.1: .*between 0 and 1"),
    (lambda: ErdosRenyi(10, 0, p=float("nan")), "p=nan: .*between 0 and 1"),
    (lambda: ErdosRenyi(10, 0, mean_degree=10), "mean_degree=10: .*between 0 and devices - 1 = 9"),
    (
        lambda: ErdosRenyi(100_000, 0, p=0.5),
        r"p=0\.5: would make about 2\.5e\+09 links.*at most 5000000",
    ),
    (lambda: SmallWorld(10, 0, k=3), "k=3: must be even.*below devices=10; 2 to 8 would do"),
    (lambda: SmallWorld(10, 0, k=10), "k=10: must be even.*2 to 8 would do"),
    (lambda: SmallWorld(10, 0, k=0), "k=0: must be even"),
    (lambda: SmallWorld(2, 0, k=2), "k=2: .*ring or complete"),
    (lambda: SmallWorld(10, 0, k=4, p=2), "p=2: .*between 0 and 1"),
    (lambda: BarabasiAlbert(10, 0, m=10), "m=10: .*between 1 and devices - 1 = 9"),
    (lambda: BarabasiAlbert(10, 0, m=0), "m=0: .*between 1"),
    (lambda: RandomRegular(9, 0, degree=3), "degree=3: .*even.*devices=9 is odd"),
    (lambda: RandomRegular(10, 0, degree=10), "degree=10: .*between 2 and devices - 1 = 9"),
    (lambda: RandomRegular(10, 0, degree=1), "degree=1: .*between 2"),
    (lambda: Geometric(10, 0, radius=-1), "radius=-1: .*between 0 and 1.5"),
    (lambda: Geometric(10, 0, radius=float("nan")), "radius=nan"),
    (lambda: Geometric(10, 0, mean_degree=-1), "mean_degree=-1: .*between 0"),
    (lambda: Clusters(10, 0, clusters=11), "clusters=11: .*between 1 and devices=10"),
    (lambda: Clusters(10, 0, k=10), "k=10: .*between 1 and devices - 1 = 9"),
    (lambda: Clusters(10, 0, spread=0.0), "spread=0: .*above 0"),
    (lambda: Hierarchy(10, groups=11), "groups=11: .*between 1 and devices=10"),
    (lambda: Hierarchy(10, heads="tree"), "heads=tree: must be one of ring, complete"),  # type: ignore[arg-type]
    (lambda: Hierarchy(10, members="tree"), "members=tree: must be one of star, complete"),  # type: ignore[arg-type]
    (lambda: BaseGraph(10, 0), "k=0: must lie between 1 and devices - 1 = 9"),
    (lambda: BaseGraph(10, 10), "k=10: must lie between 1 and devices - 1 = 9"),
    (lambda: BaseGraph(100_000, 50_000), "k=50000: would make about"),
    (lambda: Epidemic(10, 0, fanout=10), "fanout=10: must lie between 1 and devices - 1 = 9"),
    (lambda: Epidemic(10, 0, fanout=0), "fanout=0: must lie between 1"),
    (lambda: Epidemic(10, 0, variant="push"), "variant=push: must be one of oracle, local"),  # type: ignore[arg-type]
    (lambda: RandomMatching(0, 0), "devices=0: must be at least 1"),
    (lambda: Social(10, "facebook"), "graph=facebook: must be one of karate_club"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("build", "message"), REFUSALS)
def test_refusals(build: Callable[[], Topology], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        build()


def test_sizes_named_as_valid_are_valid() -> None:
    for n in range(1, 200):
        for periodic in (True, False):
            try:
                Torus(n, periodic=periodic)
            except ConfigError as error:
                for word in error.valid.split("; ")[1].replace(" would do", "").split(" or "):
                    Torus(int(word), periodic=periodic)


def test_one_hundred_thousand_devices() -> None:
    for topology in (Isolated(100_000), OnePeerExponential(100_000), Hierarchy(100_000)):
        check(topology.graph(0), 100_000)


@pytest.mark.parametrize("p", [1e-18, 1e-16, 1e-15])
def test_a_link_all_but_impossible(p: float) -> None:
    """1 − p is 1 in floating point for the first: nothing divides by its logarithm."""
    assert len(ErdosRenyi(20, seed=0, p=p, allow_disconnected=True).graph(0).src_E) == 0
