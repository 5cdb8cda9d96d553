"""Gossip learning against its definition, message by message (facts: MU = UM for linear updates and
the same sample).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swarm.config.build import option
from swarm.simulation.experiment import Experiment
from tests.communication.protocol.swarms import Rows, curves, descended, quadratics
from tests.support import simulation, trajectory

K, ROUNDS = 3, 9
COMMON = (f"train.local_steps={K}", f"rounds={ROUNDS}")
AWAY = {"churn": {"_target_": "still.InTurn"}}


def _protocol(variant: str) -> dict[str, Any]:
    return {
        "_target_": "swarm.communication.protocol.gossip_learning.GossipLearning",
        "variant": variant,
    }


def _followed(ready: Any) -> tuple[Rows, Rows]:
    """The models ``[rounds, N]`` and their ages after each round."""
    with simulation(ready) as running:
        models, ages = [], []
        for round in range(1, ROUNDS + 1):
            for _ in running.engine.advance(round):
                pass
            arrays = running.engine.snapshot()
            models.append(arrays["x"][:, 0].numpy().copy())
            ages.append(arrays["protocol.age"][:, 0].numpy().copy())
    return np.stack(models), np.stack(ages)


def _merge(p: float, t_p: float, m: float, t_m: float) -> tuple[float, float]:
    share = t_p / (t_p + t_m) if t_p + t_m else 0.5
    return share * p + (1 - share) * m, max(t_p, t_m)


def _by_hand(
    e: Experiment, a: Rows, b: Rows, variant: str, round: int, x: Rows, age: Rows
) -> tuple[Rows, Rows]:
    """A round as the paper has it: one device and one message at a time."""
    graph, outcomes = e.communication.messages.sent(round)
    arrived = outcomes.ticks_E == 0
    active = e.communication.active(round)
    new_x, new_age = x.copy(), age.copy()
    for i in range(8):
        for j in graph.src_E[arrived & (graph.dst_E == i)]:
            got = (x[j], age[j])
            new_x[i], new_age[i] = got if variant == "rw" else _merge(new_x[i], new_age[i], *got)
        if active is None or active[i]:
            new_x[i] = descended(new_x[i : i + 1], a[i : i + 1], b[i : i + 1], K)[0]
            new_age[i] += K
    return new_x, new_age


@pytest.mark.parametrize("sections", [{}, AWAY], ids=["all there", "some away"])
@pytest.mark.parametrize("topology", ["one_peer_exponential", "ring"])
@pytest.mark.parametrize("variant", ["rw", "mu", "um"])
def test_models_and_ages(variant: str, topology: str, sections: dict[str, Any]) -> None:
    """Updates of these losses are linear, so ``um`` has to come to what ``mu`` does."""
    ready = quadratics(*COMMON, f"topology={topology}", protocol=_protocol(variant), **sections)
    e, (a, b) = ready.experiment(ready.arms[0], ready.arms[0].variants[0]), curves(ready)
    x, age = np.zeros(8), np.zeros(8)
    for round, (found_x, found_age) in enumerate(zip(*_followed(ready), strict=True), 1):
        x, age = _by_hand(e, a, b, "rw" if variant == "rw" else "mu", round, x, age)
        np.testing.assert_allclose(found_x, x, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(found_age, age)
    assert np.abs(x).max() > 0.5
    assert sections or (age == ROUNDS * K).all(), (
        "where everybody is there, all ages are the steps of a device"
    )


@pytest.mark.parametrize("topology", ["one_peer_exponential", "ring", "none"])
def test_update_and_merge_commute_where_updates_are_linear(topology: str) -> None:
    mu, um = (
        trajectory(quadratics(*COMMON, f"topology={topology}", protocol=_protocol(v)))
        for v in ("mu", "um")
    )
    assert np.abs(mu - um).max() < 1e-14


def test_they_commute_at_night_too() -> None:
    """A round with two lessons, of which the first only predicts, still starts each model once."""
    sections = {
        "update": {"_target_": "swarm.learning.update.policy.Nightly", "day": 2},
        "replay": option("replay", "ring"),
    }
    common = (*COMMON, "topology=ring", "train.local_steps=1")
    mu, um = (
        trajectory(quadratics(*common, protocol=_protocol(v), **sections)) for v in ("mu", "um")
    )
    assert np.abs(mu - um).max() < 1e-14
    assert np.abs(mu).max() > 0.1


def test_they_do_not_where_updates_are_not() -> None:
    from tests.support import prepared

    common = ("model=mlp", "topology=ring", "protocol=gossip_learning", "rounds=4")
    mu, um = (trajectory(prepared(*common, f"protocol.variant={v}")) for v in ("mu", "um"))
    assert np.abs(mu[1] - um[1]).max() < 1e-6  # all start from the same model
    assert np.abs(mu[2] - um[2]).max() > 1e-4


def test_random_walks_neither_split_nor_merge() -> None:
    """On a one-peer graph every model goes to one device: after r rounds each has learnt at the r
    devices on its way.
    """
    ready = quadratics(*COMMON, "topology=one_peer_exponential", protocol=_protocol("rw"))
    (a, b), x = curves(ready), np.zeros(8)
    for round, found in enumerate(_followed(ready)[0]):
        x = descended(np.roll(x, 1 << round % 3), a, b, K)
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-14)
