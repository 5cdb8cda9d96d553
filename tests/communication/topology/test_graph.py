"""The graph container: canonical order, networkx in and out, degrees, components."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.communication.topology.graph import Graph


@st.composite
def edge_lists(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    n = draw(st.integers(1, 15))
    ends = st.integers(0, n - 1)
    return n, draw(st.lists(st.tuples(ends, ends), max_size=40))


@settings(deadline=None)
@given(edge_lists(), st.booleans())
def test_canonical_form(case: tuple[int, list[tuple[int, int]]], directed: bool) -> None:
    n, edges = case
    graph = Graph.from_edges(n, edges, directed=directed)
    expected = {(d, s) for s, d in edges if s != d}
    if not directed:
        expected |= {(s, d) for d, s in expected}
    assert list(zip(graph.dst_E.tolist(), graph.src_E.tolist(), strict=True)) == sorted(expected)
    assert graph.src_E.dtype == graph.dst_E.dtype == np.int64


@settings(deadline=None)
@given(edge_lists(), st.booleans())
def test_networkx_round_trip(case: tuple[int, list[tuple[int, int]]], directed: bool) -> None:
    graph = Graph.from_edges(*case, directed=directed)
    theirs = graph.to_networkx()
    assert theirs.is_directed() == directed
    back = Graph.from_networkx(theirs)
    assert back.n == graph.n
    assert back.directed == directed
    np.testing.assert_array_equal(back.src_E, graph.src_E)
    np.testing.assert_array_equal(back.dst_E, graph.dst_E)
    assert graph.components() == (
        nx.number_weakly_connected_components if directed else nx.number_connected_components
    )(theirs)
    if directed:
        assert graph.components(strong=True) == nx.number_strongly_connected_components(theirs)
        assert graph.degree_in.tolist() == [d for _, d in theirs.in_degree()]
        assert graph.degree_out.tolist() == [d for _, d in theirs.out_degree()]
        assert graph.mean_degree == pytest.approx(theirs.number_of_edges() / graph.n)
    else:
        assert (
            graph.degree_in.tolist() == graph.degree_out.tolist() == [d for _, d in theirs.degree()]
        )


def test_networkx_names_positions_and_parallel_edges() -> None:
    theirs = nx.MultiGraph([("b", "a"), ("a", "b"), ("b", "c"), ("c", "c")])
    graph = Graph.from_networkx(theirs)  # b, a, c in the graph's own order
    assert graph.links_E2.tolist() == [[0, 1], [0, 2]]
    assert graph.pos_N2 is None
    nx.set_node_attributes(theirs, {"a": (0, 1), "b": (2, 3), "c": (4, 5)}, "pos")
    placed = Graph.from_networkx(theirs)
    assert placed.pos_N2 is not None
    assert placed.pos_N2.tolist() == [[2, 3], [0, 1], [4, 5]]
    again = Graph.from_networkx(placed.to_networkx())
    np.testing.assert_array_equal(again.pos_N2, placed.pos_N2)


def test_links_stand_once() -> None:
    assert Graph.from_edges(3, [(2, 0), (0, 2), (1, 2)]).links_E2.tolist() == [[0, 2], [1, 2]]
    assert Graph.from_edges(3, [(2, 0), (0, 2)], directed=True).links_E2.tolist() == [
        [2, 0],
        [0, 2],
    ]


def test_complete_and_empty() -> None:
    assert Graph.empty(1).is_complete
    assert not Graph.empty(2).is_complete
    assert Graph.from_edges(3, [(0, 1), (1, 2), (0, 2)]).is_complete
    assert not Graph.from_edges(3, [(0, 1), (1, 2), (0, 2)], directed=True).is_complete
    assert Graph.empty(4).components() == 4
    assert Graph.empty(4).mean_degree == 0


def test_impossible_graphs() -> None:
    with pytest.raises(ValueError, match=r"0\.\.2"):
        Graph.from_edges(3, [(0, 3)])
    with pytest.raises(ValueError, match=r"0\.\.2"):
        Graph.from_edges(3, [(-1, 2)])
    with pytest.raises(ValueError, match="at least one device"):
        Graph.empty(0)
    with pytest.raises(ValueError, match="pos_N2"):
        Graph.from_edges(3, [(0, 1)], pos_N2=np.zeros((2, 2)))


def test_a_hundred_thousand_devices() -> None:
    n = 100_000
    ring = np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)
    graph = Graph.from_edges(n, np.concatenate([(ring * hop) % n for hop in (1, 3, 7)]))
    assert graph.degree_in.tolist() == [6] * n
    assert graph.components() == 1


def test_values_follow_their_edges() -> None:
    """Sorted with them, the same both ways where undirected; of duplicates the first pair's."""
    pairs, value = [(3, 1), (2, 2), (1, 0), (1, 3), (0, 2)], np.array([3.0, 9.0, 1.0, 7.0, 2.0])
    graph = Graph.from_edges(4, pairs, length=value)
    plain = Graph.from_edges(4, pairs)
    np.testing.assert_array_equal(graph.src_E, plain.src_E)
    np.testing.assert_array_equal(graph.dst_E, plain.dst_E)
    assert graph.length_E is not None
    found = zip(graph.src_E.tolist(), graph.dst_E.tolist(), graph.length_E, strict=True)
    assert {(a, b, length) for a, b, length in found} == {
        (a, b, x)
        for i, j, x in [(1, 3, 3.0), (0, 1, 1.0), (0, 2, 2.0)]
        for a, b in [(i, j), (j, i)]
    }
    directed = Graph.from_edges(4, pairs, directed=True, weight=value / 20)
    assert directed.links_E2.tolist() == [[1, 0], [3, 1], [0, 2], [1, 3]]
    assert directed.weight_E is not None
    np.testing.assert_allclose(directed.weight_E, np.array([1, 3, 2, 7]) / 20)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight_E": np.array([0.5])}, "weight_E is"),
        ({"weight_E": np.array([0.6, 0.6, 0.5])}, "at most 1 in sum"),
        ({"weight_E": np.array([0.5, 0.0, 0.5])}, "weight_E must be above 0"),
        ({"weight_E": np.array([0.5, np.nan, 0.5])}, "weight_E must be above 0"),
        ({"length_E": np.array([0.5])}, "length_E is"),
        ({"length_E": np.array([0.5, -1.0, 1.0])}, "length_E must be finite"),
        ({"length_E": np.array([0.5, np.inf, 1.0])}, "length_E must be finite"),
    ],
)
def test_values_that_cannot_be(values: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph(3, np.array([1, 2, 0]), np.array([0, 0, 1]), True, **values)
