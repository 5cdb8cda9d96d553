"""Questions to all actors about their shards, and their answers put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarm.simulation.engine.base import Evaluation, Floats
from swarm.simulation.engine.ray.actor import EvaluationPart
from swarm.simulation.engine.ray.actor_pool import Call
from swarm.simulation.engine.ray.call_scheduler import ShardAssignment
from swarm.simulation.evaluation import Asked
from swarm.simulation.experiment import Experiment

Gather = Callable[[Sequence[Call]], list[Any]]


def evaluation(
    assignment: ShardAssignment, gather: Gather, samples: Asked, blocks: set[int]
) -> Evaluation:
    """Evaluate the devices of these blocks; see :meth:`Engine.evaluate`."""
    calls = []
    for member, held in zip(assignment.members, assignment.blocks, strict=True):
        here = blocks & set(held.tolist())
        if here:
            ref = member.handle.evaluate.remote(samples, here)
            calls.append(Call(member, ref, "an evaluation"))
    return _joined(gather(calls), assignment.experiment)


def total(assignment: ShardAssignment, gather: Gather, shares_N: Floats) -> Tensor:
    """Σ_i share_i · x_i, ``[P]`` in float64."""
    parts = [member.handle.means.remote(shares_N) for member in assignment.members]
    (mean,) = gather([assignment.mean(parts)])
    return torch.tensor(mean)


def row_values(assignment: ShardAssignment, gather: Gather, mean: Any) -> Floats:
    """The values of the metrics of parameters, ``[N, V]``; ``mean`` is the reference of the mean
    model."""
    calls = [
        Call(member, member.handle.row_values.remote(mean), "the metrics of parameters")
        for member in assignment.members
    ]
    e = assignment.experiment
    out = np.empty((e.settings.devices, len(e.metrics.rows)))
    for devices, part in zip(assignment.devices, gather(calls), strict=True):
        out[devices] = part
    return out


def snapshot(assignment: ShardAssignment, gather: Gather) -> dict[str, Tensor]:
    """Every array that an actor's ``reset`` needs, with the rows of all devices in device order."""
    calls = [
        Call(member, member.handle.snapshot.remote(), "a snapshot") for member in assignment.members
    ]
    parts = gather(calls)
    devices_N, found = assignment.experiment.settings.devices, {}
    for name, first in parts[0].items():
        whole = np.empty((devices_N, *first.shape[1:]), first.dtype)
        for devices, part in zip(assignment.devices, parts, strict=True):
            whole[devices] = part[name]
        found[name] = torch.from_numpy(whole)
    return found


def _joined(parts: Sequence[EvaluationPart], e: Experiment) -> Evaluation:
    """The actors' parts of an evaluation as one, in the order of the blocks."""
    found = {
        block: results
        for part in parts
        for block, *results in zip(part.blocks, part.loss, part.hits, part.values, strict=True)
    }
    order = sorted(found)
    loss_M, hits_MC, values_MV = (
        np.concatenate([found[block][i] for block in order]).astype(np.float64) for i in range(3)
    )
    votes = [p.votes_CT for p in parts if p.votes_CT is not None]
    votes_TC = np.sum(votes, axis=0).T if votes else None
    devices_M = np.concatenate([e.blocks.devices_of(block) for block in order])
    return Evaluation(devices_M, loss_M, hits_MC, votes_TC, values_MV)
