"""Evaluates the devices of a block on a set of samples, with one result per device, so that any
statistic over devices can be formed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import counted
from swarm.common.plugin import shape_of
from swarm.common.rows import BlockParameters
from swarm.communication.protocol.local_info import ranks
from swarm.data.dataset import DeviceSplit
from swarm.learning.kernels.kernel import Kernel
from swarm.learning.kernels.losses import Loss
from swarm.simulation.metrics.base import OutputMetric
from swarm.simulation.metrics.returned import fault, one_each

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard

SAMPLES_AT_ONCE = 1024
OWN_SAMPLES_AT_ONCE = 64  # of each device, where each has others
OwnBatch = tuple[Tensor, Tensor, Tensor]
PerSample = Callable[[Tensor, Tensor], Tensor]
"""From outputs and targets to a value of each answer, such as :meth:`Loss.value`"""
Ints = npt.NDArray[np.int64]
Asked: TypeAlias = Ints | str | None
"""What devices are looked at on: the samples with these ids; None: held-out samples of each
device's own; a text: whatever the metric of this name looks at
(:class:`~swarm.simulation.metrics.looking.LooksAtBlocks`), which gives values and nothing else."""


@dataclass(frozen=True)
class BlockEvaluation:
    """Results of B devices on T samples.

    ``loss_B`` is the mean loss. ``hits_BC`` counts right answers by true label in a classification
    (a tie between m labels counts 1/m), and is the summed squared error by target in a regression.
    ``votes_CT`` counts the devices that predict each label (classification only; a device whose
    largest outputs tie votes for each of those labels). ``values_BV`` has the numbers of the
    metrics of outputs.
    """

    loss_B: Tensor
    hits_BC: Tensor
    votes_CT: Tensor | None
    values_BV: Tensor

    @classmethod
    def values_only(cls, values_BV: Tensor, outputs: int) -> BlockEvaluation:
        """The values of a metric that looks at devices itself, and nothing of a model with so many
        ``outputs``."""
        nothing_B = torch.full((len(values_BV),), torch.nan)
        nothing_BC = nothing_B.unsqueeze(1).repeat(1, outputs)
        return cls(nothing_B, nothing_BC, None, values_BV.detach().cpu().double())


@dataclass(frozen=True)
class OwnSamples:
    """The held-out samples of the B devices of a block: of device i the first ``count_B[i]`` ids of
    ``id_BT[i]``; what follows them is any sample.
    """

    id_BT: Tensor
    count_B: Tensor

    @classmethod
    def listed(cls, ids: Sequence[Ints]) -> OwnSamples:
        """Those of B devices, one array of ids for each."""
        count_B = np.array([len(each) for each in ids])
        id_BT = np.zeros((len(ids), count_B.max(initial=0)), np.int64)
        for row_T, each in zip(id_BT, ids, strict=True):
            row_T[: len(each)] = each
        return cls(torch.as_tensor(id_BT), torch.as_tensor(count_B))

    @classmethod
    def of(cls, held: DeviceSplit, devices_B: Ints) -> OwnSamples:
        """Those of ``devices_B`` among the samples ``held`` of all devices."""
        count_B = held.sizes_N[devices_B]
        place_T = np.minimum(np.arange(count_B.max(initial=0)), count_B[:, None] - 1).clip(0)
        at_BT = (held.ptr_N1[devices_B][:, None] + place_T).clip(max=len(held.sample) - 1)
        return cls(torch.as_tensor(held.sample[at_BT]), torch.as_tensor(count_B))


def with_summed_votes(
    found: Iterable[tuple[int, BlockEvaluation]],
) -> tuple[dict[int, BlockEvaluation], Tensor | None]:
    """The results of each block without its votes, and the sum of all votes ``[C, T]``: keeping the
    votes of each block would take more memory than everything else."""
    parts: dict[int, BlockEvaluation] = {}
    votes_CT: Tensor | None = None
    for block, part in found:
        parts[block] = replace(part, votes_CT=None)
        if part.votes_CT is not None:
            votes_CT = part.votes_CT if votes_CT is None else votes_CT.add_(part.votes_CT)
    return parts, votes_CT


class BlockEvaluator:
    """Predicts a common set of samples with every device of a block."""

    def __init__(
        self, kernel: Kernel, loss: Loss, outputs: int, metrics: Sequence[OutputMetric] = ()
    ) -> None:
        self.kernel, self.loss, self.outputs, self.metrics = kernel, loss, outputs, metrics

    def of(self, devices_B: Ints) -> BlockEvaluator:
        """The evaluator of the rows of these devices."""
        return self

    def examine(
        self, x_BP: Tensor, x_T: Tensor, y_T: Tensor, voter_B: Tensor | None = None
    ) -> BlockEvaluation:
        """Evaluate the devices with parameters ``x_BP`` on T samples ``x_T`` with labels ``[T]``
        (``[T, L]``: each of L positions counts) or targets ``[T, C]``; ``voter_B`` (None: all)
        vote.

        Raises :class:`~swarm.common.plugin.PluginError` for a metric that returns something else
        than one value a device.
        """
        losses, hits = [], []
        parts = BlockParameters(self.kernel.layout, len(x_BP), x_BP)
        parts.load(x_BP)
        each = y_T.shape[1] if self.loss.classification and y_T.ndim > 1 else 1
        many = max(1, SAMPLES_AT_ONCE // each)
        # Allocated before the predictions: small arrays allocated between them would keep their
        # memory from being reused.
        votes_CT = (
            y_T.new_empty(self.outputs, y_T.numel(), dtype=torch.int64)
            if self.loss.classification
            else None
        )
        samples = len(x_T) * each
        states = [self._state(metric, len(x_BP), samples, x_BP.device) for metric in self.metrics]
        for start in range(0, len(x_T), many):
            x, y = x_T[start : start + many], y_T[start : start + many]
            y = y.flatten() if self.loss.classification else y
            target = self.loss.encode(y, self.outputs, x_BP.dtype)
            out = self.kernel.outputs(parts.views, x.expand(len(x_BP), *x.shape))
            losses.append(self.loss.value(out, target).sum(1))
            if votes_CT is not None:
                hits.append(self.loss.score(out, target) @ target.T)
                at = start * each
                votes = out == out.amax(1, keepdim=True)
                votes = votes if voter_B is None else votes[voter_B]
                votes_CT[:, at : at + out.shape[2]] = votes.sum(0)
            else:
                hits.append((out - target).square().sum(2))
            for metric, state in zip(self.metrics, states, strict=True):
                metric.add(state, out, y, start * each)
        total = torch.stack(losses).sum(0) / samples
        labels = y_T.flatten() if self.loss.classification else y_T
        values = [
            one_each(metric, metric.value(state, labels), len(x_BP), metric.numbers(self.outputs))
            for metric, state in zip(self.metrics, states, strict=True)
        ]
        nothing_B0 = x_BP.new_empty(len(x_BP), 0, dtype=_wide(x_BP.device))
        values_BV = torch.cat([nothing_B0, *(each.to(nothing_B0) for each in values)], 1)
        return BlockEvaluation(total, torch.stack(hits).sum(0), votes_CT, values_BV)

    def examine_local(
        self, x_BP: Tensor, own: OwnSamples, x_S: Tensor, y_S: Tensor
    ) -> BlockEvaluation:
        """Evaluate each of the devices with parameters ``x_BP`` on its ``own`` samples of all
        samples ``x_S`` with labels or targets ``y_S``, as :meth:`examine` takes them. A device
        without any has the loss NaN; nobody votes, and metrics of outputs see nothing.
        """
        parts = BlockParameters(self.kernel.layout, len(x_BP), x_BP)
        parts.load(x_BP)
        loss_B = x_BP.new_zeros(len(x_BP), dtype=_wide(x_BP.device))
        hits_BC = loss_B.new_zeros(len(x_BP), self.outputs)
        for x, target, there_Bb in self.own_batches(own, x_S, y_S, x_BP.dtype):
            out = self.kernel.outputs(parts.views, x)
            loss_B += torch.where(there_Bb, self.loss.value(out, target), 0).sum(1)
            found = (
                self.loss.score(out, target).unsqueeze(1) * target
                if self.loss.classification
                else (out - target).square()
            )
            hits_BC += torch.where(there_Bb.unsqueeze(1), found, 0).sum(2)
        loss_B /= (own.count_B * self.labels(y_S)).to(loss_B)
        numbers = sum(metric.numbers(self.outputs) for metric in self.metrics)
        nothing_BV = loss_B.new_full((len(x_BP), numbers), torch.nan)
        return BlockEvaluation(loss_B, hits_BC, None, nothing_BV)

    def own_batches(
        self, own: OwnSamples, x_S: Tensor, y_S: Tensor, dtype: torch.dtype
    ) -> Iterator[OwnBatch]:
        """Yield some samples of each device at a time, with their targets, and whether they are its
        own, ``[B, b]`` (``[B, b · L]`` for L labels a sample)."""
        classification, each = self.loss.classification, self.labels(y_S)
        many = max(1, OWN_SAMPLES_AT_ONCE // each)
        for start in range(0, own.id_BT.shape[1], many):
            id_Bb = own.id_BT[:, start : start + many].to(x_S.device)
            there_Bb = start + torch.arange(id_Bb.shape[1]) < own.count_B[:, None]
            there_Bb = there_Bb.repeat_interleave(each, 1).to(x_S.device)
            y = y_S[id_Bb].flatten(1) if classification else y_S[id_Bb]
            yield x_S[id_Bb], self.loss.encode(y, self.outputs, dtype), there_Bb

    def labels(self, y_S: Tensor) -> int:
        """The number of labels of a sample."""
        return y_S.shape[1] if self.loss.classification and y_S.ndim > 1 else 1

    def own_losses(self, x_BP: Tensor, own: OwnSamples, x_S: Tensor, y_S: Tensor) -> Tensor:
        """The loss of each device with parameters ``x_BP`` on each of its ``own`` samples,
        ``[B, T]``, a mean over the labels or targets of a sample; NaN in places without a sample.
        ``x_S`` and ``y_S`` are as in :meth:`examine_local`.
        """
        parts = BlockParameters(self.kernel.layout, len(x_BP), x_BP)
        parts.load(x_BP)
        found = [x_BP.new_empty(len(x_BP), 0, dtype=_wide(x_BP.device))]
        for x, target, there_Bb in self.own_batches(own, x_S, y_S, x_BP.dtype):
            value = self.loss.value(self.kernel.outputs(parts.views, x), target)
            value_BbL, there_BbL = (each.reshape(*x.shape[:2], -1) for each in (value, there_Bb))
            mean_Bb = value_BbL.to(found[0].dtype).mean(2)
            found.append(mean_Bb.masked_fill(~there_BbL[..., 0], torch.nan))
        return torch.cat(found, 1)

    def outputs_of(self, x_BP: Tensor, x_T: Tensor, each: int) -> Iterator[Tensor]:
        """Yield the outputs of each device with parameters ``x_BP`` for some of the samples ``x_T``
        at a time, ``[B, C, b]``; a sample counts ``each`` times, once for each of its labels."""
        parts = BlockParameters(self.kernel.layout, len(x_BP), x_BP)
        parts.load(x_BP)
        for x in torch.split(x_T, max(1, SAMPLES_AT_ONCE // each)):
            yield self.kernel.outputs(parts.views, x.expand(len(x_BP), *x.shape))

    def _state(
        self, metric: OutputMetric, devices: int, samples: int, device: torch.device
    ) -> Tensor:
        state = metric.state(devices, self.outputs, samples)
        if not isinstance(state, Tensor) or state.shape[:1] != (devices,):
            needed = f"a tensor whose first axis has the {counted(devices, 'device')} is needed"
            raise fault(metric, "state()", f"returns {shape_of(state)}", needed)
        return state.to(device, _wide(device))


class OwnValidation:
    """Measures models block by block, so that a result depends on the model, the device and its
    block only, and not on how the swarm is cut into shards."""

    def __init__(self, shard: Shard) -> None:
        held = shard.experiment.data.split.local_validation
        assert held is not None, "checked before the start"
        self.shard = shard
        slices = [rows for _, rows in shard.experiment.blocks.slices(shard.blocks)]
        self.blocks = [(rows, OwnSamples.of(held, shard.devices[rows])) for rows in slices]
        self.count_n = torch.cat([own.count_B for _, own in self.blocks])

    def loss(self, rows_mP: Tensor, model_A: Tensor, device_A: Tensor) -> Tensor:
        """See :attr:`LocalInfo.measure_loss`."""
        return self._means(rows_mP, model_A, device_A, self.shard.evaluator.loss.value)

    def accuracy(self, rows_mP: Tensor, model_A: Tensor, device_A: Tensor) -> Tensor:
        """See :attr:`LocalInfo.measure_accuracy`."""
        loss = self.shard.evaluator.loss
        if not loss.classification:
            return self.shard.state.x.new_full((len(device_A),), torch.nan)
        return self._means(rows_mP, model_A, device_A, loss.score)

    def _means(self, rows_mP: Tensor, model_A: Tensor, device_A: Tensor, of: PerSample) -> Tensor:
        """The mean of ``of(outputs, target)`` over the samples of each device, ``[A]``.

        A block measures one model of each of its devices at a time. A device that has no further
        model to measure measures its own again, so that all products have the same shape.
        """
        x_nP, labels = self.shard.state.x, self.shard.evaluator.labels(self.shard.batch_loader.y_S)
        if rows_mP.shape[1:] != x_nP.shape[1:]:
            raise ValueError(
                f"state.local measures rows of {x_nP.shape[1]} parameters, and these have"
                f" {tuple(rows_mP.shape[1:])}"
            )
        total_A = x_nP.new_zeros(len(device_A), dtype=_wide(x_nP.device))
        device, rank = device_A.cpu().numpy(), ranks(device_A).cpu().numpy()
        block = np.searchsorted([rows.stop for rows, _ in self.blocks], device, side="right")
        order = np.lexsort((device, rank, block))
        turns = np.split(order, np.flatnonzero(np.diff(rank[order]) | np.diff(block[order])) + 1)
        if len(order):
            for number, some in groupby(turns, lambda turn: int(block[turn[0]])):
                turns_a = [torch.as_tensor(turn, device=device_A.device) for turn in some]
                self._add(total_A, number, turns_a, rows_mP.to(x_nP), model_A, device_A, of)
        return total_A / (self.count_n * labels).to(total_A)[device_A]

    def _add(
        self,
        total_A: Tensor,
        number: int,
        turns_a: list[Tensor],
        rows_mP: Tensor,
        model_A: Tensor,
        device_A: Tensor,
        of: PerSample,
    ) -> None:
        """Add to ``total_A`` the values of the models that the devices of a block measure, those of
        one turn together."""
        shard, evaluator, loader = self.shard, self.shard.evaluator, self.shard.batch_loader
        (rows, own), like = self.blocks[number], shard.state.x
        parts = BlockParameters(evaluator.kernel.layout, rows.stop - rows.start, like)
        for x, target, there_Bb in evaluator.own_batches(own, loader.x_S, loader.y_S, like.dtype):
            for turn_a in turns_a:
                at_a = device_A[turn_a] - rows.start
                if len(at_a) == len(there_Bb) and not shard.local_nQ.shape[1]:
                    parts.load(rows_mP, model_A[turn_a])
                else:  # a device adds the parameters and statistics that it keeps for itself
                    x_BP = shard.whole(rows).clone()
                    x_BP[at_a, : like.shape[1]] = rows_mP[model_A[turn_a]]
                    parts.load(x_BP)
                value_Bb = of(evaluator.kernel.outputs(parts.views, x), target)
                total_A[turn_a] += torch.where(there_Bb, value_Bb, 0).sum(1)[at_a]


def _wide(device: torch.device) -> torch.dtype:
    """The most precise dtype that a compute device supports."""
    return torch.float32 if device.type == "mps" else torch.float64
