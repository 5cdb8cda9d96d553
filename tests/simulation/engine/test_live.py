"""Live actors on a real Ray: they wait for nobody, end when they are to, and outlive a death."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from swarm.simulation.engine.live.engine import LiveEngine
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.engine.ray.cluster import ClusterError
from swarm.simulation.loop import Simulation
from tests.support import prepared

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
SWARM = ("devices=8", "engine.block=2", "topology=ring", "checkpoint.every=0", "evaluate.every=10",
         "optimizer.lr=0.3")  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Iterator[LiveEngine]:
    """One Ray for all."""
    with LiveEngine(actors=2) as made:
        yield made


@pytest.fixture
def live(engine: LiveEngine) -> Iterator[LiveEngine]:
    """That Ray, with the options that it started with."""
    yield engine
    engine.limit, engine.pace, engine.restarts = None, 0.0, 5


def _simulation(engine: Any, *overrides: str) -> Simulation:
    ready = prepared(*SWARM, *overrides)
    return Simulation(ready.experiment(ready.arms[0], ready.arms[0].variants[0]), engine)


def _records(running: Simulation) -> list[dict[str, Any]]:
    return [record.values for record in running.records(running.experiment.settings.rounds)]


def test_a_live_swarm_learns_like_the_simulated_one(live: LiveEngine) -> None:
    words = ("rounds=150", "clock=poisson", "clock.rate=2", "network.round_seconds=0.1")
    with _simulation(LocalEngine(), *words) as simulated:
        expected = _records(simulated)[-1]
    live.pace = 0.02  # which a busy machine can keep, so that few messages get lost
    with _simulation(live, *words) as running:
        found, facts = _records(running), running.engine.describe()["messages"]
    rounds = [record["round"] for record in found]
    assert rounds == sorted(set(rounds))
    last = found[-1]
    assert (last["round"], last["local_round_min"], last["local_round_max"]) == (150, 150, 150)
    assert last["virtual_s"] == pytest.approx(15.0)
    for same in ("steps_total", "messages_total", "bytes_total"):  # the clocks are the same
        assert last[same] == expected[same]
    assert abs(last["accuracy_mean"] - expected["accuracy_mean"]) < 0.25
    assert last["accuracy_mean"] > 2 * found[0]["accuracy_mean"]
    assert facts["sent"] == last["messages_total"]
    assert facts["sent"] == facts["mixed"] + facts["lost"] + facts["unread"]
    assert facts["lost"] == last["lost_total"]
    late = [record["staleness"] for record in found if "staleness" in record]
    assert late
    assert min(late) >= 0


def test_it_ends_when_its_seconds_are_over(live: LiveEngine) -> None:
    live.limit = 0.3
    with _simulation(live, "rounds=1000000") as running:
        found, facts = _records(running), running.engine.describe()["messages"]
        assert running.stopped
    assert 0 < found[-1]["round"] < 1000000
    assert "accuracy_mean" in found[-1]
    assert facts["sent"] == facts["mixed"] + facts["lost"] + facts["unread"]


def test_devices_of_a_killed_actor_are_gone_until_it_is_restarted(live: LiveEngine) -> None:
    live.pace = 0.02
    with _simulation(live, "rounds=100") as running:
        records = running.records(100)
        next(records)
        next(records)
        os.kill(live.actor_pool.members[1].pid, signal.SIGKILL)
        last = [record.values for record in records][-1]
        assert running.engine.describe()["deaths"] == 1
    assert (last["round"], last["local_round_min"]) == (100, 100)
    assert last["accuracy_mean"] > 0.3


def test_deaths_beyond_the_limit_end_the_run_with_one_sentence(live: LiveEngine) -> None:
    live.pace, live.restarts = 0.02, 0
    with _simulation(live, "rounds=1000000") as running:
        records = running.records(1000000)
        next(records)
        next(records)
        os.kill(live.actor_pool.members[0].pid, signal.SIGKILL)
        with pytest.raises(ClusterError, match=r"^actors died 1 time since round 0, the last"):
            list(records)


def test_it_goes_on_from_a_checkpoint(live: LiveEngine) -> None:
    live.limit = 0.3
    with _simulation(live, "rounds=1000000") as running:
        _records(running)
        kept = running.checkpoint()
    with _simulation(live, "rounds=1000000") as running:
        running.restore(kept)
        again = running.engine.snapshot()
        assert all(torch.equal(again[name], kept.arrays[name]) for name in again)
        found = _records(running)
    assert found[0]["local_round_min"] > kept.round
    assert found[0]["steps_total"] > kept.facts["steps"]
