"""What benchmarks/scale.py counts of a round is what a run really counts, and a fit finds the
constants that made its figures. Without Ray: the calls are done as they are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pytest

from benchmarks.placement import between
from benchmarks.scale import Machine, Measured, Nodes, Work, fitted, foretold, rows_between, work_of
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.engine.ray.actor import Order, ShardActor
from swarm.simulation.engine.ray.actor_pool import ActorHandle
from swarm.simulation.engine.ray.call_scheduler import CallScheduler, ShardAssignment
from swarm.simulation.engine.ray.placement import place
from swarm.simulation.experiment import Experiment
from swarm.simulation.shard import Shard
from tests.support import experiment

DEVICES, ROUNDS = 24, 3


@dataclass
class AtOnce:
    """Stands for an actor's handle: a call is done at once, and what arrived with it is added up."""

    actor: ShardActor
    calls: int = 0
    arrived: int = 0
    reported: int = 0

    @property
    def turn(self) -> AtOnce:
        return self

    def options(self, num_returns: int) -> AtOnce:
        return self

    def remote(self, order: Order, *arrived: Any) -> Any:
        self.calls += 1
        self.arrived += sum(map(_size, arrived))
        found = self.actor.turn(order, *arrived)
        report = found[0] if isinstance(found, tuple) else found
        self.reported += len(report.partition(b"\n")[2])
        return list(found) if isinstance(found, tuple) else found


def _size(array: Any) -> int:
    return len(array) if isinstance(array, bytes) else array.nbytes


def _counted(e: Experiment, actors: int) -> tuple[list[AtOnce], np.ndarray[Any, Any]]:
    """The handles after :data:`ROUNDS` rounds, and who holds each device."""
    parts = place(e.communication.graph(1), e.blocks, actors).parts
    held = [np.concatenate([e.blocks.devices_of(int(b)) for b in part]) for part in parts]
    handles = [AtOnce(ShardActor(Shard(e, part))) for part in parts]
    owner_N = np.empty(e.settings.devices, np.int64)
    for number, devices in enumerate(held):
        owner_N[devices] = number
    members = [ActorHandle(i, handle) for i, handle in enumerate(handles)]
    scheduler = CallScheduler(ShardAssignment(e, members, parts, held))
    for round in range(1, ROUNDS + 1):
        scheduler.round(round)
    scheduler.flush()
    return handles, owner_N


@pytest.mark.parametrize("topology", ["ring", "small_world", "star", "none"])
@pytest.mark.parametrize("actors", [1, 2, 5])
def test_a_round_counts_what_the_model_says(topology: str, actors: int) -> None:
    e = experiment(f"devices={DEVICES}", "engine.block=2", f"topology={topology}")
    handles, owner_N = _counted(e, actors)
    work = work_of(e, owner_N)
    # the first turn only learns and sends, so that there is one more
    exchanges = topology != "none"
    assert sum(handle.calls for handle in handles) == work.calls * (ROUNDS + exchanges)
    assert sum(handle.arrived for handle in handles) == work.moved * ROUNDS
    assert sum(handle.reported for handle in handles) == work.reported * ROUNDS
    assert work.devices == DEVICES


@pytest.mark.parametrize("topology", ["ring", "small_world", "none"])
def test_messages_steps_and_operations_are_those_of_a_run(topology: str) -> None:
    e = experiment(f"devices={DEVICES}", "engine.block=2", f"topology={topology}")
    engine, work = LocalEngine(), work_of(e, np.zeros(DEVICES, np.int64))
    engine.start(e)
    for result in engine.advance(ROUNDS):
        sent = [int(part.sent_N.sum()) for part in result.traffic]
        assert sum(sent) == work.messages
        assert sum(int(p.sent_N.sum()) * p.bits // 8 for p in result.traffic) == work.bytes
        assert result.steps_N.sum() == work.steps
        assert result.work_N.sum() * e.model.step_flops == pytest.approx(work.flops)
    assert work.rows == engine.snapshot()["x"].nbytes
    engine.stop()


def test_a_row_crosses_once_to_each_owner_that_needs_it() -> None:
    graph = experiment("devices=6", "topology=ring").communication.graph(1)
    assert rows_between(graph, np.array([0, 0, 0, 1, 1, 1])) == 4
    assert rows_between(graph, np.array([0, 1, 0, 1, 0, 1])) == 6  # both neighbours are one actor's
    assert rows_between(graph, np.arange(6)) == 12
    assert rows_between(graph, np.zeros(6, np.int64)) == 0


TRUE = Machine(2e-5, 1e-11, 4e-3, 1e-9, 1e-3, 1e-6, 5.0, 0.2, 7e8, 4e7, 500.0, 3.0)


def _work(devices: int, actors: int, flops: float, moved: int) -> Work:
    steps, rows = 5 * devices, int(devices * (20_000 + flops % 977))
    return Work(
        devices,
        actors,
        steps,
        flops * steps,
        6 * devices,
        0,
        moved,
        0,
        actors,
        rows,
        7 * devices**2,
    )


def test_the_fit_finds_the_constants_that_made_the_figures() -> None:
    works = [
        _work(d, a, f, m)
        for d, a, f, m in (
            (100, 1, 1e6, 0), (900, 1, 1e6, 0), (200, 3, 5e6, 4 << 20), (200, 4, 1e6, 1 << 20), (50, 6, 1e6, 2 << 20),
            (9000, 5, 1e5, 1 << 22),
        )
    ]  # fmt: skip
    runs = [
        Measured(w, TRUE.round_s(w), TRUE.driver_s(w), TRUE.begin_s(w), TRUE.memory(w), 0, 0)
        for w in works
    ]
    found = fitted(runs)
    for name, value in asdict(TRUE).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6), name
    other = _work(333, 2, 2e6, 1 << 21)
    assert found.round_s(other) == pytest.approx(TRUE.round_s(other))


def test_what_is_foretold_of_nodes_scales_as_it_must() -> None:
    one, more = (foretold(TRUE, Nodes(count), 10**6, 6, 1.2) for count in (32, 64))
    call_s = TRUE.call_s - TRUE.driver_call_s  # each actor has its own
    assert one["compute_s"] - call_s == pytest.approx(2 * (more["compute_s"] - call_s))
    assert one["network_s"] == pytest.approx(2 * more["network_s"])
    serial = 1e6 * TRUE.driver_device_s
    assert 2 * (one["driver_s"] - serial) == pytest.approx(more["driver_s"] - serial)
    assert one["known_GiB"] == more["known_GiB"]  # every process knows the whole graph
    assert one["messages_GB"] == pytest.approx(1e6 * 6 * 4810 * 4 / 1e9)
    fast = replace(TRUE, step_s=0.0, flop_s=1e-12, call_s=TRUE.driver_call_s)
    steps = 5e6 * 6 * 32 * (64 * 64 + 64 * 10) * 1e-12 / (32 * 32)
    assert foretold(fast, Nodes(32), 10**6, 6, 1.2)["compute_s"] == pytest.approx(steps)


def test_bytes_on_sockets_count_between_nodes_only() -> None:
    before = {("a", "b", 1): 100, ("b", "a", 2): 50, ("a", "c", 1): 10, ("c", "a", 3): 5}
    after = {key: sent + 7 for key, sent in before.items()} | {("d", "e", 3): 9, ("e", "d", 1): 1}
    assert between(before, after, {1: 0, 2: 0, 3: 1}) == 7 + 7 + 9 + 1
