"""The same bits from Ray actors as in one process, however many there are and whatever dies."""

from __future__ import annotations

import gc
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarm.common.rng import Keys
from swarm.experiments.runs.lr_search import search_lr
from swarm.experiments.runs.memory import MemoryRanOutError, running_out
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.engine.ray.actor import TIMED, ShardActor
from swarm.simulation.engine.ray.actor_pool import FaultError, StuckError
from swarm.simulation.engine.ray.cluster import ClusterError
from swarm.simulation.engine.ray.engine import RayEngine
from swarm.simulation.loop import Simulation
from tests.simulation.engine.ray_cases import CASES, FEW_AND_MANY
from tests.support import prepared

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@contextmanager
def unchanged_environment() -> Iterator[None]:
    def environment() -> dict[str, str]:
        """Without what pytest, torch and the libraries that Ray imports set."""
        return {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("PYTEST_", "KMP_", "TORCHINDUCTOR_"))
        }

    before = environment()
    yield
    assert environment() == before


@pytest.fixture(scope="module")
def engine() -> Iterator[RayEngine]:
    """One Ray for all that only need some actors."""
    with unchanged_environment(), RayEngine() as made:
        yield made


def _ready(*overrides: str) -> PreparedRun:
    return prepared("devices=11", "rounds=6", *overrides)


def _played(
    ready: PreparedRun, engine: Any
) -> tuple[list[dict[str, Any]], list[Any], dict[str, Any]]:
    """All records, the snapshot at the end, and what the engine says of itself."""
    arm = ready.arms[0]
    with Simulation(ready.experiment(arm, arm.variants[0]), engine) as running:
        every = running.experiment.settings.checkpoint.every
        found = []
        for record in running.records(running.experiment.settings.rounds):
            found.append({k: v for k, v in record.values.items() if not k.startswith("wall_s")})
            if every and running.round % every == 0:
                running.checkpoint()
        return (
            found,
            [(k, v.numpy().tobytes()) for k, v in running.engine.snapshot().items()],
            engine.describe(),
        )


@pytest.mark.parametrize("case", CASES)
def test_actors_do_not_change_a_bit(engine: RayEngine, case: str) -> None:
    ready = _ready("engine.block=2", *CASES[case])
    records, rows, _ = _played(ready, ready.engine)
    for actors in (2, 5) if case in FEW_AND_MANY else (5,):
        engine.actors = actors
        found, same, said = _played(ready, engine)
        assert said["actors"] == actors == len(set(said["pids"]))
        assert found == records
        assert same == rows


def test_an_actor_for_each_device(engine: RayEngine) -> None:
    ready = _ready("engine.block=1", "topology=ring")
    engine.actors = "per_device"
    found, rows, said = _played(ready, engine)
    assert (found, rows) == _played(ready, ready.engine)[:2]
    assert said["actors"] == 11
    assert said["edges_cut"] == said["edges"] == 22


def test_replicas_that_try_rates_in_an_actor_find_the_same_bits(engine: RayEngine) -> None:
    ready = prepared("scenario.arms=[centralised]", "optimizer.lr=auto", "rounds=4")
    assert ready.arms[0].together == (5, 5)
    found = [
        search_lr(ready, ready.arms[0], each, lambda said: None)[1]
        for each in (engine, ready.engine)
    ]
    assert found[0] == found[1]


def test_records_say_where_a_round_goes(engine: RayEngine) -> None:
    ready = _ready("engine.block=2", "rounds=8", "evaluate.every=4")
    engine.actors = 3
    with Simulation(ready.experiment(ready.arms[0], ready.settings), engine) as running:
        first, *later = [record.values for record in running.records(8)]
        total = engine.describe()["seconds_an_actor_and_round"]
    assert not [key for key in first if key.startswith("wall_s_")]
    for kind in TIMED:
        means, most = (
            [record[f"wall_s_{kind}_{of}"] for record in later] for of in ("mean", "max")
        )
        assert all(0 <= mean <= largest for mean, largest in zip(means, most, strict=True))
        assert sum(means) / 8 == pytest.approx(total[kind])
    assert all(record["wall_s_learn_mean"] > 0 for record in later)
    spent = sum(record[f"wall_s_{kind}_mean"] for record in later for kind in TIMED)
    assert 0 < spent < running.seconds


