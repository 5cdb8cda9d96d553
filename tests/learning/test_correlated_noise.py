"""The noise of pairs cancels, and protects as much as the divergence between two Gaussians says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.topology.graph import Graph
from swarm.learning.privacy.accountant import Accountant
from swarm.learning.privacy.correlated import Correlated, PairAccountant, Pairs, exposed_N
from swarm.learning.privacy.mechanism import DeviceLevel

Floats = npt.NDArray[np.float64]
N = 8


def pairs_of(edges: list[tuple[int, int]], n: int = N) -> Pairs:
    graph = Graph.from_edges(n, edges)
    return Pairs(n, graph.dst_E, graph.src_E)


RING = pairs_of([(i, (i + 1) % N) for i in range(N)])
TREE = pairs_of([(0, 1), (0, 2), (2, 3), (2, 4), (4, 5), (5, 6), (5, 7)])
COMPLETE = pairs_of([(i, j) for i in range(N) for j in range(i)])
ALL = np.ones(N, bool)


def incidence(pairs: Pairs) -> Floats:
    """What each device adds of the noise of each pair, ``[N, pairs]``."""
    low = pairs.own_E < pairs.other_E
    found_NE = np.zeros((pairs.devices, int(low.sum())))
    found_NE[pairs.own_E[low], np.arange(low.sum())] = 1
    found_NE[pairs.other_E[low], np.arange(low.sum())] = -1
    return found_NE


def renyi(covariance: Floats, shift: Floats, order: float) -> float:
    """The Rényi divergence between N(shift, Σ) and N(0, Σ), as ∫ p^α q^(1−α) over the direction
    in which they differ, on a grid."""
    root = np.linalg.cholesky(covariance)
    length = float(np.linalg.norm(np.linalg.solve(root, shift)))
    x, step = np.linspace(-40, 40 + order * length, 400_001, retstep=True)
    exponent = -order * (x - length) ** 2 / 2 - (1 - order) * x**2 / 2
    top = exponent.max()
    integral = np.exp(exponent - top).sum() * step / np.sqrt(2 * np.pi)
    return float((np.log(integral) + top) / (order - 1))


@pytest.mark.parametrize("pairs", [RING, TREE, COMPLETE], ids=["ring", "tree", "complete"])
@pytest.mark.parametrize("told", [[], [0], [2, 5]])
def test_what_is_exposed_is_the_divergence_of_all_that_an_adversary_sees(
    pairs: Pairs, told: list[int]
) -> None:
    """Which is all messages, and the noise of the pairs of the devices that tell it."""
    sigma, tau, clip, order = 0.5, 1.3, 1.0, 3.0
    honest_N = ALL.copy()
    honest_N[told] = False
    share_NE = incidence(pairs)
    unknown_E = np.flatnonzero(~share_NE[told].any(0))
    noise = sigma**2 * np.eye(N) + tau**2 * share_NE[:, unknown_E] @ share_NE[:, unknown_E].T
    found_N = exposed_N(pairs, honest_N, (tau / sigma) ** 2, 0)
    for device in np.flatnonzero(honest_N).tolist():
        exact = renyi(noise * clip**2, clip * np.eye(N)[device], order)
        assert found_N[device] * order / (2 * sigma**2) == pytest.approx(exact, rel=1e-6)


def test_it_lies_between_local_noise_and_an_adding_up_server() -> None:
    for pairs in (RING, TREE, COMPLETE):
        np.testing.assert_allclose(exposed_N(pairs, ALL, 0.0, 0), 1.0)
        np.testing.assert_allclose(exposed_N(pairs, ALL, 1e12, 0), 1 / N, rtol=1e-4)
        weak, strong = (exposed_N(pairs, ALL, ratio, 0) for ratio in (0.1, 10.0))
        assert (strong > 1 / N).all()
        assert (strong < weak).all()
        assert (weak < 1).all()
    parted = pairs_of([(0, 1), (2, 3), (3, 4), (4, 2)])  # three of eight are linked to nobody
    limit_N = exposed_N(parted, ALL, 1e12, 0)
    np.testing.assert_allclose(limit_N, [1 / 2] * 2 + [1 / 3] * 3 + [1] * 3, rtol=1e-4)


def test_devices_that_are_away_and_colluders_that_nobody_knows_are_bounded() -> None:
    """By what is exposed if all are there, and by the star of the honest links."""
    for pairs in (RING, TREE, COMPLETE):
        ratio, laplacian = 4.0, incidence(pairs) @ incidence(pairs).T
        sigma = np.eye(N) + ratio * laplacian
        all_N = exposed_N(pairs, ALL, ratio, 0)
        for away in range(N):
            here = np.flatnonzero(np.arange(N) != away)
            left = np.linalg.inv(sigma[np.ix_(here, here)]).diagonal()
            assert (left <= all_N[here] + 1e-12).all()
        bound_N = exposed_N(pairs, ALL, ratio, 1)
        for told in range(N):
            honest_N = np.arange(N) != told
            assert (exposed_N(pairs, honest_N, ratio, 0) <= bound_N + 1e-12)[honest_N].all()
        assert exposed_N(pairs, ALL, ratio, N).tolist() == [1.0] * N
    star = pairs_of([(0, j) for j in range(1, N)])
    cut = pairs_of([(0, j) for j in range(1, N - 2)])
    assert exposed_N(star, ALL, 4.0, 2)[0] == pytest.approx(exposed_N(cut, ALL, 4.0, 0)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_noise_of_pairs_is_nothing_in_the_sum_over_all_devices(dtype: type) -> None:
    noise_NM = np.zeros((N, 3000), dtype)
    TREE.add_noise(noise_NM, np.arange(N), 4, 2.0, seed=1)
    assert np.abs(noise_NM.sum(0)).max() < 100 * np.finfo(dtype).eps
    degree_N = np.bincount(TREE.own_E)
    np.testing.assert_allclose(noise_NM.std(1), 2 * np.sqrt(degree_N), rtol=0.06)
    covariance = np.cov(noise_NM) / 4 - incidence(TREE) @ incidence(TREE).T
    assert np.abs(covariance).max() < 0.25
    # the same whoever makes it, and other noise in another round
    some, later = np.zeros((2, 2, 3000), dtype)
    TREE.add_noise(some, np.array([2, 6]), 4, 2.0, seed=1)
    TREE.add_noise(later, np.array([2, 6]), 5, 2.0, seed=1)
    assert np.array_equal(some, noise_NM[[2, 6]])
    assert abs(np.corrcoef(some[0], later[0])[0, 1]) < 0.1


def test_rounds_add_up_to_what_a_smaller_share_of_them_would_cost() -> None:
    privacy = Correlated(1.0, 0.5, 1.5, 1e-5, 9.0)
    spending = PairAccountant(privacy, lambda round: round % 2, [TREE, RING].__getitem__, ALL)
    every, none = np.arange(N), np.zeros(N, np.int64)
    spent_N = none
    for round in (0, 1, 0):
        spent_N = spending.after(every, spent_N, np.where(every == 7, 0, 3), round)
    tree_N, ring_N = (exposed_N(pairs, ALL, 9.0, 0) for pairs in (TREE, RING))
    for device in range(N - 1):
        as_if = 0.5 / np.sqrt(2 * tree_N[device] + ring_N[device])
        local = Accountant(DeviceLevel(1.0, as_if, 1e-5), np.ones(1))
        expected = local.epsilon_N(np.ones(1, np.int64))[0]
        assert spending.epsilon_N(spent_N)[device] == pytest.approx(expected, rel=1e-5)
        assert spending.epsilon_N(spent_N)[device] >= expected
    assert spending.epsilon_N(spent_N)[7] == 0
    price_N = spending.price_N(0)
    just_N, short_N = spending.most_N - price_N, spending.most_N - price_N + 1
    assert not spending.poor_N(just_N, 0).any()
    assert spending.poor_N(short_N, 0).all()
    assert spending.allowed(every, just_N, none + 2, 0).tolist() == [2] * N
    assert spending.allowed(every, short_N, none + 2, 0).tolist() == [0] * N
    assert (spending.epsilon_N(spending.after(every, just_N, none + 2, 0)) <= 9.0).all()


def test_settings_that_promise_nothing_are_refused() -> None:
    for options, said in (
        ({"correlated_multiplier": -1.0}, "correlated_multiplier=-1: must be a number from 0"),
        ({"correlated_multiplier": float("nan")}, "must be a number from 0 to 1000"),
        ({"clip_norm": None, "noise_multiplier": 0.0}, "noise hides only what clipping has"),
        ({"colluders": -1}, "colluders=-1: must be 0 or a number of devices"),
        ({"epsilon": 1.0, "noise_multiplier": 0.0}, "spends any budget at once"),
    ):
        with pytest.raises(ConfigError, match=said):
            Correlated(**options)  # type: ignore[arg-type]
