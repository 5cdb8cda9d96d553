"""Every topology: valid graphs at many sizes, the shapes they are named after, seeding, repair,
refusals.
"""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
import yaml

from swarm.common.errors import ConfigError
from swarm.communication.mixing import weights
from swarm.communication.topology.base import Topology
from swarm.communication.topology.exponential import ExponentialGraph, OnePeerExponential
from swarm.communication.topology.gossip import Epidemic, RandomMatching
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.random import (
    BarabasiAlbert,
    ErdosRenyi,
    RandomRegular,
    SmallWorld,
)
from swarm.communication.topology.regular import Complete, Hypercube, Isolated, Ring, Star, Torus
from swarm.communication.topology.social import Social
from swarm.communication.topology.structured import Clusters, Geometric, Hierarchy
from tests.communication.topology.graphs import CONF, RANDOM, check, make

REGULAR = [
    "none",
    "ring",
    "torus",
    "star",
    "complete",
    "hypercube",
    "exponential",
    "one_peer_exponential",
    "hierarchy",
]


CHANGING = ["base_graph", "random_matching", "epidemic", "waypoint"]
SIZED = REGULAR + RANDOM
NAMES = [*SIZED, *CHANGING, "social", "file", "contacts"]
FETCHED = {  # options of `file`, and where they differ from its defaults
    "chitchat": {"path": "fetched:chitchat/graph.json"},
    "zoo": {
        "path": "fetched:topologies/topozoo/Geant2001.json",
        "length": "dist",
        "match": "order",
    },
}


def same(a: Graph, b: Graph) -> bool:
    return np.array_equal(a.src_E, b.src_E) and np.array_equal(a.dst_E, b.dst_E)


def test_every_yaml_is_here_and_says_what_it_is() -> None:
    # another topology is tried by tests/contracts, which walk conf/
    assert {*NAMES, *FETCHED} <= {path.stem for path in CONF.glob("*.yaml")}
    for path in CONF.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# ")
        section = yaml.safe_load(text)
        module, _, attribute = section.pop("_target_").rpartition(".")
        parameters = inspect.signature(
            getattr(importlib.import_module(module), attribute)
        ).parameters
        defaults = {
            key: p.default
            for key, p in parameters.items()
            if key not in ("devices", "seed", "owner_names")
        }
        assert section == defaults | FETCHED.get(path.stem, {}), path.name


@pytest.mark.parametrize("devices", [1, 9, 16, 36, 64, 100])
@pytest.mark.parametrize("name", SIZED)
def test_graphs_are_valid_and_connected(name: str, devices: int) -> None:
    if name == "hypercube" and devices not in (1, 16, 64):
        pytest.skip("not a power of two")
    topology = make(name, devices)
    for round in range((topology.period or 3) + 1):
        graph = topology.graph(round)
        check(graph, devices)
        assert same(graph, topology.graph(round + (topology.period or 0)))
        assert weights(graph).conserves == "both"
    if name == "none":
        assert len(graph.src_E) == 0
    elif name != "one_peer_exponential":
        assert topology.graph(0).components(strong=True) == 1


@pytest.mark.parametrize("devices", [1, 2, 3, 10, 37, 100])
@pytest.mark.parametrize("name", CHANGING)
def test_changing_graphs_are_valid_and_pure(name: str, devices: int) -> None:
    """Valid in every round, the same in whatever order rounds are asked for, another with another
    seed.
    """
    options: dict[str, Any] = {"fanout": 1} if name == "epidemic" and devices < 5 else {}
    topology, again = make(name, devices, **options), make(name, devices, **options)
    found = [topology.graph(round) for round in range(12)]
    for round in (11, 0, 5, 3, 5, 11):
        check(found[round], devices)
        assert same(again.graph(round), found[round])
        assert weights(found[round]).conserves == "both"
    assert (topology.period is None) == (name != "base_graph")
    if devices == 100:
        assert not same(found[0], found[1])
        assert all(found[0].directed == graph.directed == (name == "epidemic") for graph in found)
        assert same(found[0], make(name, devices, seed=1).graph(0)) == (name == "base_graph")


