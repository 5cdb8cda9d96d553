"""Theorems about mixing matrices: spectra in closed form, contraction at rate ρ, exponential
products, pair gossip.
"""

from __future__ import annotations

from functools import reduce
from itertools import combinations

import numpy as np
import pytest

from swarm.communication.mixing import (
    effective_neighbours,
    periodic_rate,
    second_eigenvalue,
    spectral_gap,
    weights,
)
from swarm.communication.topology.base import Topology
from swarm.communication.topology.exponential import ExponentialGraph, OnePeerExponential
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.random import SmallWorld
from swarm.communication.topology.regular import Complete, Hypercube, Isolated, Ring, Star, Torus


def rho(topology: Topology) -> float:
    return second_eigenvalue(weights(topology.graph(0)))


@pytest.mark.parametrize("n", [3, 4, 5, 16, 101])
def test_ring(n: int) -> None:
    assert rho(Ring(n)) == pytest.approx((1 + 2 * np.cos(2 * np.pi / n)) / 3, abs=1e-12)


@pytest.mark.parametrize("side", [3, 4, 5, 10])
def test_torus(side: int) -> None:
    assert rho(Torus(side * side)) == pytest.approx(
        (3 + 2 * np.cos(2 * np.pi / side)) / 5, abs=1e-12
    )


@pytest.mark.parametrize("d", [1, 2, 3, 6, 8])
def test_hypercube(d: int) -> None:
    assert rho(Hypercube(2**d)) == pytest.approx((d - 1) / (d + 1), abs=1e-12)


@pytest.mark.parametrize("n", [4, 6, 10, 64, 100])
def test_static_exponential(n: int) -> None:
    tau = int(np.ceil(np.log2(n)))
    assert rho(ExponentialGraph(n)) == pytest.approx((tau - 1) / (tau + 1), abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 10, 1600])
def test_complete(n: int) -> None:
    mixing = weights(Complete(n).graph(0))
    assert mixing.is_mean
    assert second_eigenvalue(mixing) == 0.0
    assert spectral_gap(mixing) == 1.0


@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_no_links(n: int) -> None:
    assert rho(Isolated(n)) == (0.0 if n == 1 else 1.0)


def test_beyond_dense_solvers() -> None:
    assert rho(Hypercube(2048)) == pytest.approx(10 / 12, abs=1e-5)
    assert rho(ExponentialGraph(2000)) == pytest.approx(10 / 12, abs=1e-5)
    assert rho(Torus(45 * 45)) == pytest.approx((3 + 2 * np.cos(2 * np.pi / 45)) / 5, abs=1e-5)
    two_rings = np.concatenate([Ring(1000).graph(0).links_E2, Ring(1000).graph(0).links_E2 + 1000])
    assert second_eigenvalue(weights(Graph.from_edges(2000, two_rings))) == 1.0


def test_a_rate_that_does_not_converge_is_nan_not_a_crash() -> None:
    value = rho(Ring(20_000))
    assert np.isnan(value) or value > 1 - 1e-5


@pytest.mark.parametrize("n", [1, 2, 4, 8, 64, 256])
def test_one_peer_product_is_the_mean(n: int) -> None:
    topology = OnePeerExponential(n)
    # any τ rounds in a row
    mixings = [weights(topology.graph(r)) for r in range(5, 5 + (topology.period or 0))]
    product = reduce(lambda x, mixing: mixing.matrix @ x, mixings, np.eye(n))
    np.testing.assert_array_equal(product, np.full((n, n), 1 / n))
    assert periodic_rate(mixings) == (0.0, 0.0)


def test_one_peer_product_at_six() -> None:
    mixings = [weights(OnePeerExponential(6).graph(r)) for r in range(3)]
    product = reduce(lambda x, mixing: mixing.matrix @ x, mixings, np.eye(6))
    assert np.abs(product - 1 / 6).max() == pytest.approx(1 / 12, abs=1e-15)
    rate = periodic_rate(mixings)
    assert 0 < rate.per_period < 1
    assert rate.per_period == pytest.approx(np.abs(np.linalg.eigvals(product - 1 / 6)).max())
    assert rate.per_round**3 == pytest.approx(rate.per_period)


@pytest.mark.parametrize("rule", ["uniform", "column"])
def test_periodic_rate_of_rounds_that_do_not_commute(rule: str) -> None:
    rounds = [
        Star(6).graph(0),
        Graph.from_edges(6, [(1, 2), (3, 4)]),
        Graph.from_edges(6, [(0, 3), (3, 5)]),
    ]
    mixings = [weights(graph, rule) for graph in rounds]
    product = mixings[2].matrix @ mixings[1].matrix @ mixings[0].matrix
    second = np.sort(np.abs(np.linalg.eigvals(product.toarray())))[-2]
    assert periodic_rate(mixings).per_period == pytest.approx(second, abs=1e-9)


def test_periodic_rate_of_a_static_graph_is_rho() -> None:
    mixing = weights(Ring(16).graph(0))
    per_period, per_round = periodic_rate([mixing] * 4)
    assert per_round == pytest.approx(second_eigenvalue(mixing), abs=1e-12)
    assert per_period == pytest.approx(per_round**4)


