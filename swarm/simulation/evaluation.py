"""How good a block's devices are on a set of samples: per device, so that any statistic can be
formed from them.
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

    ``loss_B`` is the mean loss; ``hits_BC`` counts right answers by true label (classification; a
    tie of m counts 1/m), or holds the summed squared error by target (regression); ``votes_CT``
    counts the devices that answer each label (classification; one that holds several for equally
    likely votes for each of them); ``values_BV`` has a column for each metric of outputs.
    """

    loss_B: Tensor
    hits_BC: Tensor
    votes_CT: Tensor | None
    values_BV: Tensor


def apart(
    found: Iterable[tuple[int, BlockEvaluation]],
) -> tuple[dict[int, BlockEvaluation], Tensor | None]:
    """Blocks' results without their votes, and the votes of all of them together: those of each
    block would take more room than all else."""
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
        """The devices on T samples with labels ``[T]`` (``[T, L]``: each of L positions counts) or
        targets ``[T, C]``.
        """
        losses, hits = [], []
        parts = BlockParameters(self.kernel.layout, len(x_BP), x_BP)
        parts.load(x_BP)
        each = y_T.shape[1] if self.loss.classification and y_T.ndim > 1 else 1
        many = max(1, SAMPLES_AT_ONCE // each)
        # made before the predictions: small ones made in between would keep the room of those from
        # being used again
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
    """The widest numbers that a device can calculate with."""
    return torch.float32 if device.type == "mps" else torch.float64


def one_each(metric: Metric, found: Tensor, devices: int) -> Tensor:
    """``found``, if it has one value a device."""
    if not isinstance(found, Tensor) or found.shape != (devices,):
        needed = f"one value for each of the {devices} devices is needed"
        raise returned("metrics", metric, "value()", f"returns {shape_of(found)}", needed)
    return found
