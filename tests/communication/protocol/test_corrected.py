"""Gradient tracking, D² and exact diffusion: no bias at a constant rate, whatever the devices' data
(facts: item 5).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.mixing import smallest_eigenvalue, weights
from swarm.communication.protocol.gradient_tracking import stable_below
from swarm.communication.topology.graph import Graph
from tests.communication.protocol.setting import GAMMA, coefficients, halved_quadratics, optimum
from tests.support import Rows, experiment, final_rows, trajectory

CORRECTED = ["gradient_tracking", "d2", "exact_diffusion"]
# of gradient tracking: 340 and 850 rounds to 1e-12; the others take at most 190
SLOWER = {"ring": 360, "star": 870}


@pytest.mark.parametrize("least", [-0.35, -0.6, -0.9])
def test_where_gradient_tracking_diverges(least: float) -> None:
    """Two devices whose weights have the eigenvalues 1 and ``least``: the published recursion on
    ½x² contracts right below the limit, and grows right above it."""
    W = np.array([[1 + least, 1 - least], [1 - least, 1 + least]]) / 2
    for share, grows in ((0.98, False), (1.02, True)):
        rate = share * stable_below(least)
        x = np.array([1.0, -1.0])
        y, size = x.copy(), []
        for _ in range(4000):
            ahead = W @ (x - rate * y)
            x, y = ahead, W @ (y + ahead - x)
            size.append(np.abs(x).max())
        assert (size[-1] > 1) == grows
        assert (size[-1] > size[-2]) == grows


def test_weights_under_which_tracking_bears_short_steps_only_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"eigenvalue -0\.6000; .* from rate .* 0\.22 on.*lazy"):
        experiment("protocol=gradient_tracking", "topology=torus", "devices=16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        experiment("protocol=gradient_tracking", "topology=torus", "devices=16", "mixing=lazy")
        experiment("protocol=gradient_tracking", "topology=ring", "devices=16")


@pytest.mark.parametrize("topology", ["ring", "star", "complete"])
@pytest.mark.parametrize("protocol", CORRECTED)
def test_everybody_reaches_the_optimum(protocol: str, topology: str) -> None:
    rounds = SLOWER.get(topology, 200) if protocol == "gradient_tracking" else 200
    ready = halved_quadratics(
        protocol,
        rounds,
        f"topology={topology}",
        "mixing=lazy" if protocol == "d2" else "mixing=auto",
    )
    a, b, _ = coefficients(ready)
    assert np.abs(final_rows(ready)[:, 0] - optimum(a, b)).max() < 1e-12


def _formula(protocol: str, x: Rows, a: Rows, b: Rows, W: Rows) -> Iterator[Rows]:
    """The papers' recursions as they print them, with gradients G."""

    def gradient(at: Rows) -> Rows:
        return np.asarray(a * (at - b))

    if protocol == "gradient_tracking":
        y = gradient(x)
        while True:
            ahead = W @ (x - GAMMA * y)
            y, x = W @ (y + gradient(ahead) - gradient(x)), ahead
            yield x
    if protocol == "d2":
        before, x = x, W @ (x - GAMMA * gradient(x))
        while True:
            yield x
            before, x = x, W @ (2 * x - before - GAMMA * (gradient(x) - gradient(before)))
    psi = x
    while True:
        ahead = x - GAMMA * gradient(x)
        x, psi = (np.eye(len(x)) + W) / 2 @ (ahead + x - psi), ahead
        yield x


@pytest.mark.parametrize("protocol", CORRECTED)
def test_rounds_are_the_published_recursion(protocol: str) -> None:
    start = {"model": {"_target_": "parts.Anywhere"}}
    ready = halved_quadratics(
        protocol, 12, "topology=small_world", "mixing=lazy", "init=independent", **start
    )
    a, b, W = coefficients(ready)
    x_TN = trajectory(ready)[:, :, 0]
    for found, expected in zip(x_TN[1:], _formula(protocol, x_TN[0], a, b, W), strict=False):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("protocol", CORRECTED)
def test_lost_messages_and_sleeping_devices_leave_no_bias(protocol: str) -> None:
    """A fifth of the devices sleep in a round, 10 % of the links are down: what they last learnt
    goes on counting.
    """
    failing = (
        "network.drop=0.1",
        "network.symmetric=true",
        "mixing=lazy" if protocol == "d2" else "mixing=auto",
    )
    rounds = 780 if protocol == "gradient_tracking" else 200
    ready = halved_quadratics(protocol, rounds, "topology=ring", *failing, parts=("asleep",))
    a, b, _ = coefficients(ready)
    assert np.abs(final_rows(ready)[:, 0] - optimum(a, b)).max() < (
        5e-12 if rounds == 780 else 1e-12
    )


