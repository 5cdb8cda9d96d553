"""Evaluates the devices of a block on a set of samples, with one result per device, so that any
statistic over devices can be formed from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.plugin import returned, shape_of
from swarm.common.rows import BlockParameters
from swarm.communication.protocol.local_info import ranks
from swarm.data.dataset import DeviceSplit
from swarm.learning.kernels.kernel import Kernel
from swarm.learning.kernels.losses import Loss
from swarm.simulation.metrics.base import Metric, OutputMetric

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard

SAMPLES_AT_ONCE = 1024
OWN_SAMPLES_AT_ONCE = 64  # of each device, where each has others
Ints = npt.NDArray[np.int64]
Asked: TypeAlias = Ints | Literal["members"] | None
"""What devices are looked at on: the samples with these ids; ``members``: samples that each device
has learnt from, and others; None: held-out samples of each device's own."""


@dataclass(frozen=True)
class BlockEvaluation:
    """Results of B devices on T samples.

    ``loss_B`` is the mean loss. ``hits_BC`` counts right answers by true label in a classification
    (a tie between m labels counts 1/m), and is the summed squared error by target in a regression.
    ``votes_CT`` counts the devices that predict each label (classification only; a device whose
    largest outputs tie votes for each of those labels). ``values_BV`` has a column for each metric
    of outputs.
    """

    loss_B: Tensor
    hits_BC: Tensor
    votes_CT: Tensor | None
    values_BV: Tensor


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


