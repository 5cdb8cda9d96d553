"""A round costs each actor one remote call, and each pair of actors at most one message.

The calls are counted on handles that only take notes, without Ray.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from swarm.simulation.engine.ray.actor import Order, Report, _packed, _unpacked
from swarm.simulation.engine.ray.actor_pool import ActorHandle, ActorPool
from swarm.simulation.engine.ray.call_scheduler import CallScheduler, ShardAssignment
from swarm.simulation.engine.ray.cluster import Cluster, ClusterError
from swarm.simulation.engine.ray.placement import place
from swarm.simulation.phases.base import TrainResult
from tests.support import prepared

DEVICES, ROUNDS = 12, 4


@dataclass(frozen=True)
class Sent:
    """An array that an actor sends in a call, or a call's report (``place`` 0)."""

    actor: int
    call: int
    place: int


@dataclass
class NotedActor:
    """Stands for an actor's handle, and notes the calls of its methods."""

    number: int
    arrived: list[list[Sent]] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    merged: int = 0

    @property
    def turn(self) -> NotedActor:
        return self

    def options(self, num_returns: int) -> Any:
        @dataclass
        class Method:
            actor: NotedActor

            def remote(self, order: Order, *arrived: Sent) -> Any:
                self.actor.orders.append(order)
                self.actor.arrived.append(list(arrived))
                self.actor.results.append(num_returns)
                call = len(self.actor.orders)
                found = [Sent(self.actor.number, call, i) for i in range(num_returns)]
                return found if num_returns > 1 else found[0]

        return Method(self)

    @property
    def merge(self) -> Any:
        @dataclass
        class Method:
            actor: NotedActor

            def remote(self, blocks: Any, *parts: Sent) -> Sent:
                self.actor.merged += 1
                return Sent(self.actor.number, -self.actor.merged, 0)

        return Method(self)


def _asked(actors: int, *overrides: str) -> list[NotedActor]:
    """The actors of a run after :data:`ROUNDS` rounds have been asked for."""
    block = DEVICES // actors
    made = prepared(f"devices={DEVICES}", f"engine.block={block}", *overrides)
    arm = made.arms[0]
    e = made.experiment(arm, arm.variants[0])
    noted = [NotedActor(i) for i in range(actors)]
    parts = place(e.communication.graph(1), e.blocks, actors).parts
    held = [np.concatenate([e.blocks.devices_of(int(b)) for b in part]) for part in parts]
    assignment = ShardAssignment(e, [ActorHandle(i, a) for i, a in enumerate(noted)], parts, held)
    scheduler = CallScheduler(assignment)
    for round in range(1, ROUNDS + 1):
        scheduler.round(round)
    scheduler.flush()
    return noted


def test_a_round_is_one_call_of_each_actor_and_one_array_of_each_sender() -> None:
    for actor in _asked(DEVICES, "topology=small_world"):
        # the first turn only learns and sends, so the last one is left over
        assert len(actor.orders) == ROUNDS + 1
        # the report, and the one row that all neighbours get
        assert actor.results == [2] * ROUNDS + [1]
        for arrived in actor.arrived:
            senders = [one.actor for one in arrived]
            assert len(senders) == len(set(senders))
        assert sum(len(order.routes) for order in actor.orders) == 1  # the route comes once


@pytest.mark.parametrize("protocol", ["relay_sgd", "dpsgd"])
def test_two_actors_send_each_other_one_message_a_round(protocol: str) -> None:
    for actor in _asked(2, "topology=small_world", f"protocol={protocol}"):
        assert len(actor.orders) == ROUNDS + 1
        assert actor.results == [2] * ROUNDS + [1]
        assert [len(arrived) for arrived in actor.arrived] == [0] + [1] * ROUNDS


def test_a_server_adds_one_call_a_round() -> None:
    actors = _asked(DEVICES, "topology=none", "protocol=fedavg")
    assert [len(actor.orders) for actor in actors] == [ROUNDS + 1] * DEVICES
    assert [actor.merged for actor in actors] == [ROUNDS] + [0] * (DEVICES - 1)


def test_a_report_travels_without_a_change() -> None:
    part = TrainResult(
        np.array([0.1, np.nan]),
        np.array([3.0, 0.0]),
        np.array([1e-300, -0.0]),
        np.array([5, 2**40]),
        np.array([7.5, 0.0]),
        np.array([True, False]),
        np.array([False, True]),
    )
    back = Report.unpacked(Report({3: part}, {"learn": 0.25}).packed())
    assert back.seconds == {"learn": 0.25}
    for name, value in vars(part).items():
        found = getattr(back.learnt[3], name)
        assert found.dtype == value.dtype
        assert found.tobytes() == value.tobytes(), name


@pytest.mark.parametrize("width", [3, 40_000])
def test_rows_travel_without_a_change_whatever_their_size(width: int) -> None:
    rows = np.random.default_rng(0).normal(size=(2, width)).astype(np.float32)
    found = _unpacked(_packed(rows), 2, "float32")
    assert found.dtype == rows.dtype
    assert np.array_equal(found, rows)


def _homes(count: int, *cores: int) -> list[str]:
    nodes = [
        {"NodeID": f"n{i}", "Alive": True, "Resources": {"CPU": float(each)}}
        for i, each in enumerate(cores)
    ]
    dead = {"NodeID": "dead", "Alive": False, "Resources": {"CPU": 9.0}}
    cluster: Any = SimpleNamespace(
        address="auto",
        ray=SimpleNamespace(nodes=lambda: [dead, *nodes], remote=lambda **_: lambda actor: actor),
    )
    return ActorPool(cluster)._slots(count)


def test_actors_that_follow_each_other_live_on_one_node() -> None:
    """Those are neighbours on the graph more often than others, and rows between nodes cost most."""
    assert _homes(6, 2, 2, 2) == ["n0", "n0", "n1", "n1", "n2", "n2"]
    assert _homes(3, 4, 4, 4) == ["n0", "n1", "n2"]  # each node before the second core of any
    assert _homes(7, 1, 4) == ["n0", "n0", "n1", "n1", "n1", "n1", "n1"]  # more than cores
    assert _homes(4, 0, 8) == ["n1"] * 4
    assert _homes(4, 0) == []


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_death_of_rays_own_processes_ends_the_run_at_its_next_call(name: str) -> None:
    cluster = Cluster(None, 1, prefork=False, dashboard=False, store_bytes=0)
    cluster.ray = SimpleNamespace(
        remote=lambda **_: lambda actor: actor,
        exceptions=SimpleNamespace(GetTimeoutError=TimeoutError, RayError=OSError),
        get=lambda *_, **__: [],
    )
    pool = ActorPool(cluster)
    assert pool.gather([]) == []
    cluster.vital[name] = SimpleNamespace(poll=lambda: -9, pid=7, returncode=-9)
    with pytest.raises(ClusterError, match=rf"^Ray's own process \({name}, 7\) has died"):
        pool.gather([])
