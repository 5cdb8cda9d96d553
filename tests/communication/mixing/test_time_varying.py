"""Theorems about graphs that change: expected contraction of random partners."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarm.communication.mixing import (
    effective_neighbours,
    observed_rate,
    second_eigenvalue,
    weights,
)
from swarm.communication.topology.base import Topology
from swarm.communication.topology.gossip import Epidemic, RandomMatching, Variant
from swarm.communication.topology.regular import Complete, Isolated, Ring
from swarm.results.report import write_report
from tests.support import run

Floats = np.ndarray[Any, np.dtype[np.float64]]


# --- random partners: Boyd et al. 2006, De Vos et al. 2023


def close_to(topology: Topology, n: int, expected: float, rounds: int = 1500) -> None:
    """The mean of ‖Wx − x̄‖²/‖x − x̄‖² over rounds, within four standard errors (one in 16,000 by
    chance) of theory.
    """
    x_N = np.random.default_rng(5).standard_normal(n) * np.arange(1, n + 1)
    x_N -= x_N.mean()
    ratio_T = np.array(
        [np.square(weights(topology.graph(t)).matrix @ x_N).sum() for t in range(rounds)]
    ) / (x_N @ x_N)
    error = ratio_T.std(ddof=1) / math.sqrt(rounds)
    assert abs(ratio_T.mean() - expected) <= 4 * error + 1e-12
    # sharp enough to tell s from s + 1, and the two variants apart
    assert error < 0.02 * max(expected, 0.1)


@pytest.mark.parametrize("n", [2, 8, 31, 32])
def test_random_matchings_contract_by_half(n: int) -> None:
    close_to(RandomMatching(n, seed=1), n, 0.5 if n % 2 else 0.5 * (1 - 1 / (n - 1)))


@pytest.mark.parametrize(("n", "s"), [(8, 1), (10, 3), (31, 4), (6, 5)])
@pytest.mark.parametrize("variant", ["oracle", "local"])
def test_epidemic_learning_contracts_as_published(n: int, s: int, variant: Variant) -> None:
    oracle = (1 / (s + 1)) * (1 - s / (n - 1))
    local = (1 / s) * (1 - (1 - s / (n - 1)) ** n) - 1 / (n - 1)
    close_to(
        Epidemic(n, seed=1, fanout=s, variant=variant), n, oracle if variant == "oracle" else local
    )


@pytest.mark.parametrize("variant", ["oracle", "local"])
def test_every_other_device_is_as_likely_a_sender(variant: Variant) -> None:
    """Over 4000 rounds each ordered pair is linked s/(n − 1) of the time, within 4.5 standard
    deviations (110 pairs).
    """
    n, s, rounds = 11, 3, 4000
    count_NN = np.zeros((n, n))
    topology = Epidemic(n, seed=2, fanout=s, variant=variant)
    for t in range(rounds):
        graph = topology.graph(t)
        count_NN[graph.dst_E, graph.src_E] += 1
    chance = s / (n - 1)
    off = count_NN[~np.eye(n, dtype=bool)]
    assert np.abs(off - rounds * chance).max() < 4.5 * math.sqrt(rounds * chance * (1 - chance))


# --- rates of sequences that never repeat


def test_the_observed_rate_of_repeated_mixing_is_rho() -> None:
    ring = weights(Ring(8).graph(0))
    assert observed_rate([ring] * 200) == pytest.approx(second_eigenvalue(ring), rel=1e-9)
    assert observed_rate([weights(Isolated(5).graph(0))] * 3) == 1.0
    assert observed_rate([ring, weights(Complete(8).graph(0)), ring]) == 0.0
    assert observed_rate([weights(Isolated(1).graph(0))] * 3) == 0.0


def test_the_observed_rate_does_not_underflow() -> None:
    """Epidemic learning with s = 15 shrinks squared distances about 16-fold a round: (1/4)^400 is
    far below float64.
    """
    mixings = [weights(Epidemic(300, 0, fanout=15).graph(t)) for t in range(400)]
    assert observed_rate(mixings) == pytest.approx(math.sqrt((1 / 16) * (1 - 15 / 299)), rel=0.03)


def test_effective_neighbours_over_some_ends_come_near_those_over_all() -> None:
    mixings = [weights(RandomMatching(20, 0).graph(t)) for t in range(16)]
    assert effective_neighbours(mixings, ends=4) == pytest.approx(
        effective_neighbours(mixings), rel=0.1
    )
    assert effective_neighbours(mixings, ends=16) == effective_neighbours(mixings)


@pytest.mark.parametrize(
    "topology", ["random_matching", "epidemic", "waypoint topology.radius=600"]
)
def test_the_consensus_scenario_of_endless_topologies(tmp_path: Path, topology: str) -> None:
    """ρ is said to be estimated, and the fitted rate comes near it.

    (That of 32 rounds scatters by a tenth or so.)
    """
    chosen = f"topology={topology}".split()
    summary = run(
        tmp_path / "run", *chosen, "devices=24", "scenario=consensus", "rounds=120", "model=softmax"
    )
    found = summary["topology"]
    assert found["period"] is None
    assert found["estimated_from"] == 32
    assert summary["rate_measured_reason"] is None
    assert summary["rate_measured"] == pytest.approx(found["rho"], rel=0.15)
    assert 1 < found["effective_neighbours"] <= 24
    assert summary["headline"].endswith(f"theory (ρ, estimated from 32 rounds) {found['rho']:.6f}.")
    report = next(
        path for path in write_report(tmp_path / "run") if path.suffix == ".html"
    ).read_text()
    assert "estimated from 32 rounds" in report
