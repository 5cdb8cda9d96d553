"""Averaging through the engine agrees as fast as theory says (facts: Xiao & Boyd 2004; one-peer
exponential products).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scenarios.consensus import fitted_rate
from swarm.communication.mixing import second_eigenvalue, weights
from tests.support import logged, prepared, run, simulation, trajectory

AVERAGING = (
    "scenario.arms=[swarm]",
    "protocol=averaging",
    "init=independent",
    "compute.dtype=float64",
    "model=softmax",
)
SYMMETRIC = [
    "ring devices=16", "torus devices=16", "hypercube devices=16", "complete devices=9", "star devices=10",
    "small_world devices=20", "erdos_renyi devices=20", "barabasi_albert devices=20", "random_regular devices=14",
    "geometric devices=20", "clusters devices=20", "hierarchy devices=12", "social devices=34",
]  # fmt: skip


@pytest.mark.parametrize("case", SYMMETRIC, ids=lambda case: case.split()[0])
@pytest.mark.parametrize("mixing", ["auto", "lazy", "max_degree"])
def test_distance_shrinks_by_rho_each_round(case: str, mixing: str) -> None:
    """‖x_t − x̄‖ ≤ ρᵗ‖x_0 − x̄‖ at every t, and the mean stays where it was."""
    topology, devices = case.split()
    ready = prepared(*AVERAGING, f"topology={topology}", devices, f"mixing={mixing}", "rounds=25")
    matrix = ready.experiment(ready.arms[0], ready.arms[0].variants[0]).communication.mixing(1)
    assert abs(matrix.matrix - matrix.matrix.T).max() < 1e-15
    rho = second_eigenvalue(matrix)
    assert rho < 1
    x_TNP = trajectory(ready)
    mean_P = x_TNP[0].mean(0)
    assert np.abs(x_TNP[:, :, :].mean(1) - mean_P).max() < 1e-12
    distance_T = np.linalg.norm(x_TNP - mean_P, axis=(1, 2))
    assert distance_T[0] > 1
    bound_T = rho ** np.arange(len(distance_T)) * distance_T[0]
    assert (distance_T <= bound_T * (1 + 1e-9) + 1e-12).all()


# (rounds that reach 1e-10 of the start, how closely the fit meets ρ): random graphs have close
# eigenvalues
RATES = {
    "ring": ("devices=16", 460, 1e-6),
    "torus": ("devices=16", 60, 1e-6),
    "hypercube": ("devices=16", 60, 1e-6),
    "small_world": ("devices=20", 150, 1e-2),
    "erdos_renyi": ("devices=20", 150, 1e-2),
}


@pytest.mark.parametrize("topology", RATES)
def test_the_consensus_scenario_measures_rho(tmp_path: Path, topology: str) -> None:
    devices, rounds, tolerance = RATES[topology]
    summary = run(
        tmp_path / "run",
        f"topology={topology}",
        devices,
        "scenario=consensus",
        f"rounds={rounds}",
        "model=softmax",
        "checkpoint.every=0",
    )
    assert summary["rate_measured_reason"] is None
    assert summary["rate_measured"] == pytest.approx(summary["topology"]["rho"], rel=tolerance)
    if topology == "ring":
        assert summary["rate_measured"] == pytest.approx(0.949253, abs=1e-6)


@pytest.mark.parametrize(
    ("topology", "rounds"),
    [("complete devices=12", 1), ("one_peer_exponential devices=16", 4)],
)
def test_a_graph_of_rho_0_comes_to_one_value_in_one_period(
    tmp_path: Path, topology: str, rounds: int
) -> None:
    summary = run(
        tmp_path / "run", *f"topology={topology}".split(), "scenario=consensus", "rounds=6"
    )
    distances = [r["consensus_distance"] for r in logged(tmp_path / "run")]
    assert min(distances[:rounds]) > 0.1
    assert max(distances[rounds:]) < 1e-14
    assert summary["topology"]["rho"] == summary["rate_measured"] == 0
    assert summary["rate_measured_reason"] is None
    assert summary["rounds_to_one_value"] == rounds
    after = "1 round," if rounds == 1 else f"{rounds} rounds,"
    assert summary["headline"].startswith(f"All devices hold one value after {after}")


@pytest.mark.parametrize("rho", [0.9, 0.1, 0.02, 0.004, 0.001])
def test_a_small_rate_is_fitted_down_to_rounding(rho: float) -> None:
    """Only two rounds of 0.004ᵗ lie between 1e-4 and 1e-10."""
    rate, reason = fitted_rate(rho ** np.arange(250.0) + 1e-16)
    assert (reason, rate) == (None, pytest.approx(rho, rel=1e-3))


def test_too_few_rounds_to_measure_are_named(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "topology=ring", "devices=16", "scenario=consensus", "rounds=5")
    assert summary["rate_measured"] is None
    assert "more rounds" in summary["rate_measured_reason"]


def test_averaging_takes_any_number_of_devices_whatever_the_data(tmp_path: Path) -> None:
    """The digits could feed 628 devices; no samples are dealt, and the rows do not depend on the
    partition.
    """
    common = (
        "scenario=consensus",
        "topology=torus",
        "devices=650",
        "rounds=1",
        "model=softmax",
        "checkpoint.every=0",
    )
    summary = run(tmp_path / "run", *common)
    assert summary["data"]["samples_per_device"]["max"] == 0
    assert summary["arms"]["gossip"]["bytes_total"] > 0
    other = run(tmp_path / "other", *common, "partition=pathological")
    assert other["arms"]["gossip"]["params_sha256"] == summary["arms"]["gossip"]["params_sha256"]


def test_a_graph_in_pieces_never_contracts(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "topology=none", "devices=16", "scenario=consensus", "rounds=3")
    assert summary["rate_measured"] is None
    assert summary["rate_measured_reason"].startswith("ρ is 1: ")


def _product(devices: int, rounds: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """W_r … W_1 as the engine applies it: what happens to rows that start as the identity
    matrix.
    """
    with simulation(
        prepared(*AVERAGING, "topology=one_peer_exponential", f"devices={devices}", "rounds=9")
    ) as running:
        start = running.engine.snapshot()
        start["x"] = torch.eye(devices, start["x"].shape[1], dtype=torch.float64)
        running.engine.restore(start, 0)
        for _ in running.engine.advance(rounds):
            pass
        return np.asarray(running.engine.snapshot()["x"][:, :devices].numpy().copy())


@pytest.mark.parametrize("devices", [2, 4, 8, 16, 32])
def test_one_peer_exponential_reaches_the_exact_mean(devices: int) -> None:
    """Round k averages with i + 2^k at ½; after log₂ n rounds everybody has the mean, not
    before.
    """
    rounds = int(np.log2(devices))
    mean = np.full((devices, devices), 1 / devices)
    assert np.abs(_product(devices, rounds) - mean).max() < 1e-15
    assert np.abs(_product(devices, rounds - 1) - mean).max() > 0.5 / devices


def test_one_peer_exponential_misses_the_mean_of_six() -> None:
    assert np.abs(_product(6, 3) - 1 / 6).max() == pytest.approx(0.083, abs=5e-4)


@pytest.mark.parametrize(
    "topology", ["random_matching", "epidemic", "waypoint topology.radius=400", "base_graph"]
)
@pytest.mark.parametrize("shards", [1, 3])
def test_changing_graphs_mix_every_round_with_its_own_matrix(topology: str, shards: int) -> None:
    """x_T = W_T … W_1 x_0 over more rounds than are kept, however the swarm is cut; and again from
    the middle.
    """
    extra = ("engine.block=4", f"engine.shards={shards}", "rounds=20", "devices=13")
    with simulation(prepared(*AVERAGING, *f"topology={topology}".split(), *extra)) as running:
        start = running.engine.snapshot()
        x_NP = start["x"].numpy().copy()
        for round in range(1, 21):
            x_NP = weights(running.experiment.communication.topology.graph(round - 1)).matrix @ x_NP
            if round == 10:
                middle = x_NP.copy()
        for _ in running.engine.advance(20):
            pass
        end = running.engine.snapshot()["x"].numpy().copy()
        np.testing.assert_allclose(end, x_NP, rtol=0, atol=1e-14)
        # graphs of long ago are wanted again
        running.engine.restore({**start, "x": torch.as_tensor(middle)}, 10)
        for _ in running.engine.advance(20):
            pass
        np.testing.assert_allclose(running.engine.snapshot()["x"].numpy(), x_NP, rtol=0, atol=1e-14)
