"""Best in group: how well the best device of a swarm knows each class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swarm.simulation.metrics.base import Column, Floats, Metric
from swarm.simulation.metrics.macro_f1 import MacroF1


class BestInGroup(MacroF1):
    """(1/C) Σ_c max_i F1_ic, for the F1 score of device i on class c of the test set, over the
    classes that the test set has. F1 and not the share of right answers to the samples of a class,
    as a device that always answers c has all of those.

    A maximum of many noisy scores lies above the score of a device that is picked beforehand, so
    compare it among swarms of one size and test set only. A device's own value is its share of the
    sum: those that are best at a class share what it adds. Of one device it is the macro F1, if the
    device names no class that the test set lacks.
    """

    name = "best_in_group"
    label = "F1 of the best device, mean over classes"
    of_consensus = False
    kept = False

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        """F1 of each class, ``[B, C]``; NaN of a class that the test set lacks."""
        true_C = torch.bincount(y_T, minlength=state_B.shape[2]).to(state_B.dtype)
        f1_BC = 2 * state_B[:, 0] / (state_B[:, 1] + true_C).clamp_min(1e-30)
        return f1_BC.masked_fill(true_C == 0, torch.nan)

    def numbers(self, outputs: int) -> int:
        """C."""
        return outputs

    def compared(self, values_MV: Floats) -> Floats:
        """See :meth:`OutputMetric.compared`."""
        there_MC = values_MV[:, ~np.isnan(values_MV).any(0)]
        best_MC = there_MC == there_MC.max(0, initial=0.0)
        return np.asarray((best_MC * there_MC / best_MC.sum(0).clip(1)).mean(1))

    def over_devices(self, values_M: Floats) -> dict[str, float]:
        """Their sum."""
        return {self.name: float(values_M.sum())}

    def columns(self) -> tuple[Column, ...]:
        """One."""
        return Metric.columns(self)