def test_rounds_that_are_in_pieces_can_agree_together() -> None:
    even, odd = Graph.from_edges(4, [(0, 1), (2, 3)]), Graph.from_edges(4, [(1, 2), (3, 0)])
    assert rho_of(even) == rho_of(odd) == 1.0
    assert periodic_rate([weights(even), weights(odd)]).per_period == pytest.approx(0.0, abs=1e-12)
    assert periodic_rate([weights(even), weights(even)]).per_period == 1.0


def rho_of(graph: Graph) -> float:
    return second_eigenvalue(weights(graph))


@pytest.mark.parametrize("rule", ["metropolis", "lazy", "max_degree"])
@pytest.mark.parametrize("topology", [Ring(16), Torus(25), Star(12), SmallWorld(40, seed=3)])
def test_contraction(topology: Topology, rule: str) -> None:
    mixing = weights(topology.graph(0), rule)
    rate = second_eigenvalue(mixing)
    x = np.random.default_rng(0).standard_normal((mixing.matrix.shape[0], 3))
    mean, start = x.mean(axis=0), np.linalg.norm(x - x.mean(axis=0))
    for t in range(1, 60):
        x = mixing.matrix @ x
        assert np.linalg.norm(x - mean) <= rate**t * start * (1 + 1e-9)


def test_contraction_rate_is_reached_on_ring_16() -> None:
    matrix = weights(Ring(16).graph(0)).matrix
    assert second_eigenvalue(matrix) == pytest.approx(0.949253, abs=5e-7)
    x = np.random.default_rng(1).standard_normal(16)
    x -= x.mean()
    for _ in range(300):
        before, x = np.linalg.norm(x), matrix @ x
    assert np.linalg.norm(x) / before == pytest.approx(0.949253, abs=5e-7)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_random_pair_gossip(n: int) -> None:
    """Averaging a uniformly drawn pair shrinks the expected squared disagreement by 1 - 1/(n -
    1).
    """
    x = np.random.default_rng(2).standard_normal(n)
    x -= x.mean()
    after = [
        np.sum((weights(Graph.from_edges(n, [pair])).matrix @ x) ** 2)
        for pair in combinations(range(n), 2)
    ]
    assert np.mean(after) == pytest.approx((1 - 1 / (n - 1)) * np.sum(x**2), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.95])
def test_effective_neighbours_of_none_and_all(gamma: float) -> None:
    assert effective_neighbours(weights(Isolated(9).graph(0)), gamma) == pytest.approx(1.0)
    assert effective_neighbours(weights(Complete(9).graph(0)), gamma) == pytest.approx(9.0)
    assert effective_neighbours(weights(Isolated(1).graph(0)), gamma) == pytest.approx(1.0)


@pytest.mark.parametrize("topology", [Ring(12), Star(12), ExponentialGraph(12), Torus(12)])
def test_effective_neighbours_grow_to_all_as_memory_grows(topology: Topology) -> None:
    mixing = weights(topology.graph(0))
    values = [effective_neighbours(mixing, gamma) for gamma in (0.0, 0.5, 0.9, 0.99, 0.9999999)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(12, rel=1e-4)


def test_effective_neighbours_is_the_variance_ratio_of_the_walk() -> None:
    """The stationary covariance of z ← W(√γ z + ξ), solved for directly, on weights that are not
    symmetric.
    """
    matrix, gamma = weights(Star(7).graph(0), "uniform").matrix, 0.9
    dense = matrix.toarray()
    covariance = np.zeros((7, 7))
    for _ in range(600):
        covariance = dense @ (gamma * covariance + np.eye(7)) @ dense.T
    expected = 1 / (1 - gamma) / (np.trace(covariance) / 7)
    assert effective_neighbours(matrix, gamma) == pytest.approx(expected, rel=1e-9)
    assert effective_neighbours([matrix, matrix, matrix], gamma) == pytest.approx(
        expected, rel=1e-9
    )


def test_effective_neighbours_of_a_period_is_the_mean_variance_over_its_rounds() -> None:
    gamma = 0.8
    rounds = [
        Star(6).graph(0),
        Graph.from_edges(6, [(1, 2), (3, 4)]),
        Graph.from_edges(6, [(2, 3), (3, 5)]),
    ]
    mixings = [weights(graph, "uniform") for graph in rounds]  # do not commute: their order matters
    dense = [mixing.matrix.toarray() for mixing in mixings]
    covariance, variances = np.zeros((6, 6)), []
    for t in range(600):
        covariance = dense[t % 3] @ (gamma * covariance + np.eye(6)) @ dense[t % 3].T
        variances.append(np.trace(covariance) / 6)
    expected = 1 / (1 - gamma) / np.mean(variances[-3:])
    assert effective_neighbours(mixings, gamma) == pytest.approx(expected)
    assert effective_neighbours(mixings[::-1], gamma) != pytest.approx(expected, rel=1e-3)


def test_effective_neighbours_by_probes_agree_with_the_spectrum() -> None:
    # far above the mixing length
    small, large = weights(Torus(36 * 36).graph(0)), weights(Torus(45 * 45).graph(0))
    assert effective_neighbours(large) == pytest.approx(effective_neighbours(small), rel=0.03)
    with pytest.raises(ValueError, match="gamma"):
        effective_neighbours(small, 1.0)