def test_tracking_works_on_links_that_change() -> None:
    ready = halved_quadratics("gradient_tracking", 120, "topology=one_peer_exponential")
    a, b, _ = coefficients(ready)
    assert np.abs(final_rows(ready)[:, 0] - optimum(a, b)).max() < 1e-12


@pytest.mark.parametrize("protocol", CORRECTED)
def test_who_sleeps_does_not_move(protocol: str) -> None:
    """Of links that are lost both ways nothing reaches a sleeper; its tracker or correction waits
    for its next turn.
    """
    ready = halved_quadratics(protocol, 12, "topology=ring", "mixing=lazy", parts=("asleep",))
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    x_TN, slept = trajectory(ready)[:, :, 0], 0
    for round in range(1, 13):
        awake = e.communication.network.active(round)
        assert awake is not None
        slept += int((~awake).sum())
        np.testing.assert_array_equal(x_TN[round, ~awake], x_TN[round - 1, ~awake])
        assert (x_TN[round, awake] != x_TN[round - 1, awake]).all()
    assert slept > 10


@pytest.mark.parametrize("topology", ["base_graph", "random_matching"])
@pytest.mark.parametrize("protocol", ["gradient_tracking", "exact_diffusion"])
def test_what_works_on_links_that_change_has_no_bias_there(protocol: str, topology: str) -> None:
    """D² does not: on base_graph of 8, every round's eigenvalues being 0 or 1, it goes to 1e18
    within 600 rounds.
    """
    ready = halved_quadratics(protocol, 130, f"topology={topology}")
    a, b, _ = coefficients(ready)
    assert np.abs(final_rows(ready)[:, 0] - optimum(a, b)).max() < 1e-12


# --- what is refused ------------------------------------------------------------------------------


def test_d2_refuses_eigenvalues_down_to_minus_a_third() -> None:
    """Of a ring of 8 with weights 1/3 the least is (1 + 2 cos π)/3 = −1/3: its mode oscillates for
    ever.
    """
    with pytest.raises(
        ConfigError, match=r"protocol=d2: .*least is -0\.3333 here; use mixing=lazy"
    ):
        halved_quadratics("d2", 1, "topology=ring")
    halved_quadratics("d2", 1, "topology=ring", "mixing=lazy")
    halved_quadratics("exact_diffusion", 1, "topology=ring")


@pytest.mark.parametrize("topology", ["base_graph", "random_matching"])
def test_d2_refuses_graphs_that_change(topology: str) -> None:
    with pytest.raises(
        ConfigError, match=r"must not change under D2.*protocol=exact_diffusion would do"
    ):
        halved_quadratics("d2", 1, f"topology={topology}", "mixing=lazy")


@pytest.mark.parametrize("protocol", ["d2", "exact_diffusion"])
def test_directed_graphs_are_refused(protocol: str) -> None:
    with pytest.raises(ConfigError, match="needs symmetric weights"):
        experiment(f"protocol={protocol}", "topology=exponential")


@pytest.mark.parametrize("protocol", CORRECTED)
def test_compressors_and_one_sided_weights_are_refused(protocol: str) -> None:
    with pytest.raises(ConfigError, match=r"compressor=parts\.TopK: must be none with"):
        halved_quadratics(protocol, 1, "topology=star", parts=("topk",))
    with pytest.raises(ConfigError, match="mixing=uniform: conserves the row sums"):
        halved_quadratics(protocol, 1, "topology=star", "mixing=uniform")


@pytest.mark.parametrize("n", [5, 8, 2001])
def test_the_smallest_eigenvalue_of_a_ring(n: int) -> None:
    """(1 + 2 cos(2π⌊n/2⌋/n))/3, also by Lanczos iteration."""
    ring = weights(Graph.from_edges(n, [(i, (i + 1) % n) for i in range(n)]))
    assert smallest_eigenvalue(ring) == pytest.approx(
        (1 + 2 * np.cos(2 * np.pi * (n // 2) / n)) / 3, abs=1e-6
    )
    assert smallest_eigenvalue(weights(Graph.from_edges(n, [(0, 1)]), "lazy")) == pytest.approx(
        0.5, abs=1e-6
    )
    with pytest.raises(ValueError, match="symmetric"):
        smallest_eigenvalue(weights(Graph.from_edges(n, [(0, 1)], directed=True)))