@pytest.mark.parametrize("devices", [2, 7, 100])
def test_matchings_pair_everybody_once(devices: int) -> None:
    topology = RandomMatching(devices, 0)
    for round in range(20):
        graph = topology.graph(round)
        assert sorted(graph.degree_in.tolist()) == [0] * (devices % 2) + [1] * (devices // 2 * 2)


@pytest.mark.parametrize(("devices", "s"), [(2, 1), (9, 3), (100, 7), (6, 5)])
def test_epidemic_senders_and_receivers(devices: int, s: int) -> None:
    """Everybody sends to exactly s others; oracle: everybody also hears from s; local: as it
    comes.
    """
    oracle, local = Epidemic(devices, 0, fanout=s), Epidemic(devices, 0, fanout=s, variant="local")
    uneven = False
    for round in range(20):
        assert (
            set(oracle.graph(round).degree_out.tolist())
            == set(oracle.graph(round).degree_in.tolist())
            == {s}
        )
        graph = local.graph(round)
        check(graph, devices)
        assert set(graph.degree_out.tolist()) == {s}
        uneven = uneven or weights(graph).conserves == "row"
    assert uneven == (s < devices - 1)


def test_ten_thousand_partners_are_quick() -> None:
    """Below 20 ms a round; the fastest of several, since other work may be going on."""
    for topology in (
        RandomMatching(10_000, 0),
        Epidemic(10_000, 0),
        Epidemic(10_000, 0, variant="local"),
    ):
        seconds = []
        for round in range(15):
            start = time.process_time()
            graph = topology.graph(round)
            seconds.append(time.process_time() - start)
        check(graph, 10_000)
        assert min(seconds) < 0.02


def test_placed_topologies_know_how_long_their_edges_are() -> None:
    for graph in (
        Geometric(60, 4).graph(0),
        Clusters(60, 4).graph(0),
        Clusters(60, 4, spread=0.001).graph(0),
    ):
        assert graph.pos_N2 is not None
        assert graph.length_E is not None
        for src, dst, length in zip(graph.src_E, graph.dst_E, graph.length_E, strict=True):
            assert length == pytest.approx(np.hypot(*(graph.pos_N2[src] - graph.pos_N2[dst])))
    assert Ring(5).graph(0).length_E is None


@pytest.mark.parametrize("devices", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "make_it", [Isolated, Ring, Star, Complete, ExponentialGraph, OnePeerExponential, Hierarchy]
)
def test_tiny_swarms(make_it: Callable[[int], Topology], devices: int) -> None:
    graph = make_it(devices).graph(0)
    check(graph, devices)
    if devices == 1:
        assert len(graph.src_E) == 0
    elif devices == 2 and make_it is not Isolated:
        assert graph.src_E.tolist() == [1, 0]


@pytest.mark.parametrize("name", RANDOM)
def test_seeded(name: str) -> None:
    graph = make(name, 60, seed=1).graph(0)
    assert same(graph, make(name, 60, seed=1).graph(0))
    assert not same(graph, make(name, 60, seed=2).graph(0))


@pytest.mark.parametrize("name", RANDOM)
def test_global_randomness_is_left_alone(name: str) -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    first = make(name, 30).graph(0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    np.random.seed(6)
    assert same(first, make(name, 30).graph(0))


def test_shapes_against_networkx() -> None:
    directed = nx.DiGraph()
    directed.add_nodes_from(range(13))
    directed.add_edges_from((i, (i + hop) % 13) for i in range(13) for hop in (1, 2, 4, 8))
    for mine, theirs in [
        (Ring(11), nx.cycle_graph(11)),
        (
            Torus(12),
            nx.convert_node_labels_to_integers(
                nx.grid_2d_graph(3, 4, periodic=True), ordering="default"
            ),
        ),
        (Torus(12, periodic=False), nx.grid_2d_graph(3, 4)),
        (Torus(12, rows=6, periodic=False), nx.grid_2d_graph(6, 2)),
        (Torus(12, cols=12, periodic=False), nx.path_graph(12)),
        (Star(9), nx.star_graph(8)),
        (Complete(9), nx.complete_graph(9)),
        (ExponentialGraph(13), directed),
    ]:
        assert same(mine.graph(0), Graph.from_networkx(theirs))
    assert nx.is_isomorphic(Hypercube(32).graph(0).to_networkx(), nx.hypercube_graph(5))


def test_torus_is_as_square_as_it_can_be() -> None:
    assert Torus(100).graph(0).degree_in.tolist() == [4] * 100
    assert same(Torus(24).graph(0), Torus(24, rows=4, cols=6).graph(0))
    assert Torus(15).graph(0).links_E2.shape == (30, 2)


def test_exponential_is_directed_and_one_peer_takes_its_hops_in_turn() -> None:
    static, one_peer = ExponentialGraph(10), OnePeerExponential(10)
    assert static.graph(0).directed
    assert {(0, 1), (0, 2), (0, 4), (0, 8)} == {
        (s, d) for s, d in static.graph(0).links_E2.tolist() if s == 0
    }
    assert one_peer.period == 4
    for k in range(8):
        graph = one_peer.graph(k)
        check(graph, 10)
        assert ((graph.dst_E - graph.src_E) % 10 == 2 ** (k % 4)).all()
        assert graph.degree_in.tolist() == graph.degree_out.tolist() == [1] * 10
    union = np.concatenate([one_peer.graph(k).links_E2 for k in range(4)])
    assert same(Graph.from_edges(10, union, directed=True), static.graph(0))


def test_degrees_of_random_graphs() -> None:
    assert RandomRegular(50, 0, degree=5).graph(0).degree_in.tolist() == [5] * 50
    assert SmallWorld(50, 0, k=4, p=0.0).graph(0).degree_in.tolist() == [4] * 50
    assert len(BarabasiAlbert(50, 0, m=2).graph(0).src_E) == 2 * 2 * 48
    for topology in (ErdosRenyi(2000, 0, mean_degree=8), Geometric(2000, 0, mean_degree=8)):
        assert topology.graph(0).mean_degree == pytest.approx(8, rel=0.05)
    assert ErdosRenyi(20, 0, p=1.0).graph(0).is_complete
    assert ErdosRenyi(20, 0, mean_degree=19).graph(0).is_complete
    assert Geometric(20, 0, radius=1.5).graph(0).is_complete
    assert Geometric(20, 0, mean_degree=19).graph(0).is_complete


def test_geometric_links_are_the_near_ones() -> None:
    graph = Geometric(60, 4, radius=0.3).graph(0)
    assert graph.pos_N2 is not None
    far = np.linalg.norm(graph.pos_N2[:, None] - graph.pos_N2[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert same(graph, Graph.from_edges(60, np.argwhere(far <= 0.3)))


def test_clusters_link_their_nearest_and_few_across() -> None:
    graph = Clusters(100, 0, clusters=4, k=3, spread=0.01).graph(0)
    heap = np.arange(100) % 4
    across = (heap[graph.src_E] != heap[graph.dst_E]).sum() // 2
    assert 3 <= across < 10
    assert graph.degree_in.min() >= 3


def test_hierarchy_levels() -> None:
    graph = Hierarchy(20, groups=4, heads="complete", members="star").graph(0)
    assert graph.degree_in[[0, 5, 10, 15]].tolist() == [3 + 4] * 4
    assert sorted(graph.degree_in.tolist())[:16] == [1] * 16
    dense = Hierarchy(20, groups=4, heads="ring", members="complete").graph(0)
    assert dense.degree_in.tolist() == ([4 + 2] + [4] * 4) * 4
    assert Hierarchy(7, groups=7, heads="complete").graph(0).is_complete
    assert same(Hierarchy(7, groups=1).graph(0), Star(7).graph(0))


@pytest.mark.parametrize(
    ("name", "devices", "links"),
    [
        ("karate_club", 34, 78),
        ("davis_southern_women", 32, 89),
        ("les_miserables", 77, 254),
        ("florentine_families", 15, 20),
    ],
)
def test_social(name: Any, devices: int, links: int) -> None:
    graph = Social(devices, name).graph(0)
    check(graph, devices)
    assert len(graph.links_E2) == links
    assert graph.components() == 1
    with pytest.raises(
        ConfigError, match=f"devices=100: .*{devices} nodes; devices={devices} would do"
    ):
        Social(100, name)
