"""The in-process engine: any number of shards, one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarm.engine.base import Block, Engine, Evaluation, Floats, Ints, RoundRecord, merge, prepare_process, record
from swarm.engine.traffic import traffic
from swarm.errors import ConfigError
from swarm.experiment import Experiment
from swarm.routing import Route, routes
from swarm.shard import Learnt, Shard
from swarm.topology.base import PerPhase


class LocalEngine(Engine):
    """``shards`` cuts the swarm into that many parts, to show (and test) that it makes no difference."""

    def __init__(self, block: Block = "auto", shards: int = 1) -> None:
        if block != "auto" and block < 1:
            raise ConfigError("block", block, "must be auto or a number of devices ≥ 1")
        if shards < 1:
            raise ConfigError("shards", shards, "must be ≥ 1")
        self.block, self.count = block, shards

    def check(self, experiment: Experiment) -> None:
        blocks = experiment.blocks
        if self.count > len(blocks):
            raise ConfigError(
                "/engine.shards",
                self.count,
                f"must be at most {len(blocks)}: there are {len(blocks)} blocks of up to {blocks.size} devices to share out",
            )

    def start(self, experiment: Experiment) -> None:
        prepare_process()
        blocks = experiment.blocks
        self.experiment = experiment
        self.shards = [Shard(experiment, part) for part in blocks.spread(min(self.count, len(blocks)))]
        self.round = 0
        self._routes = PerPhase[list[Route]](experiment.topology)

    def advance(self, until: int) -> Iterator[RoundRecord]:
        with torch.inference_mode():
            while self.round < until:
                yield self._play(self.round + 1)
                self.round += 1

    def _play(self, round: int) -> RoundRecord:
        e = self.experiment
        learnt: list[Learnt] = []
        messages = size = 0
        for number, phase in enumerate(e.protocol.phases):
            if phase == "learn":
                learnt = [shard.learn(round) for shard in self.shards]
                continue
            if phase == "mean" or e.mixing(round).is_mean:
                shares = e.mean_shares(phase)
                mean = merge([s.partial_means(number, shares) for s in self.shards])
                for shard in self.shards:
                    shard.receive_mean(number, mean)
            else:
                self._mix(number, round)
            sent = traffic(e, phase, round)
            messages, size = messages + sent.messages, size + sent.bytes
        n = e.settings.devices
        return record(round, n, [s.devices for s in self.shards], learnt, messages, size)

    def _mix(self, phase: int, round: int) -> None:
        ways = self._ways(round)
        if not ways:
            for shard in self.shards:
                shard.keep(phase)
            return
        boxes = [s.outgoing(phase, way) for s, way in zip(self.shards, ways, strict=True)]
        for i, (shard, way) in enumerate(zip(self.shards, ways, strict=True)):
            shard.mix(phase, way, {j: boxes[j][i] for j in way.inbox})

    def _ways(self, round: int) -> list[Route]:
        """The routes of this round's matrix; none where nobody is linked."""
        e = self.experiment
        if not len(e.graph(round).src_E):
            return []
        devices = [s.devices for s in self.shards]
        return self._routes.get(round, lambda: routes(e.mixing(round).matrix, devices, e.settings.compute.dtype))

    def evaluate(self, samples: Ints, blocks: Ints) -> Evaluation:
        e, wanted = self.experiment, {int(b) for b in blocks}
        with torch.inference_mode():
            found = dict(pair for shard in self.shards for pair in shard.evaluate(samples, wanted))
        parts = [found[b] for b in sorted(found)]
        votes = None
        if e.loss.classification:
            votes = torch.stack([p.votes_CT for p in parts if p.votes_CT is not None]).sum(0).T.cpu().numpy()
        return Evaluation(
            np.concatenate([e.blocks.devices_of(b) for b in sorted(found)]),
            torch.cat([p.loss_B for p in parts]).double().cpu().numpy(),
            torch.cat([p.hits_BC for p in parts]).double().cpu().numpy(),
            votes,
        )

    def total(self, shares_N: Floats) -> Tensor:
        return merge([s.partial_means(None, shares_N) for s in self.shards])

    def squared_distances(self, mean_P: Tensor) -> Floats:
        out = np.empty(self.experiment.settings.devices)
        for shard in self.shards:
            out[shard.devices] = shard.squared_distances(mean_P)
        return out

    def snapshot(self) -> dict[str, Tensor]:
        parts = [s.snapshot() for s in self.shards]
        out = {}
        for name in parts[0]:
            whole = parts[0][name].new_empty(self.experiment.settings.devices, *parts[0][name].shape[1:], device="cpu")
            for shard, part in zip(self.shards, parts, strict=True):
                whole[torch.as_tensor(shard.devices)] = part[name].cpu()
            out[name] = whole
        return out

    def restore(self, arrays: dict[str, Tensor], round: int) -> None:
        self.round = round
        for shard in self.shards:
            index = torch.as_tensor(shard.devices)
            shard.restore({name: value[index] for name, value in arrays.items()})

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
        torch.set_flush_denormal(False)  # the process is its caller's again
