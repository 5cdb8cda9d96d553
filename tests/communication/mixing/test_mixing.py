"""Mixing weights of arbitrary graphs: what sums to one, what is symmetric, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from swarm.common.errors import ConfigError
from swarm.communication.mixing import second_eigenvalue, weights
from swarm.communication.topology.exponential import ExponentialGraph, OnePeerExponential
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.regular import Complete, Ring, Star
from tests.support import prepared

SYMMETRIC = ("metropolis", "lazy", "max_degree")


@st.composite
def graphs(draw: st.DrawFn, directed: bool) -> Graph:
    n = draw(st.integers(1, 12))
    shape = st.tuples(st.integers(0, 40), st.just(2))
    return Graph.from_edges(
        n, draw(hnp.arrays(np.int64, shape, elements=st.integers(0, n - 1))), directed=directed
    )


def dense(graph: Graph, rule: str) -> np.ndarray:
    matrix = weights(graph, rule).matrix
    assert matrix.dtype == np.float64
    assert matrix.has_sorted_indices
    assert matrix.nnz == len(graph.src_E) + graph.n  # the diagonal is stored, nothing twice
    links = np.zeros((graph.n, graph.n), dtype=bool)
    links[graph.dst_E, graph.src_E] = True
    full = matrix.toarray()
    # row receives, column sends
    np.testing.assert_array_equal(full > 0, links | np.eye(graph.n, dtype=bool))
    return np.asarray(full)


@settings(deadline=None)
@given(graphs(directed=False), st.sampled_from(SYMMETRIC))
def test_symmetric_rules_are_doubly_stochastic(graph: Graph, rule: str) -> None:
    matrix = dense(graph, rule)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-14)
    assert weights(graph, rule).conserves == "both"


@settings(deadline=None)
@given(graphs(directed=True))
def test_uniform_rows_and_column_columns_sum_to_one(graph: Graph) -> None:
    np.testing.assert_allclose(dense(graph, "uniform").sum(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(dense(graph, "column").sum(axis=0), 1, atol=1e-14)
    assert weights(graph, "uniform").conserves in ("row", "both")
    assert weights(graph, "column").conserves in ("column", "both")
    mirrored = Graph.from_edges(
        graph.n, np.stack([graph.dst_E, graph.src_E], axis=1), directed=True
    )
    np.testing.assert_array_equal(dense(graph, "column"), dense(mirrored, "uniform").T)


@settings(deadline=None)
@given(graphs(directed=True), st.sampled_from(["uniform", "column"]))
def test_second_eigenvalue_of_any_stochastic_matrix(graph: Graph, rule: str) -> None:
    """Against the plain definition: sort all |eigenvalues|, take the second."""
    matrix = dense(graph, rule)
    values = np.sort(np.abs(np.linalg.eigvals(matrix)))
    expected = values[-2] if graph.n > 1 else 0.0
    # defective ones are ill-posed
    assert second_eigenvalue(weights(graph, rule)) == pytest.approx(expected, abs=2e-2)


def test_metropolis_by_hand() -> None:
    matrix = dense(Graph.from_edges(4, [(0, 1), (0, 2), (0, 3), (1, 2)]), "metropolis")
    expected = [
        [1 / 4, 1 / 4, 1 / 4, 1 / 4],
        [1 / 4, 5 / 12, 1 / 3, 0],
        [1 / 4, 1 / 3, 5 / 12, 0],
        [1 / 4, 0, 0, 3 / 4],
    ]
    np.testing.assert_allclose(matrix, expected, atol=1e-15)


def test_lazy_is_halfway_to_the_identity() -> None:
    graph = Star(6).graph(0)
    np.testing.assert_allclose(
        dense(graph, "lazy"), (np.eye(6) + dense(graph, "metropolis")) / 2, atol=1e-15
    )
    assert np.linalg.eigvalsh(dense(graph, "lazy")).min() >= 0


def test_max_degree_by_hand() -> None:
    matrix = dense(Star(4).graph(0), "max_degree")
    np.testing.assert_allclose(matrix[0], 1 / 4)
    np.testing.assert_allclose(np.diag(matrix)[1:], 3 / 4)


def test_direction_of_a_single_edge() -> None:
    graph = Graph.from_edges(2, [(0, 1)], directed=True)  # 0 sends to 1
    np.testing.assert_array_equal(dense(graph, "uniform"), [[1, 0], [0.5, 0.5]])
    np.testing.assert_array_equal(dense(graph, "column"), [[0.5, 0], [0.5, 1]])
    assert weights(graph, "uniform").conserves == "row"
    assert weights(graph, "column").conserves == "column"


def test_auto_and_what_is_conserved() -> None:
    np.testing.assert_array_equal(
        dense(Star(5).graph(0), "auto"), dense(Star(5).graph(0), "metropolis")
    )
    exponential = ExponentialGraph(12).graph(0)
    np.testing.assert_array_equal(dense(exponential, "auto"), dense(exponential, "uniform"))
    assert weights(exponential).conserves == "both"  # regular
    assert weights(Star(5).graph(0), "uniform").conserves == "row"
    assert set(np.unique(dense(OnePeerExponential(12).graph(1), "auto"))) == {0.0, 0.5}


@pytest.mark.parametrize("n", [1, 2, 7, 49])
def test_is_mean(n: int) -> None:
    assert weights(Complete(n).graph(0)).is_mean
    assert weights(Complete(n).graph(0), "uniform").is_mean
    assert weights(Ring(n).graph(0)).is_mean == (n <= 3)
    assert weights(Complete(n).graph(0), "lazy").is_mean == (n == 1)


@pytest.mark.parametrize("rule", SYMMETRIC)
def test_symmetric_rules_refuse_directed_graphs(rule: str) -> None:
    with pytest.raises(
        ConfigError, match=f"mixing={rule}: needs an undirected topology.*uniform or column"
    ):
        weights(ExponentialGraph(8).graph(0), rule)


def test_unknown_rule() -> None:
    with pytest.raises(
        ConfigError, match="mixing=fast: must be one of auto, metropolis, uniform, lazy"
    ):
        weights(Ring(5).graph(0), "fast")


def test_a_topology_brings_its_own_weights() -> None:
    """``auto`` and ``topology`` use them as they are, the rest on the diagonal; other rules do not
    look at them.
    """
    graph = Graph.from_edges(3, [(0, 1), (1, 2)], weight=np.array([0.7, 0.25]))
    expected = np.array([[0.3, 0.7, 0], [0.7, 0.05, 0.25], [0, 0.25, 0.75]])
    for rule in ("auto", "topology"):
        np.testing.assert_allclose(dense(graph, rule), expected, atol=1e-15)
        assert weights(graph, rule).conserves == "both"
    for rule in ("metropolis", "lazy", "max_degree", "uniform", "column"):
        np.testing.assert_array_equal(
            dense(graph, rule), dense(Graph.from_edges(3, [(0, 1), (1, 2)]), rule)
        )
    one_way = Graph.from_edges(2, [(0, 1)], directed=True, weight=np.array([0.25]))
    # the receiver's weight
    np.testing.assert_allclose(dense(one_way, "auto"), [[1, 0], [0.25, 0.75]])
    assert weights(one_way).conserves == "row"
    with pytest.raises(
        ConfigError, match=r"^mixing=topology: needs a topology with weights of its own"
    ):
        weights(Ring(5).graph(0), "topology")


@pytest.mark.parametrize("protocol", ["dpsgd", "choco", "d2", "exact_diffusion", "push_sum"])
@pytest.mark.parametrize("mixing", ["auto", "lazy", "column", "topology"])
@pytest.mark.parametrize("links", ["0 1\n1 2\n2 0\n2 3\n3 0\n", "0 1\n1 2\n2 3\n"])
def test_what_an_error_advises_is_accepted(
    tmp_path: Path, protocol: str, mixing: str, links: str
) -> None:
    """The advised rule, or where none does an undirected topology with the advised weights."""
    (tmp_path / "links.txt").write_text(links)
    directed = f"topology.directed={str(len(links) > 12).lower()}"
    words = (f"protocol={protocol}", "topology=file", f"topology.path={tmp_path}/links.txt", directed,
             "devices=4", "rounds=1", "model=softmax")  # fmt: skip
    try:
        prepared(*words, f"mixing={mixing}")
    except ConfigError as error:
        advised = re.findall(r"mixing=(\w+)", error.valid)[-1]
        others = ("topology.directed=false",) if "undirected one" in error.valid else ()
        prepared(*words, f"mixing={advised}", *others)


def test_what_the_protocol_itself_refuses_is_not_advised() -> None:
    """On a ring of eight the weights of ``auto`` have an eigenvalue of −1/3, which D² refuses."""
    words = ("protocol=d2", "topology=ring", "devices=8", "rounds=1", "model=softmax")
    with pytest.raises(ConfigError, match="mixing=lazy"):
        prepared(*words, "mixing=auto")
    with pytest.raises(ConfigError, match=r"mixing=lazy$"):
        prepared(*words, "mixing=topology")
    prepared(*words, "mixing=lazy")