def apart(
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
        values_BV = x_BP.new_empty(len(x_BP), len(states), dtype=_wide(x_BP.device))
        for column, (metric, state) in enumerate(zip(self.metrics, states, strict=True)):
            values_BV[:, column] = one_each(metric, metric.value(state, labels), len(x_BP))
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
        classification = self.loss.classification
        each = y_S.shape[1] if classification and y_S.ndim > 1 else 1
        many = max(1, OWN_SAMPLES_AT_ONCE // each)
        loss_B = x_BP.new_zeros(len(x_BP), dtype=_wide(x_BP.device))
        hits_BC = loss_B.new_zeros(len(x_BP), self.outputs)
        for start in range(0, own.id_BT.shape[1], many):
            id_Bb = own.id_BT[:, start : start + many].to(x_S.device)
            there_Bb = start + torch.arange(id_Bb.shape[1]) < own.count_B[:, None]
            there_Bb = there_Bb.repeat_interleave(each, 1).to(x_BP.device)
            y = y_S[id_Bb].flatten(1) if classification else y_S[id_Bb]
            target = self.loss.encode(y, self.outputs, x_BP.dtype)
            out = self.kernel.outputs(parts.views, x_S[id_Bb])
            loss_B += torch.where(there_Bb, self.loss.value(out, target), 0).sum(1)
            found = (
                self.loss.score(out, target).unsqueeze(1) * target
                if classification
                else (out - target).square()
            )
            hits_BC += torch.where(there_Bb.unsqueeze(1), found, 0).sum(2)
        loss_B /= (own.count_B * each).to(loss_B)
        nothing_BV = loss_B.new_full((len(x_BP), len(self.metrics)), torch.nan)
        return BlockEvaluation(loss_B, hits_BC, None, nothing_BV)

    def own_losses(self, x_BP: Tensor, own: OwnSamples, x_S: Tensor, y_S: Tensor) -> Tensor:
        """The loss of each device with parameters ``x_BP`` on each of its ``own`` samples,
        ``[B, T]``, a mean over the labels or targets of a sample; NaN in places without a sample.
        ``x_S`` and ``y_S`` are as in :meth:`examine_local`.
        """
        parts = BlockParameters(self.kernel.layout, len(x_BP), x_BP)
        parts.load(x_BP)
        found_BT = x_BP.new_full(own.id_BT.shape, torch.nan, dtype=_wide(x_BP.device))
        classification = self.loss.classification
        for start in range(0, own.id_BT.shape[1], OWN_SAMPLES_AT_ONCE):
            id_Bb = own.id_BT[:, start : start + OWN_SAMPLES_AT_ONCE].to(x_S.device)
            y = y_S[id_Bb].flatten(1) if classification else y_S[id_Bb]
            target = self.loss.encode(y, self.outputs, x_BP.dtype)
            value = self.loss.value(self.kernel.outputs(parts.views, x_S[id_Bb]), target)
            each_Bb = value.reshape(*id_Bb.shape, -1).mean(2)
            found_BT[:, start : start + id_Bb.shape[1]] = each_Bb
        there_BT = torch.arange(own.id_BT.shape[1]) < own.count_B[:, None]
        return found_BT.masked_fill(~there_BT.to(found_BT.device), torch.nan)

    def _state(
        self, metric: OutputMetric, devices: int, samples: int, device: torch.device
    ) -> Tensor:
        state = metric.state(devices, self.outputs, samples)
        if not isinstance(state, Tensor) or state.shape[:1] != (devices,):
            needed = f"a tensor whose first axis has the {devices} devices is needed"
            raise returned("metrics", metric, "state()", f"returns {shape_of(state)}", needed)
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

    def __call__(self, rows_AP: Tensor, device_A: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and accuracy ``[A]`` of the models ``rows_AP`` on the samples of ``device_A``.

        A block measures one model of each of its devices at a time. A device that has no further
        model to measure measures its own again, so that all products have the same shape.
        """
        x_nP, loader = self.shard.state.x, self.shard.batch_loader
        if rows_AP.shape[1:] != x_nP.shape[1:]:
            raise ValueError(
                f"state.local measures rows of {x_nP.shape[1]} parameters, and these have"
                f" {tuple(rows_AP.shape[1:])}"
            )
        rank_A = ranks(device_A)
        evaluator, rows_AP = self.shard.evaluator, rows_AP.to(x_nP)
        loss_A = x_nP.new_full((len(rows_AP),), torch.nan, dtype=_wide(x_nP.device))
        accuracy_A = loss_A.clone()
        for rows, own in self.blocks:
            here_A = (device_A >= rows.start) & (device_A < rows.stop)
            for rank in range(int(rank_A[here_A].max()) + 1 if here_A.any() else 0):
                some = torch.nonzero(here_A & (rank_A == rank)).squeeze(1)
                at = device_A[some] - rows.start
                x_BP = self._models(rows, at, rows_AP, some)
                found = evaluator.examine_local(x_BP, own, loader.x_S, loader.y_S)
                loss_A[some] = found.loss_B[at].to(loss_A)
                if evaluator.loss.classification:
                    answers_B = own.count_B.to(loss_A) * loader.y_S[:1].numel()
                    accuracy_A[some] = (found.hits_BC.sum(1) / answers_B)[at].to(loss_A)
        return loss_A, accuracy_A

    def _models(self, rows: slice, at: Tensor, rows_AP: Tensor, some: Tensor) -> Tensor:
        """The models that the devices of a block measure, ``[B, P]``: the devices ``at`` those
        numbered ``some`` of ``rows_AP``, the others their own."""
        everybody = len(at) == rows.stop - rows.start
        if everybody and not self.shard.local_nQ.shape[1] and (at[1:] > at[:-1]).all():
            first, last = int(some[0]), int(some[-1])
            in_turn = last - first == len(some) - 1 and bool((some[1:] > some[:-1]).all())
            return rows_AP[first : last + 1] if in_turn else rows_AP[some]
        # a device adds the parameters and statistics that it keeps for itself
        x_BP = self.shard.whole(rows).clone()
        x_BP[at, : rows_AP.shape[1]] = rows_AP[some]
        return x_BP


def _wide(device: torch.device) -> torch.dtype:
    """The most precise dtype that a compute device supports."""
    return torch.float32 if device.type == "mps" else torch.float64


def one_each(metric: Metric, found: Tensor, devices: int) -> Tensor:
    """Return what a metric returned, ``found``, if it has one value a device.

    Raises :class:`~swarm.common.plugin.PluginError` if it has not."""
    if not isinstance(found, Tensor) or found.shape != (devices,):
        needed = f"one value for each of the {devices} devices is needed"
        raise returned("metrics", metric, "value()", f"returns {shape_of(found)}", needed)
    return found
