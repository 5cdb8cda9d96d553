"""Expected calibration error: whether a device is right as often as it is sure."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from swarm.simulation.metrics.base import OutputMetric
from swarm.simulation.metrics.formulas import answers


class Calibration(OutputMetric):
    """Σ_k (n_k/T) · |accuracy_k − confidence_k| over ``bins`` equal intervals of the confidence,
    the largest of the predicted probabilities (Guo et al., ICML 2017).

    What is kept of a block is one number for each device and interval: the sum of right answers
    less confidence.
    """

    name = "calibration"
    label = "expected calibration error"
    better = "lower"
    target_kind = "classes"

    def __init__(self, bins: Annotated[int, Field(ge=1, le=1000)] = 15) -> None:
        self.bins = bins

    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        """Right answers less confidence, summed by interval, ``[B, bins]``."""
        return torch.zeros(devices, self.bins, dtype=torch.float64)

    def add(self, state_B: Tensor, out_BCb: Tensor, y_b: Tensor, at: int) -> None:
        """See :meth:`OutputMetric.add`."""
        out = out_BCb.to(state_B.dtype)
        sure_Bb = torch.softmax(out, 1).amax(1)
        index_1b = y_b.expand(len(out), 1, -1)
        right_Bb = answers(out_BCb, state_B.dtype).gather(1, index_1b).squeeze(1)
        edges = torch.linspace(0, 1, self.bins + 1, dtype=out.dtype, device=out.device)[1:-1]
        interval_Bb = torch.searchsorted(edges, sure_Bb.contiguous())
        for k in range(self.bins):  # no scattered sum: its order is not defined on a GPU
            state_B[:, k] += ((right_Bb - sure_Bb) * (interval_Bb == k)).sum(1)

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        """See :meth:`OutputMetric.value`."""
        return state_B.abs().sum(1) / len(y_T)
