"""The in-process engine: any number of shards, one after the other, in this process."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.round_messages import RoundMessages
from swarm.communication.routing import Route, routes
from swarm.simulation.engine.base import (
    Block,
    Engine,
    Evaluation,
    Floats,
    Ints,
    RoundResult,
    added,
    prepare_process,
    record,
    require_blocks,
)
from swarm.simulation.evaluation import Asked
from swarm.simulation.experiment import Experiment
from swarm.simulation.phases.base import Phase, TrainResult
from swarm.simulation.phases.transport import Arrived, play_round
from swarm.simulation.shard import Shard


class _Cut(Mapping[str, Tensor]):
    """The rows of some devices in arrays of all devices, cut out when they are asked for."""

    def __init__(self, arrays: Mapping[str, Tensor], index: Tensor) -> None:
        self.arrays, self.index = arrays, index

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name][self.index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class LocalEngine(Engine):
    """Runs all shards one after the other in this process.

    ``shards`` cuts the swarm into that many parts, to show (and test) that results do not depend on
    it.
    """

    def __init__(self, block: Block = "auto", shards: int = 1) -> None:
        if block != "auto" and block < 1:
            raise ConfigError("block", block, "must be auto or a number of devices ≥ 1")
        if shards < 1:
            raise ConfigError("shards", shards, "must be ≥ 1")
        self.block, self.count = block, shards

    def check(self, experiment: Experiment) -> None:
        require_blocks("/engine.shards", self.count, experiment.blocks)

    def may_fork(self, experiment: Experiment) -> bool:
        # a card does not work in a fork, and the compiler has processes of its own
        return experiment.device.type == "cpu" and not experiment.settings.compute.compile

    def start(self, experiment: Experiment) -> None:
        prepare_process(experiment.device)
        blocks = experiment.blocks
        self.experiment = experiment
        self.shards = [
            Shard(experiment, part) for part in blocks.spread(min(self.count, len(blocks)))
        ]
        self.round = 0
        self._routes: dict[Hashable, list[Route]] = {}

    def advance(self, until: int) -> Iterator[RoundResult]:
        with torch.inference_mode():
            while self.round < until:
                yield self._play(self.round + 1)
                self.round += 1

    def _play(self, round: int) -> RoundResult:
        communication = self.experiment.communication
        self._learnt: list[TrainResult] = []
        sent = play_round(communication.phases, round, self)
        devices = [shard.devices for shard in self.shards]
        return record(round, self.experiment.settings.devices, devices, self._learnt, sent)

    # --- how a phase is played, by what travels ---------------------------------------------------

    def local(self, phase: Phase, round: int) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        results = [phase.apply(shard, round, Arrived()) for shard in self.shards]
        if phase.learns:  # if a protocol learns twice in a round, the second result counts
            self._learnt = [learnt for learnt in results if learnt is not None]

    def mean_over_all(self, phase: Phase, round: int) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        # A generator, so that the payload of only one shard at a time is in memory.
        parts = (pair for shard in self.shards for pair in phase.partial_sums(shard, round))
        mean_M = added(parts)
        for shard in self.shards:
            phase.apply(shard, round, Arrived(mean_M=mean_M))

    def along_links(self, phase: Phase, round: int, messages: RoundMessages) -> None:
        """See :class:`~swarm.simulation.phases.transport.Carrier`."""
        found_routes = self._routes_of(messages)
        for shard in self.shards:
            shard.payload = phase.collect(shard, round)
        boxes = [
            route.addressed(s.outgoing(route))
            for s, route in zip(self.shards, found_routes, strict=True)
        ]
        for i, (shard, route) in enumerate(zip(self.shards, found_routes, strict=True)):
            inbox = {j: boxes[j][i] for j in route.inbox}
            phase.apply(shard, round, Arrived(route=route, from_shards=inbox))

    def _routes_of(self, messages: RoundMessages) -> list[Route]:
        """The routes of ``messages``, one for each shard; routes that come back in
        later rounds are kept."""
        if messages.key in self._routes:
            return self._routes[messages.key]
        found = routes(
            messages, [s.devices for s in self.shards], self.experiment.settings.compute.dtype
        )
        if messages.reusable:
            self._routes[messages.key] = found
        return found

    def evaluate(self, samples: Asked, blocks: Ints) -> Evaluation:
        """See :meth:`Engine.evaluate`. The results are written into arrays allocated before: small
        arrays allocated in between would keep the predictions' memory from being reused."""
        e, wanted = self.experiment, sorted({int(b) for b in blocks})
        devices_M = np.concatenate([e.blocks.devices_of(b) for b in wanted])
        loss_M, hits_MC, votes_CT = (
            np.empty(len(devices_M)),
            np.empty((len(devices_M), e.data.outputs)),
            None,
        )
        values = e.metrics.numbers(e.data.outputs)
        if isinstance(samples, str):
            values = e.metrics.looking(samples).width(e)
        values_MV = np.empty((len(devices_M), values))
        with torch.inference_mode():
            for shard in self.shards:
                for block, part in shard.evaluate(samples, set(wanted)):
                    own = np.searchsorted(devices_M, e.blocks.devices_of(block))
                    loss_M[own], hits_MC[own] = (
                        part.loss_B.cpu().numpy(),
                        part.hits_BC.cpu().numpy(),
                    )
                    values_MV[own] = part.values_BV.cpu().numpy()
                    if part.votes_CT is not None:
                        votes_CT = (
                            part.votes_CT if votes_CT is None else votes_CT.add_(part.votes_CT)
                        )
        votes_TC = None if votes_CT is None else votes_CT.T.cpu().numpy()
        return Evaluation(devices_M, loss_M, hits_MC, votes_TC, values_MV)

    def total(self, shares_N: Floats) -> Tensor:
        # The blocks of a shard are consecutive, so the partial sums come in the order of blocks.
        return added(pair for shard in self.shards for pair in shard.partial_means(None, shares_N))

    def row_values(self, mean_P: Tensor) -> Floats:
        e = self.experiment
        out = np.empty((e.settings.devices, len(e.metrics.rows)))
        with torch.inference_mode():
            for shard in self.shards:
                out[shard.devices] = shard.row_values(mean_P)
        return out

    def snapshot(self) -> dict[str, Tensor]:
        parts = [s.snapshot() for s in self.shards]
        out = {}
        for name in parts[0]:
            whole = parts[0][name].new_empty(
                self.experiment.settings.devices, *parts[0][name].shape[1:], device="cpu"
            )
            for shard, part in zip(self.shards, parts, strict=True):
                whole[torch.as_tensor(shard.devices)] = part[name].cpu()
            out[name] = whole
        return out

    def current(self) -> dict[str, Tensor]:
        return self.shards[0].snapshot() if len(self.shards) == 1 else self.snapshot()

    def restore(self, arrays: Mapping[str, Tensor], round: int) -> None:
        self.round = round
        if len(self.shards) == 1:
            self.shards[0].restore(arrays)
            return
        for shard in self.shards:
            shard.restore(_Cut(arrays, torch.as_tensor(shard.devices)))

    def describe(self) -> dict[str, Any]:
        e = self.experiment
        return {
            "name": "local",
            "shards": len(self.shards),
            "block": e.blocks.size,
            "blocks": len(e.blocks),
            "threads": torch.get_num_threads(),
            "kernel": type(e.learner.kernel).__name__,
        }

    def stop(self) -> None:
        self.shards = []
        torch.set_flush_denormal(False)  # as the caller of the engine expects