@pytest.mark.parametrize("case", range(3))
def test_a_killed_actor_costs_no_bit(
    engine: RayEngine, case: int, capfd: pytest.CaptureFixture[str]
) -> None:
    ready = _ready(
        "engine.block=2",
        "rounds=30",
        "checkpoint.every=4",
        "evaluate.every=3",
        "topology=one_peer_exponential",
    )
    records, rows, _ = _played(ready, ready.engine)
    engine.actors = 3
    arm, draw = ready.arms[0], Keys(0, "kill").uniform(case, 0, 2)
    with Simulation(ready.experiment(arm, arm.variants[0]), engine) as running:
        victim = engine.describe()["pids"][int(draw[0] * 3)]
        timer = threading.Timer(0.6 * float(draw[1]), os.kill, (victim, signal.SIGKILL))
        found = []
        for record in running.records(30):
            found.append({k: v for k, v in record.values.items() if not k.startswith("wall_s")})
            if running.round == 1:
                timer.start()
            if running.round and running.round % 4 == 0:
                running.checkpoint()
        timer.join()
        assert [(k, v.numpy().tobytes()) for k, v in running.engine.snapshot().items()] == rows
        assert found == records
        assert engine.describe()["deaths"] == 1
        assert victim not in engine.describe()["pids"]
    assert "raylet" not in "".join(capfd.readouterr())


def test_a_death_between_two_runs_is_mended_too(engine: RayEngine) -> None:
    ready = _ready("engine.block=2")
    engine.actors = 2
    _, rows, said = _played(ready, engine)
    os.kill(said["pids"][1], signal.SIGKILL)
    time.sleep(0.5)
    _, same, again = _played(ready, engine)
    assert same == rows
    assert again["pids"][0] == said["pids"][0]
    assert again["pids"][1] != said["pids"][1]


