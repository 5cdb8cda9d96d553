"""The Ray engine: shards live in actors, the driver passes references between them, and a run with
dead actors gives the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.system.interrupts import undisturbed
from swarm.common.system.machine import cores
from swarm.communication.round_messages import Traffic
from swarm.config.foreign import require_own
from swarm.data.dataset import Dataset
from swarm.simulation.engine.base import (
    Block,
    Engine,
    Evaluation,
    Floats,
    Ints,
    RoundResult,
    prepare_process,
    record,
    require_blocks,
)
from swarm.simulation.engine.ray import looks
from swarm.simulation.engine.ray.actor import TIMED, Report
from swarm.simulation.engine.ray.actor_pool import ActorPool, Call, FaultError
from swarm.simulation.engine.ray.call_scheduler import CallScheduler, ShardAssignment, format_ids
from swarm.simulation.engine.ray.cluster import (
    Cluster,
    require_answer,
    require_dashboard,
    require_ray,
)
from swarm.simulation.engine.ray.limits import parts, require_files, require_options, store_bytes
from swarm.simulation.engine.ray.placement import place
from swarm.simulation.engine.ray.recovery import Recovery
from swarm.simulation.evaluation import Asked
from swarm.simulation.experiment import Experiment
from swarm.simulation.footprint import Footprint, Part
from swarm.simulation.phases.base import TrainResult

T = TypeVar("T")
AHEAD = 2  # rounds asked for beyond the awaited one, so that no shard waits for the driver


class RayEngine(Engine):
    """Runs each shard in an actor; ``actors`` is ``auto`` (one a core), a number, or ``per_device``
    (one for each device, in blocks of one).

    When an actor dies, all shards go back to the last snapshot and repeat the rounds since then.
    After more than ``restarts`` deaths between two snapshots the run ends.
    """

    pool: ClassVar[type[ActorPool]] = ActorPool

    def __init__(
        self,
        actors: int | Literal["auto", "per_device"] = "auto",
        block: Block = "auto",
        address: str | None = None,
        prefork: bool = True,
        dashboard: bool = False,
        restarts: int = 5,
    ) -> None:
        require_options(actors, block, address, dashboard, restarts)
        self.actors, self.address = actors, address
        self.prefork, self.dashboard = prefork, dashboard
        self.block: Block = 1 if actors == "per_device" else block
        self.restarts, self.recovery = restarts, Recovery(restarts)
        self.cluster: Cluster | None = None
        self.kept = False

    # --- the session ------------------------------------------------------------------------------

    def __enter__(self) -> RayEngine:
        self.kept = True
        return self

    def __exit__(self, *exc: object) -> None:
        with undisturbed():
            self.kept = False
            self._close()

    def check(self, experiment: Experiment) -> None:
        require_ray()
        if isinstance(self.actors, int):
            require_blocks("/engine.actors", self.actors, experiment.blocks)
        if experiment.device.type != "cpu":
            raise ConfigError(
                "/compute.device", experiment.device.type, "must be cpu with engine=ray"
            )
        if self.address is None:
            require_files(self._count(experiment))
            if self.dashboard:
                require_dashboard()
        else:
            if self.address != "auto":
                require_own("/engine.address", self.address)
            require_answer(self.address)

    def own_memory(self, experiment: Experiment, swarm: Footprint) -> list[Part]:
        if self.address is not None:  # most of the memory is on other machines
            return []
        return parts(experiment, swarm, self._count(experiment), self.prefork)

    def start(self, experiment: Experiment) -> None:
        prepare_process()
        if self.cluster is None:
            options = (self.address, cores(), self.prefork, self.dashboard, store_bytes(experiment))
            self.cluster = Cluster(*options).__enter__()
            self.actor_pool = self.pool(self.cluster)
            self._shared: tuple[Dataset, Any] | None = None
        count = self._count(experiment)
        self.placement = place(experiment.communication.graph(1), experiment.blocks, count)
        parts = self.placement.parts
        devices = [
            np.concatenate([experiment.blocks.devices_of(int(b)) for b in part]) for part in parts
        ]
        self.experiment = experiment
        self.split = self.cluster.ray.put(experiment.data.split)
        self.assignment = ShardAssignment(experiment, self.actor_pool.ensure(count), parts, devices)
        for member, held in zip(self.assignment.members, devices, strict=True):
            member.devices = format_ids(held)
        self.round, self._asked, self.actor_pool.slowest = 0, 0, None
        self.seconds = self._no_seconds()
        self.recovery = Recovery(self.restarts)
        begun = [self._begin(i) for i in range(count)]  # as soon as each has started
        try:
            self.actor_pool.wait_started()
            self._gather(begun)
        except FaultError as fault:  # an actor may have died since the last experiment
            self._recover(fault)

    def stop(self) -> None:
        torch.set_flush_denormal(False)  # as the caller of the engine expects
        if self.cluster is None:
            return
        if not self.kept:
            self._close()
            return
        for member in self.actor_pool.members:
            member.handle.end.remote()
            member.routes = set()

    def _close(self) -> None:
        cluster, self.cluster = self.cluster, None
        if cluster is not None:
            # every reference must be dropped before its Ray stops
            for name in ("actor_pool", "assignment", "split", "_shared"):
                self.__dict__.pop(name, None)
            cluster.__exit__(None, None, None)

    def _count(self, experiment: Experiment) -> int:
        blocks = len(experiment.blocks)
        if self.actors == "per_device":
            return blocks
        if isinstance(self.actors, int):
            return min(self.actors, blocks)
        there = cores()
        if self.address is not None and self.cluster is not None:
            there = int(self.cluster.ray.cluster_resources().get("CPU", 1))
        return min(max(1, there), blocks)

    def _begin(self, i: int) -> Call:
        """Have actor ``i`` build its shard."""
        member, plan = self.assignment.members[i], self.experiment.spec
        member.routes, member.begun = set(), True
        begun = member.handle.begin.remote(
            plan.settings, self._dataset(), self.split, self.assignment.blocks[i], str(Path.cwd())
        )
        return Call(member, begun, "taking its devices")

    def _dataset(self) -> Any:
        """The reference of the data set in Ray's object store; it is put there once, and every
        actor of a node reads it in place.
        """
        assert self.cluster is not None
        data = self.experiment.data.dataset
        if self._shared is None or self._shared[0] is not data:
            self._shared = data, self.cluster.ray.put(data)
        return self._shared[1]

    # --- rounds -----------------------------------------------------------------------------------

    def advance(self, until: int) -> Iterator[RoundResult]:
        while self.round < until:
            try:
                for happened in self._play(until):
                    if happened.round > self.round:  # else a round that is repeated
                        self.round = happened.round
                        yield happened
            except FaultError as fault:
                self._recover(fault)

    def _play(self, until: int) -> Iterator[RoundResult]:
        """Play the rounds from where the shards are, a few of them in flight at a time."""
        scheduler, asked = CallScheduler(self.assignment), dict[int, tuple[list[Traffic], int]]()
        learnt: dict[int, dict[int, TrainResult]] = {}
        collected = 0
        for round in range(self._asked + 1, until + 1):
            start, spent = time.perf_counter(), self._no_seconds()
            while self._asked < min(until, round + AHEAD):
                self._asked += 1
                asked[self._asked] = scheduler.round(self._asked)
                if self._asked == until:
                    scheduler.flush()
            sent, needed = asked.pop(round)
            for calls in scheduler.made[
                collected : len(scheduler.made) if round == until else needed
            ]:
                self._take_in(self._gather(calls), learnt, spent)
                collected += 1
                calls.clear()  # drops the references, which frees the arrays
            took = time.perf_counter() - start
            self.actor_pool.slowest = max(self.actor_pool.slowest or 0.0, took)
            n = self.experiment.settings.devices
            parts = [part for _, part in sorted(learnt.pop(round, {}).items())]
            yield replace(
                record(round, n, self.assignment.devices, parts, sent), actor_seconds=spent
            )

    def _take_in(
        self,
        reports: Sequence[bytes],
        learnt: dict[int, dict[int, TrainResult]],
        spent: dict[str, Floats],
    ) -> None:
        """Add the reports of a turn, one of each actor in order, to ``learnt`` and ``spent``."""
        for i, report in enumerate(map(Report.unpacked, reports)):
            for name, seconds in report.seconds.items():
                spent[name][i] += seconds
                self.seconds[name][i] += seconds
            for round, part in report.learnt.items():
                learnt.setdefault(round, {})[i] = part  # the second, if a round learns twice

    def _no_seconds(self) -> dict[str, Floats]:
        """Zero seconds for each actor, by kind of work."""
        return {name: np.zeros(len(self.assignment.members)) for name in TIMED}

    # --- faults -----------------------------------------------------------------------------------

    def _gather(self, calls: Sequence[Call]) -> list[Any]:
        return self.actor_pool.gather(calls)

    def _recover(self, fault: FaultError) -> None:
        """Restart dead actors and take all shards back to the last snapshot; raises what
        :meth:`Recovery.next_try` does."""
        assert self.cluster is not None
        while True:
            wait = self.recovery.next_try(fault)
            self.cluster.check()
            time.sleep(wait)
            try:
                self.actor_pool.restart_dead(self.assignment.members)
                # also those that an earlier try, which then failed, has restarted
                again = [i for i, m in enumerate(self.assignment.members) if not m.begun]
                self._gather([self._begin(i) for i in again])
                self._reset()
            except FaultError as another:
                fault = another
            else:
                return

    def _reset(self) -> None:
        """Take every shard back to the last snapshot."""
        snapshot, calls = self.recovery.snapshot, []
        for member, devices in zip(self.assignment.members, self.assignment.devices, strict=True):
            asked = member.handle.reset.remote(snapshot.rows_of(devices))
            calls.append(Call(member, asked, "going back to an earlier state"))
        self._gather(calls)
        self._asked = snapshot.round

    def _looking(self, look: Callable[[], T]) -> T:
        """The result of ``look`` after round ``self.round``; a fault is recovered from."""
        assert self._asked <= self.round, "some records of advance have not been taken"
        while True:
            try:
                for _ in self._play(self.round):  # plays rounds only after a fault
                    pass
                return look()
            except FaultError as fault:
                self._recover(fault)

    # --- look -------------------------------------------------------------------------------------

    def evaluate(self, samples: Asked, blocks: Ints) -> Evaluation:
        wanted = {int(b) for b in blocks}
        return self._looking(
            lambda: looks.evaluation(self.assignment, self._gather, samples, wanted)
        )

    def total(self, shares_N: Floats) -> Tensor:
        return self._looking(lambda: looks.total(self.assignment, self._gather, shares_N))

    def row_values(self, mean_P: Tensor) -> Floats:
        def look() -> Floats:
            assert self.cluster is not None
            mean = self.cluster.ray.put(mean_P.numpy())
            return looks.row_values(self.assignment, self._gather, mean)

        return self._looking(look)

    def snapshot(self) -> dict[str, Tensor]:
        arrays = self._looking(lambda: looks.snapshot(self.assignment, self._gather))
        self.recovery.keep(self.round, arrays)
        return dict(arrays)

    def restore(self, arrays: Mapping[str, Tensor], round: int) -> None:
        self.round = round
        self.recovery.keep(round, dict(arrays))
        try:
            self._reset()
        except FaultError as fault:
            self._recover(fault)

    def describe(self) -> dict[str, Any]:
        e, cluster = self.experiment, self.cluster
        assert cluster is not None
        count, rounds = len(self.assignment.members), max(self.round, 1)
        seconds = {kind: float(each.mean()) / rounds for kind, each in self.seconds.items()}
        return {
            "name": "ray",
            "actors": count,
            "pids": [m.pid for m in self.assignment.members],
            "prefork": cluster.prefork,
            "prefork_why_not": cluster.why_not,
            "address": self.address,
            "block": e.blocks.size,
            "blocks": len(e.blocks),
            "edges_cut": self.placement.cut,
            "edges": self.placement.edges,
            "deaths": self.recovery.deaths,
            "threads": torch.get_num_threads(),
            "kernel": type(e.learner.kernel).__name__,
            "seconds_an_actor_and_round": seconds,
        }
