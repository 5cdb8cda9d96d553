"""Protocols with a server, on quadratics: what they converge to in closed form, and what they are
special cases of.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.communication.protocol.fedavg import FedAvg
from tests.communication.protocol.swarms import curves, descended, planned, quadratics
from tests.support import final_rows, simulation, trajectory

K = 20
STEPS = f"train.local_steps={K}"
FEDAVG: dict[str, Any] = {"_target_": "swarm.communication.protocol.fedavg.FedAvg"}
FEDPROX: dict[str, Any] = {"_target_": "swarm.communication.protocol.fedprox.FedProx"}
SCAFFOLD: dict[str, Any] = {"_target_": "swarm.communication.protocol.scaffold.Scaffold"}
FEDADAM: dict[str, Any] = {"_target_": "swarm.communication.protocol.fedadam.FedAdam"}
DILOCO: dict[str, Any] = {"_target_": "swarm.communication.protocol.diloco.DiLoCo"}
MLP = (
    "devices=10",
    "data=gaussian",
    "partition=dirichlet",
    "model.hidden=[9]",
    "train.local_steps=5",
    "rounds=6",
)


# --- FedAvg of some -------------------------------------------------------------------------------


def test_every_set_of_clients_is_as_likely_as_any_other() -> None:
    """Three of six: each device is in half of the sets, each pair in a fifth; so the sampled mean
    is unbiased.
    """
    chosen_RN = np.stack([FedAvg(fraction=0.5).participants(r, 6, seed=4) for r in range(1, 3001)])
    assert (chosen_RN.sum(1) == 3).all()
    assert np.abs(chosen_RN.mean(0) - 0.5).max() < 4 * np.sqrt(0.25 / 3000)
    pairs = np.stack([chosen_RN[:, i] & chosen_RN[:, j] for i, j in combinations(range(6), 2)])
    assert np.abs(pairs.mean(1) - 0.2).max() < 4 * np.sqrt(0.16 / 3000)
    x_N = np.array([1.0, -7.0, 3.0, 40.0, 0.0, -2.0])
    means_R = (chosen_RN * x_N).sum(1) / 3
    assert abs(means_R.mean() - x_N.mean()) < 4 * means_R.std() / np.sqrt(3000)


@pytest.mark.parametrize(("fraction", "count"), [(0.25, 2), (0.01, 1), (0.7, 6), (1.0, 8)])
def test_the_server_hears_the_clients_of_the_round_and_everybody_gets_its_model(
    fraction: float, count: int
) -> None:
    ready = quadratics(STEPS, "rounds=6", protocol={**FEDAVG, "fraction": fraction})
    e, (a, b), x_TNP = (
        ready.experiment(ready.arms[0], ready.arms[0].variants[0]),
        curves(ready),
        trajectory(ready),
    )
    for round in range(1, 7):
        active = e.communication.active(round)
        heard = np.ones(8, bool) if active is None else active
        assert heard.sum() == count
        expected = descended(x_TNP[round - 1, :, 0], a, b, K)[heard].mean()
        assert np.abs(x_TNP[round] - expected).max() < 1e-14


@pytest.mark.parametrize(
    "protocol", [FEDAVG, SCAFFOLD, FEDADAM, DILOCO], ids=lambda p: p["_target_"].rpartition(".")[2]
)
def test_who_was_away_does_not_learn_from_an_old_model(protocol: dict[str, Any]) -> None:
    x_TNP = trajectory(
        quadratics(STEPS, "rounds=7", protocol=protocol, churn={"_target_": "still.InTurn"})
    )
    assert np.ptp(x_TNP, axis=1).max() == 0
    assert np.abs(np.diff(x_TNP[:, 0, 0])).min() > 0


LOSSES = ("network.drop=0.3", "network.drop=0.3 network.symmetric=true", "network.drop=0.9")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "protocol", [FEDAVG, {**FEDAVG, "fraction": 0.5}, SCAFFOLD, FEDADAM, DILOCO], ids=str
)
def test_lost_messages_leave_those_devices_out(protocol: dict[str, Any], loss: str) -> None:
    """One model in every round; where nobody is heard it stays."""
    ready = quadratics(STEPS, "rounds=12", *loss.split(), protocol=protocol)
    e, x_TNP = ready.experiment(ready.arms[0], ready.arms[0].variants[0]), trajectory(ready)
    assert np.ptp(x_TNP, axis=1).max() == 0
    for round in range(1, 13):
        heard = e.communication.active(round)
        assert heard is not None
        assert heard.any() == (x_TNP[round] != x_TNP[round - 1]).any()
        if protocol["_target_"] == FEDAVG["_target_"] and heard.any():
            expected = descended(x_TNP[round - 1, :, 0], *curves(ready), K)[heard].mean()
            assert np.abs(x_TNP[round] - expected).max() < 1e-14


def test_scaffold_stays_exact_though_messages_are_lost() -> None:
    ready = quadratics(STEPS, "rounds=170", "network.drop=0.3", protocol=SCAFFOLD)
    a, b = curves(ready)
    assert np.abs(final_rows(ready) - (a * b).sum() / a.sum()).max() < 1e-10


def test_scaffold_rests_where_the_rate_is_zero() -> None:
    """A run that is made longer keeps its horizon; past it, a cosine has come down to 0."""
    x_TNP = trajectory(
        quadratics(STEPS, "rounds=4", "schedule=cosine", "schedule.rounds=2", protocol=SCAFFOLD)
    )
    assert (x_TNP[1] != x_TNP[2]).all()
    np.testing.assert_allclose(x_TNP[3:], x_TNP[[2, 2]], rtol=0, atol=1e-14)


@pytest.mark.parametrize(("symmetric", "heard"), [("false", 0.49), ("true", 0.7)])
def test_messages_of_a_server_are_lost_and_counted(symmetric: str, heard: float) -> None:
    """All 8 are asked; 0.7 of these messages arrive, and of the answers 0.7 again, or all."""
    ready = quadratics(
        "rounds=1", "network.drop=0.3", f"network.symmetric={symmetric}", protocol=FEDAVG
    )
    e, rounds = ready.experiment(ready.arms[0], ready.arms[0].variants[0]), 2000
    reached, took_part = [], []
    for round in range(1, rounds + 1):
        sent, active = e.communication.phases[1].traffic(round), e.communication.active(round)
        assert active is not None
        assert sent.messages == 8 + sent.sent_N.sum()
        assert sent.messages - sent.lost == sent.received_N.sum() + active.sum()
        assert (sent.received_N >= active).all()
        reached.append(sent.received_N.mean())
        took_part.append(active.mean())
    assert np.mean(reached) == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 8 / rounds))
    assert np.mean(took_part) == pytest.approx(heard, abs=4 * np.sqrt(0.25 / 8 / rounds))


@pytest.mark.parametrize("setting", ["delay=constant", "outage=split"])
def test_what_links_to_a_server_do_not_have_is_refused(setting: str) -> None:
    key, name = setting.split("=")
    with pytest.raises(ConfigError, match=rf"{key}={name}: must be none with FedAvg, whose server"):
        quadratics(setting, protocol=FEDAVG)


# --- FedProx --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_fedprox_without_a_pull_is_fedavg_bit_for_bit(fraction: float) -> None:
    prox = trajectory(planned(*MLP, protocol={**FEDPROX, "mu": 0.0, "fraction": fraction}))
    np.testing.assert_array_equal(
        prox, trajectory(planned(*MLP, protocol={**FEDAVG, "fraction": fraction}))
    )


@pytest.mark.parametrize("mu", [0.1, 1.0, 5.0])
def test_fedprox_in_closed_form(mu: float) -> None:
    ready = quadratics(STEPS, "rounds=12", protocol={**FEDPROX, "mu": mu})
    (a, b), x = curves(ready), np.zeros(8)
    for round, found in enumerate(trajectory(ready)[1:, :, 0], 1):
        x = np.full(8, descended(x, a, b, K, mu).mean())
        assert np.abs(found - x).max() < 1e-13, round


# --- SCAFFOLD -------------------------------------------------------------------------------------


def test_fedavg_drifts() -> None:
    """Its fixed point weighs device i by 1 − (1 − 2γa_i)^K instead of a_i."""
    ready = quadratics(STEPS, "rounds=15", protocol=FEDAVG)
    a, b = curves(ready)
    drift = 1 - (1 - 2 * 0.05 * a) ** K
    found = final_rows(ready)[:, 0]
    assert np.abs(found - (drift * b).sum() / drift.sum()).max() < 1e-13
    assert np.abs(found - (a * b).sum() / a.sum()).min() > 0.02


@pytest.mark.parametrize(("fraction", "rounds"), [(1.0, 70), (0.5, 200)])
def test_scaffold_does_not(fraction: float, rounds: int) -> None:
    ready = quadratics(STEPS, f"rounds={rounds}", protocol={**SCAFFOLD, "fraction": fraction})
    a, b = curves(ready)
    x_TNP = trajectory(ready)
    assert np.abs(x_TNP[-1] - (a * b).sum() / a.sum()).max() < 1e-10
    first = trajectory(quadratics(STEPS, "rounds=1", protocol={**FEDAVG, "fraction": fraction}))
    # all variates are zero before the first round
    np.testing.assert_allclose(x_TNP[1], first[1], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "sections", [{}, {"churn": {"_target_": "still.InTurn"}}], ids=["all there", "some away"]
)
def test_the_servers_variate_is_the_mean_of_all(sections: dict[str, Any]) -> None:
    """c = Σc_i/N after every round, although only some report what has become of theirs."""
    ready = quadratics(STEPS, "rounds=9", protocol={**SCAFFOLD, "fraction": 0.5}, **sections)
    with simulation(ready) as running:
        for round in range(1, 10):
            for _ in running.engine.advance(round):
                pass
            arrays = running.engine.snapshot()
            own, server = (arrays[f"protocol.{name}"].numpy() for name in ("own", "server"))
            assert np.abs(server - own.mean(0)).max() < 1e-14
        assert np.abs(own).max() > 0.1


def test_variates_are_gradients_where_it_rests() -> None:
    """c_i = ∇f_i and c = Σ∇f_i/N = 0 at the optimum; steps alone do not tell, for they see c − c_i
    only.
    """
    ready = quadratics(STEPS, "rounds=75", protocol=SCAFFOLD)
    a, b = curves(ready)
    with simulation(ready) as running:
        for _ in running.engine.advance(75):
            pass
        arrays = running.engine.snapshot()
    expected = 2 * a * ((a * b).sum() / a.sum() - b)
    np.testing.assert_allclose(arrays["protocol.own"][:, 0], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(arrays["protocol.server"], 0.0, rtol=0, atol=1e-9)


# --- server optimisers ----------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_fedadam_is_adam_on_the_mean_change(fraction: float) -> None:
    ready = quadratics(STEPS, "rounds=15", protocol={**FEDADAM, "lr": 0.1, "fraction": fraction})
    e, (a, b) = ready.experiment(ready.arms[0], ready.arms[0].variants[0]), curves(ready)
    x, m, v = 0.0, 0.0, 1e-6
    for round, found in enumerate(trajectory(ready)[1:], 1):
        active = e.communication.active(round)
        change = (
            descended(np.full(8, x), a, b, K)[slice(None) if active is None else active].mean() - x
        )
        m, v = 0.9 * m + 0.1 * change, 0.99 * v + 0.01 * change**2
        x += 0.1 * m / (np.sqrt(v) + 1e-3)
        assert np.abs(found - x).max() < 1e-12


def test_fedadam_without_memory_goes_by_signs() -> None:
    """β₁ = β₂ = 0 and a vanishing τ: every parameter moves by the rate, whatever the size of its
    gradient.
    """
    protocol = {**FEDADAM, "lr": 0.1, "beta1": 0.0, "beta2": 0.0, "tau": 1e-14}
    x_TNP = trajectory(quadratics(STEPS, "rounds=5", protocol=protocol))
    np.testing.assert_allclose(np.abs(np.diff(x_TNP, axis=0)), 0.1, rtol=1e-10)


@pytest.mark.parametrize(("exchange", "plain"), [("server", "fedavg"), ("gossip", "dpsgd")])
def test_diloco_without_momentum_is_plain_averaging(exchange: str, plain: str) -> None:
    protocol = {**DILOCO, "lr": 1.0, "momentum": 0.0, "exchange": exchange}
    found, expected = (
        trajectory(planned(*MLP, "topology=ring", protocol=p)) for p in (protocol, plain)
    )
    assert np.abs(found - expected).max() < 1e-12
    assert np.abs(found[-1] - found[0]).max() > 0.05


@pytest.mark.parametrize("exchange", ["server", "gossip"])
def test_diloco_is_nesterov_on_the_mean_change(exchange: str) -> None:
    """Against torch's optimiser; with gossip, on each device's own outer model and its neighbours'
    mean.
    """
    ready = quadratics(
        STEPS, "rounds=15", "topology=ring", protocol={**DILOCO, "exchange": exchange}
    )
    e, (a, b) = ready.experiment(ready.arms[0], ready.arms[0].variants[0]), curves(ready)
    W = (
        np.full((8, 8), 1 / 8)
        if exchange == "server"
        else e.communication.mixing(1).matrix.toarray()
    )
    outer = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([outer], lr=0.7, momentum=0.9, nesterov=True)
    for found in trajectory(ready)[1:, :, 0]:
        mean = W @ descended(outer.detach().numpy(), a, b, K)
        outer.grad = outer.detach() - torch.as_tensor(mean)
        optimizer.step()
        np.testing.assert_allclose(found, outer.detach().numpy(), rtol=0, atol=1e-12)
