"""Shared updates are federated averaging where everybody is linked; momentum of the averaged model
adds no bias.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.communication.protocol.setting import (
    GAMMA,
    coefficients,
    halved_quadratics,
    optimum,
    ready_of,
    with_options,
)
from tests.support import final_rows, prepared, rows, simulation, trajectory

# --- sharing of updates ---------------------------------------------------------------------------


def test_with_everybody_linked_it_is_federated_averaging() -> None:
    common = (
        "rounds=6",
        "compute.dtype=float64",
        "topology=complete",
        "model=softmax",
        "train.local_steps=3",
    )
    found, fedavg = (
        trajectory(prepared(*common, f"protocol={name}")) for name in ("delta_sharing", "fedavg")
    )
    np.testing.assert_allclose(found, fedavg, rtol=0, atol=1e-14)
    assert np.abs(found[-1] - found[0]).max() > 1e-2


def test_devices_stay_equal_though_messages_are_compressed() -> None:
    common = ("rounds=6", "topology=complete", "model=softmax", "protocol=delta_sharing")
    x_TNP = trajectory(ready_of(*common, parts=("topk",)))
    assert (x_TNP == x_TNP[:, :1]).all()
    assert np.count_nonzero(x_TNP[1, 0] - x_TNP[0, 0]) <= 12, "one number from each"


def test_rounds_are_the_formula_on_a_ring() -> None:
    ready = halved_quadratics("delta_sharing", 20, "topology=ring")
    a, b, W = coefficients(ready)
    x_TN = trajectory(ready)[:, :, 0]
    x = x_TN[0].copy()
    for found in x_TN[1:]:
        x = x - W @ (GAMMA * a * (x - b))
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-13)


# --- quasi-global momentum ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beta", "mu", "steps"), [(0.9, 0.9, 1), (0.5, 0.8, 1), (0.0, 0.9, 1), (0.7, 0.3, 3)]
)
def test_rounds_are_algorithm_qg_dsgdm(beta: float, mu: float, steps: int) -> None:
    options = with_options("protocol", "quasi_global", beta=beta, mu=mu)
    ready = halved_quadratics(
        "quasi_global",
        25,
        "topology=ring",
        "init=independent",
        f"train.local_steps={steps}",
        **options,
    )
    a, b, W = coefficients(ready)
    x_TN = trajectory(ready)[:, :, 0]
    x, m, eta = x_TN[0].copy(), np.zeros(8), GAMMA / 2
    for found in x_TN[1:]:
        half = x.copy()
        for _ in range(steps):
            half = half - eta * (2 * a * (half - b) + beta * m)
        ahead = W @ half
        x, m = ahead, mu * m + (1 - mu) * (x - ahead) / (eta * steps)
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-12)


def test_who_sleeps_keeps_its_momentum_and_listens() -> None:
    """Under loss as well: m stays as it was, x takes in what arrives, and momentum is of those who
    learnt only.
    """
    ready = halved_quadratics(
        "quasi_global", 12, "topology=ring", "network.drop=0.2", parts=("asleep",)
    )
    e, (a, b, _) = ready.experiment(ready.arms[0], ready.arms[0].variants[0]), coefficients(ready)
    eta, kept = GAMMA / 2, 0
    with simulation(ready) as running:
        x, m = rows(running)[:, 0], np.zeros(8)
        for happened in running.engine.advance(12):
            awake, exchange = (
                e.communication.network.active(happened.round),
                e.communication.messages.mix(happened.round),
            )
            assert awake is not None
            half = np.where(awake, x - eta * (2 * a * (x - b) + 0.9 * m), x)
            ahead = half.copy()
            ahead[exchange.dst_R] = exchange.matrix @ half
            kept += int((~awake & (m != 0) & (ahead != x)).sum())
            x, m = ahead, np.where(awake, 0.9 * m + 0.1 * (x - ahead) / eta, m)
            at = running.engine.snapshot()
            np.testing.assert_allclose(at["x"][:, 0], x, rtol=0, atol=1e-13)
            np.testing.assert_allclose(at["protocol.momentum"][:, 0], m, rtol=0, atol=1e-12)
    assert kept > 5, "sleepers with a momentum that heard something"


def test_momentum_without_its_bias() -> None:
    """Local momentum rests where D-PSGD with the step γ/(1 − β) would, since its buffer holds g/(1
    − β) there; the quasi-global buffer is zero there, and leaves D-PSGD's own fixed point x = W(x −
    γA(x − b))."""
    common, beta = ("topology=ring", f"optimizer.lr={GAMMA / 8}"), 0.8
    quasi = halved_quadratics(
        "quasi_global", 570, *common, **with_options("protocol", "quasi_global", beta=beta, mu=beta)
    )
    local = halved_quadratics(
        "dpsgd", 200, "optimizer=momentum", f"optimizer.momentum={beta}", *common
    )
    a, b, W = coefficients(quasi)
    error = []
    for ready, gamma in ((quasi, GAMMA / 4), (local, GAMMA / 4 / (1 - beta))):
        expected = np.linalg.solve(np.eye(8) - W + gamma * W @ np.diag(a), gamma * W @ (a * b))
        found = final_rows(ready)[:, 0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        error.append(np.abs(found - optimum(a, b)).max())
    assert error[0] < 0.5 * error[1]