def test_a_fault_while_actors_are_restarted_leaves_none_without_its_devices(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is lost takes its actors one after the other: one may go when another has been
    restarted and has not been given its devices yet."""
    ready = _ready("engine.block=2")
    engine.actors = 2
    _, rows, said = _played(ready, engine)
    wait, faults = engine.actor_pool._wait_ready, []

    def wait_ready(members: Any) -> None:
        wait(members)
        if members and not faults:
            faults.append(FaultError("the node has gone"))
            raise faults[0]

    monkeypatch.setattr(engine.actor_pool, "_wait_ready", wait_ready)
    os.kill(said["pids"][0], signal.SIGKILL)
    time.sleep(0.5)
    _, same, _ = _played(ready, engine)
    assert faults
    assert same == rows


def test_a_restart_storm_ends_with_the_cause(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = _ready("engine.block=2", "rounds=50")
    engine.actors = 2
    monkeypatch.setattr(engine, "restarts", 0)
    arm = ready.arms[0]
    with Simulation(ready.experiment(arm, arm.variants[0]), engine) as running:
        os.kill(engine.describe()["pids"][0], signal.SIGKILL)
        with pytest.raises(
            ClusterError, match=r"actors died 1 time since round 0, the last one with: .*died"
        ):
            list(running.records(50))


def test_actors_that_ray_ends_for_want_of_memory_end_the_run_as_memory_does(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = _ready("engine.block=2")
    engine.actors = 2
    arm = ready.arms[0]
    with Simulation(ready.experiment(arm, arm.variants[0]), engine) as running:
        monkeypatch.setattr(engine.recovery, "_left", 0)
        errors = engine.actor_pool.ray.exceptions

        def get(*_: object, **__: object) -> None:
            raise errors.OutOfMemoryError("Task was killed due to the node running low on memory.")

        with monkeypatch.context() as patched:
            patched.setattr(engine.actor_pool, "ray", SimpleNamespace(get=get, exceptions=errors))
            with (
                pytest.raises(MemoryRanOutError, match=r"^memory ran out here: fewer"),
                running_out("here"),
            ):
                list(running.records(6))


def test_a_stuck_actor_is_named(engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = _ready("engine.block=2", "rounds=50")
    engine.actors = 2
    arm = ready.arms[0]
    with Simulation(ready.experiment(arm, arm.variants[0]), engine) as running:
        stuck = engine.describe()["pids"][1]
        list(engine.advance(2))
        monkeypatch.setattr("swarm.simulation.engine.ray.actor_pool.LEAST_SECONDS", 1.0)
        os.kill(stuck, signal.SIGSTOP)
        try:
            text = (
                rf"actor 1 \(process {stuck}, devices .*\) has not finished within \d+ s: round 3"
                r" \(learn\)"
            )
            with pytest.raises(StuckError, match=text):
                list(running.engine.advance(9))
        finally:
            os.kill(stuck, signal.SIGCONT)


def test_the_data_are_read_in_place(engine: RayEngine) -> None:
    """Every actor's samples are the object store's own memory: read-only, and not part of the
    actor's.
    """
    ready = _ready("engine.block=2")
    engine.actors = 2
    _played(ready, engine)
    assert engine.cluster is not None
    with Simulation(ready.experiment(ready.arms[0], ready.settings), engine):

        def found(host: ShardActor) -> tuple[bool, bool]:
            own = host._own()
            x = own.experiment.data.dataset.x
            return x.flags.writeable, x.ctypes.data == own.batch_loader.x_S.data_ptr()

        answers = [m.handle.__ray_call__.remote(found) for m in engine.actor_pool.members[:2]]
        assert engine.cluster.ray.get(answers) == [(False, True)] * 2


def test_a_checkpoint_fits_any_number_of_actors(engine: RayEngine) -> None:
    ready = _ready("engine.block=2", "optimizer=adamw", "topology=one_peer_exponential")
    arm = ready.arms[0]
    _, rows, _ = _played(ready, ready.engine)
    saved = None
    for actors, until in ((2, 2), (5, 4), (1, 6)):
        engine.actors = actors
        with Simulation(ready.experiment(arm, arm.variants[0]), engine) as running:
            if saved is not None:
                running.restore(saved)
            list(running.records(until))
            saved = running.checkpoint()
            last = [(k, v.numpy().tobytes()) for k, v in running.engine.snapshot().items()]
    assert last == rows


def test_rows_do_not_pass_through_the_driver(engine: RayEngine) -> None:
    """What a round brings to the driver is the same for a model thirty times as large."""
    sizes = []
    for hidden in ("[8]", "[256]"):
        ready = _ready(
            "engine.block=2", f"model.hidden={hidden}", "protocol=fedavg", "evaluate.accuracy=false"
        )
        engine.actors = 3
        with Simulation(ready.experiment(ready.arms[0], ready.settings), engine) as running:
            got: list[int] = []
            gather = engine.actor_pool.gather

            def counted(
                calls: Any, seconds: Any = None, gather: Any = gather, got: list[int] = got
            ) -> list[Any]:
                found: list[Any] = gather(calls, seconds)
                got.append(sum(len(pickle.dumps(one)) for one in found))
                return found

            engine.actor_pool.gather = counted  # type: ignore[method-assign]
            try:
                list(engine.advance(6))
            finally:
                engine.actor_pool.gather = gather  # type: ignore[method-assign]
            sizes.append(sum(got))
            assert running.round == 0
    assert abs(sizes[1] - sizes[0]) < 0.01 * sizes[0]


def _own_bytes(pid: int) -> int:
    """Memory that is the process's own: the object store, which all map, is not."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


def test_memory_is_flat_over_rounds(engine: RayEngine) -> None:
    """Over a hundred rounds, after as many: one row of 330 kB kept in each would be 33 MB.

    Ray itself takes a thousand to fill its own pools (3,000 rounds: 316 MB in the driver at round
    100, 333 at 1,000, 333 at the end), and takes some 2 MB in a hundred of them."""
    ready = _ready(
        "devices=6", "engine.block=3", "rounds=220", "topology=one_peer_exponential", "model.hidden=[1100]",
        "evaluate.every=100", "evaluate.accuracy=false", "checkpoint.every=50",
    )  # fmt: skip
    engine.actors = 2
    with Simulation(ready.experiment(ready.arms[0], ready.settings), engine) as running:
        pids = [os.getpid(), *engine.describe()["pids"]]
        before: list[int] = []
        for _ in running.records(220):
            if running.round and running.round % 50 == 0:
                running.checkpoint()
            if running.round == 120:
                gc.collect()
                before = [_own_bytes(pid) for pid in pids]
        gc.collect()
        grown = {pid: _own_bytes(pid) - b for pid, b in zip(pids, before, strict=True)}
        assert engine.describe()["deaths"] == 0
    assert {pid: more for pid, more in grown.items() if more > 8 << 20} == {}
