"""Protocols that do not communicate in every round: what they compute, and what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.experiments.runs.prepared import PreparedRun
from tests.communication.protocol.swarms import HERE, curves, descended, planned, quadratics
from tests.support import records, simulation, trajectory

PGA: dict[str, Any] = {"_target_": "swarm.communication.protocol.gossip_pga.GossipPGA", "every": 3}
K = 2  # local steps
FEDAVG: dict[str, Any] = {"_target_": "swarm.communication.protocol.fedavg.FedAvg"}
SKIPS = f"plugins=[{HERE / 'quadratic.py'}, {HERE / 'still.py'}, {HERE / 'skipping.py'}]"


def skipping(every: int) -> dict[str, Any]:
    """D-PSGD that mixes in every ``every``-th round only."""
    return {"_target_": "skipping.Seldom", "every": every}


def column(ready: PreparedRun, name: str) -> list[float]:
    """One number of every record, the state before the first round left out."""
    return [row.values[name] for row in records(ready) if row.values["round"]]


def test_gossip_pga_follows_its_equation() -> None:
    """Y = X − γG(X), then WY, or the mean of Y in rounds 3 and 6."""
    ready = quadratics("rounds=7", "topology=ring", protocol=PGA, init="independent")
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    (a, b), x_TNP = curves(ready), trajectory(ready)
    for round in range(1, 8):
        learnt_N = descended(x_TNP[round - 1, :, 0], a, b, K)
        averaged_N = e.communication.mixing(round).matrix @ learnt_N
        expected_N = np.full(8, learnt_N.mean()) if round % 3 == 0 else averaged_N
        np.testing.assert_allclose(x_TNP[round, :, 0], expected_N, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("every", "same_as"), [(1, FEDAVG), (50, "dpsgd")])
def test_gossip_pga_lies_between_fedavg_and_dpsgd(every: int, same_as: Any) -> None:
    found = trajectory(quadratics("rounds=6", protocol={**PGA, "every": every}))
    assert np.array_equal(found, trajectory(quadratics("rounds=6", protocol=same_as)))


def test_only_what_is_sent_is_counted() -> None:
    """A ring of 8 has 16 directed links; a server sends 8 messages and gets 8."""
    sent = column(quadratics("rounds=6", "topology=ring", protocol=PGA), "messages")
    assert sent == [16, 16, 16, 16, 16, 16]
    ready = quadratics(SKIPS, "rounds=6", "topology=ring", protocol=skipping(3))
    assert column(ready, "messages") == [0, 0, 16, 0, 0, 16]
    assert column(ready, "bytes") == [0, 0, 128, 0, 0, 128]


def test_a_round_without_messages_is_local_learning() -> None:
    ready = quadratics(SKIPS, "rounds=5", protocol=skipping(2))
    (a, b), x_TNP = curves(ready), trajectory(ready)
    for round in (1, 3, 5):
        learnt_N = descended(x_TNP[round - 1, :, 0], a, b, K)
        np.testing.assert_allclose(x_TNP[round, :, 0], learnt_N, rtol=0, atol=1e-14)
    assert np.ptp(x_TNP[2]) < np.ptp(descended(x_TNP[1, :, 0], a, b, K))


def test_what_lasts_for_a_round_is_gone_where_its_last_phase_is_left_out() -> None:
    with simulation(quadratics(SKIPS, "rounds=5", protocol=skipping(2))) as running:
        for _ in running.records(5):
            (shard,) = running.engine.shards  # type: ignore[attr-defined]
            assert not shard.state.round_buffers


def test_a_silent_round_costs_no_time_on_the_line() -> None:
    fleet = ("fleet=uniform", "topology=ring", "rounds=4")
    often, seldom = (
        column(quadratics(SKIPS, *fleet, protocol=protocol), "virtual_s")
        for protocol in ("dpsgd", skipping(2))
    )
    assert np.diff([0.0, *seldom])[1::2] == pytest.approx(np.diff([0.0, *often])[1::2])
    assert (np.diff([0.0, *seldom])[::2] < np.diff([0.0, *often])[::2]).all()


def test_a_loss_on_the_way_to_a_server_matters_only_where_it_is_asked() -> None:
    ready = quadratics("rounds=9", "network.drop=0.5", protocol=PGA)
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    for round in range(1, 10):
        active = e.communication.active(round)
        assert (active is not None and not active.all()) == (round % 3 == 0)


@pytest.mark.parametrize(
    ("protocol", "why"),
    [(PGA, "waits for all messages"), (skipping(2), "does not communicate in every round")],
    ids=["pga", "own"],
)
def test_messages_that_take_longer_than_a_round_are_refused(
    protocol: dict[str, Any], why: str
) -> None:
    ready = ("delay=constant", "delay.seconds=1.5", "network.round_seconds=1")
    with pytest.raises(ConfigError, match=why):
        planned(SKIPS, *ready, protocol=protocol)


def test_wrong_answers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"every=0.*at least 1"):
        planned(protocol={**PGA, "every": 0})
    with pytest.raises(ConfigError, match=r"Seldom.*plays\(1, 1\).*True or False is needed"):
        trajectory(quadratics(SKIPS, protocol={**skipping(2), "answer": "often"}))
