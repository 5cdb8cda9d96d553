"""Evaluates the devices of a block on a set of samples, with one result per device, so that any
statistic over devices can be formed from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from swarm.common.plugin import returned, shape_of
from swarm.common.rows import BlockParameters
from swarm.learning.kernels.kernel import Kernel
from swarm.learning.kernels.losses import Loss
from swarm.simulation.metrics.base import Metric, OutputMetric

SAMPLES_AT_ONCE = 1024


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

    def examine(self, x_BP: Tensor, x_T: Tensor, y_T: Tensor) -> BlockEvaluation:
        """Evaluate the devices with parameters ``x_BP`` on T samples ``x_T`` with labels ``[T]``
        (``[T, L]``: each of L positions counts) or targets ``[T, C]``.

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
                votes_CT[:, at : at + out.shape[2]] = (out == out.amax(1, keepdim=True)).sum(0)
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

    def _state(
        self, metric: OutputMetric, devices: int, samples: int, device: torch.device
    ) -> Tensor:
        state = metric.state(devices, self.outputs, samples)
        if not isinstance(state, Tensor) or state.shape[:1] != (devices,):
            needed = f"a tensor whose first axis has the {devices} devices is needed"
            raise returned("metrics", metric, "state()", f"returns {shape_of(state)}", needed)
        return state.to(device, _wide(device))


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
