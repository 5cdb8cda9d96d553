"""Push-sum is exact where averaging is not: on directed graphs, with lost and with late messages
(facts: item 6).
"""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from tests.communication.protocol.setting import GAMMA, coefficients, gossip, halved_quadratics
from tests.support import simulation, trajectory

NETWORKS = {
    "ideal": ((), ()),
    "30 % lost": (("network.drop=0.3",), ()),
    "late": ((), ("late",)),
    "lost, late and asleep": (("network.drop=0.3",), ("late", "asleep")),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_true_mean_on_a_directed_graph(network: str) -> None:
    overrides, parts = NETWORKS[network]
    x_TNP = trajectory(
        gossip(
            "push_sum_averaging",
            "mixing=column",
            "rounds=400",
            *overrides,
            parts=("oneway", *parts),
        )
    )
    assert np.abs(x_TNP[-1] - x_TNP[0].mean(0)).max() < 1e-12
    assert np.abs(x_TNP[1] - x_TNP[0].mean(0)).max() > 1e-2


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_averaging_by_rows_agrees_on_something_else(loss: float) -> None:
    x_TNP = trajectory(gossip("averaging", "rounds=400", f"network.drop={loss}", parts=("oneway",)))
    assert np.abs(x_TNP[-1] - x_TNP[-1].mean(0)).max() < 1e-12
    assert np.abs(x_TNP[-1] - x_TNP[0].mean(0)).max() > 1e-2


def test_both_sums_are_conserved_under_loss() -> None:
    with simulation(
        gossip("push_sum_averaging", "mixing=column", "network.drop=0.3", parts=("oneway",))
    ) as running:
        start = running.engine.snapshot()["x"].sum(0)
        for _ in running.engine.advance(50):
            end = running.engine.snapshot()
            weight = end["protocol.weight"]
            assert float(abs(weight.sum() - 8)) < 1e-12
            assert float(abs((end["x"] * weight).sum(0) - start).max()) < 1e-12


def test_rounds_are_stochastic_gradient_push() -> None:
    ready = halved_quadratics("push_sum", 30, "mixing=column", parts=("oneway",))
    a, b, P = coefficients(ready)
    x_TN = trajectory(ready)[:, :, 0]
    s, w = x_TN[0].copy(), np.ones(8)
    for found in x_TN[1:]:
        s, w = P @ (s - GAMMA * a * (s / w - b)), P @ w
        np.testing.assert_allclose(found, s / w, rtol=0, atol=1e-13)


def test_learning_is_right_on_directed_graphs_up_to_the_bias_of_the_step() -> None:
    """Σ_i a_i(z_i − b_i) = 0 where it rests: every device's data count alike.

    With averaging by rows they do not.
    """
    push = halved_quadratics("push_sum", 200, "mixing=column", parts=("oneway",))
    a, b, _ = coefficients(push)
    assert abs((a * (trajectory(push)[-1, :, 0] - b)).sum()) < 1e-12
    rows = halved_quadratics("dpsgd", 200, parts=("oneway",))
    assert abs((a * (trajectory(rows)[-1, :, 0] - b)).sum()) > 0.1


def test_weights_that_conserve_rows_only_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"mixing=uniform: conserves the row sums here.*use mixing=column"
    ):
        gossip("push_sum", "mixing=uniform", parts=("oneway",))
    with pytest.raises(ConfigError, match=r"compressor=parts\.TopK: must be none with PushSum"):
        gossip("push_sum", "mixing=column", parts=("oneway", "topk"))
