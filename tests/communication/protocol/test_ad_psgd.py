"""AD-PSGD against its definition, and the pairs of its devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.network.churn import MarkovChurn
from swarm.communication.network.clock import Poisson
from swarm.communication.network.network import Network
from swarm.communication.pairs import RandomPairs
from swarm.communication.topology.random import SmallWorld
from swarm.communication.topology.regular import Ring
from swarm.simulation.experiment import Experiment
from tests.communication.protocol.swarms import Rows, curves, descended, quadratics
from tests.support import experiment, prepared, require_same_bits, simulation, trajectory

CLOCK = ("clock=poisson", "clock.rate=0.2")
K, ROUNDS = 2, 30
COMMON = (f"train.local_steps={K}", f"rounds={ROUNDS}", "topology=ring")


@pytest.mark.parametrize("options", [(), CLOCK, (*CLOCK, "network.drop=0.3")])
def test_averaging_preserves_the_mean(options: tuple[str, ...]) -> None:
    """Whoever is asleep, and whatever is lost: without gradients the mean over devices stays, and
    the devices come together.
    """
    ready = prepared("protocol=ad_psgd", "init=independent", "compute.dtype=float64", "rounds=30",
                     "optimizer.lr=1.0e-18", *options)  # fmt: skip
    found = trajectory(ready)
    np.testing.assert_allclose(found.mean(1), found[0].mean(0)[None].repeat(31, 0), atol=1e-14)
    assert found[-1].std(0).mean() < 0.6 * found[0].std(0).mean()


def _by_hand(
    e: Experiment, a: Rows, b: Rows, round: int, x: Rows, read: Rows, stale: bool = True
) -> tuple[Rows, Rows]:
    """A round as the paper has it, one device after the other."""
    graph, outcomes = e.communication.messages.sent(round)
    assert (outcomes.ticks_E == 0).all()
    active = e.communication.active(round)
    awake = range(8) if active is None else np.flatnonzero(active)
    start = read if stale else x
    change = {i: descended(start[[i]], a[[i]], b[[i]], K)[0] - start[i] for i in awake}
    x, read = x.copy(), read.copy()
    for i, j in zip(graph.src_E, graph.dst_E, strict=True):
        if i < j:
            x[i] = x[j] = (x[i] + x[j]) / 2
    for i, made in change.items():
        x[i] += made
        read[i] = x[i]
    return x, read


@pytest.mark.parametrize("options", [(), CLOCK], ids=["all at once", "clocks"])
def test_a_round_is_that_of_the_paper(options: tuple[str, ...]) -> None:
    """Device by device; with clocks the parameters that steps start from are old ones, and fresh
    ones would give other numbers.
    """
    ready = quadratics(*COMMON, *options, protocol="ad_psgd")
    e, (a, b) = ready.experiment(ready.arms[0], ready.arms[0].variants[0]), curves(ready)
    found, x, read, fresh, old = trajectory(ready)[..., 0], np.zeros(8), np.zeros(8), np.zeros(8), 0
    for round in range(1, ROUNDS + 1):
        active = e.communication.active(round)
        old += int((x != read)[slice(None) if active is None else active].sum())
        x, read = _by_hand(e, a, b, round, x, read)
        fresh, _ = _by_hand(e, a, b, round, fresh, fresh, stale=False)
        np.testing.assert_allclose(found[round], x, rtol=0, atol=1e-14)
    assert np.abs(x).max() > 0.3
    assert (old > 10) == bool(options)
    assert np.allclose(x, fresh) != bool(options)


def test_pairs_are_pairs_of_neighbours_of_whom_one_is_awake() -> None:
    """Nobody meets two, nobody offline meets, and whoever is awake meets unless its neighbour is
    busy; all neighbours are asked equally often.
    """
    churn, clock = MarkovChurn(60, 0, 1.0, 0.1, 0.3), Poisson(60, 0, 1.0, 0.2)
    network, topology = Network(60, 0, churn=churn, clock=clock), SmallWorld(60, 0)
    pairs, links = RandomPairs(topology, network), topology.graph(0)
    linked = set(zip(links.src_E.tolist(), links.dst_E.tolist(), strict=True))
    met = 0
    for round in range(1, 60):
        graph, active, online = (
            pairs.graph(round - 1),
            network.active(round),
            network.online(round),
        )
        assert active is not None
        assert online is not None
        assert graph.degree_in.max(initial=0) <= 1
        assert set(zip(graph.src_E.tolist(), graph.dst_E.tolist(), strict=True)) <= linked
        assert (active[graph.src_E] | active[graph.dst_E]).all()
        assert online[graph.src_E].all()
        met += len(graph.src_E) // 2
    assert met > 0.5 * sum(int(network.active(r).sum()) for r in range(1, 60))  # type: ignore[union-attr]
    everybody = RandomPairs(Ring(40), Network(40, 0))
    right = sum((everybody.graph(r).links_E2 == [3, 4]).all(1).sum() for r in range(400))
    left = sum((everybody.graph(r).links_E2 == [2, 3]).all(1).sum() for r in range(400))
    assert abs(int(right) - int(left)) < 5 * np.sqrt(400 * 0.5)


def test_an_exchange_takes_its_time() -> None:
    """With clock=speed a period is the time of the steps and of an exchange with a neighbour at the
    slowest of the four lines.
    """
    fleet = ("fleet=uniform", "fleet.flops=1.0e+6", "fleet.uplink=1.0e+6", "fleet.downlink=4.0e+5")
    e = experiment(
        "protocol=ad_psgd", "clock=speed", "network.round_seconds=0.01", "rounds=500", *fleet
    )
    bits = e.communication.phases[1].bits
    period_N: Any = e.communication.network.clock.period_N  # type: ignore[union-attr]
    np.testing.assert_allclose(period_N, 2 * e.model.step_flops / 1e6 + bits / 4e5)
    assert e.communication.messages.depth == 0


CASES = {
    "all at once": (),
    "clocks, loss, churn": (*CLOCK, "network.drop=0.3", "churn=markov", "churn.leave_rate=0.2"),
    "speed": (
        "fleet=terminals",
        "clock=speed",
        "network.round_seconds=0.002",
        "optimizer=momentum",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, case: str) -> None:
    common = ("protocol=ad_psgd", "devices=11", "engine.block=2", *CASES[case])
    require_same_bits(tmp_path, *common, rounds=6, cut=3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("topology=exponential",), "must be undirected for a protocol whose devices meet in pai"),
        (("mixing=lazy",), "by which both devices of a pair get their mean; use mixing=auto"),
        (("delay=constant", "delay.seconds=3.0"), "must be less than a round under"),
        (("compressor=float16",), "needs the exact numbers"),
        (("aggregator=coordinate_median",), "must be mean with"),
        (("engine=live",), "must do without sums that mixing conserves"),
    ],
)
def test_what_cannot_work_is_refused(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared("protocol=ad_psgd", *options)


def test_a_checkpoint_holds_what_was_read() -> None:
    with simulation(prepared("protocol=ad_psgd", *CLOCK, "rounds=3")) as running:
        assert running.expected_arrays()["protocol.read"][1] == running.expected_arrays()["x"][1]
