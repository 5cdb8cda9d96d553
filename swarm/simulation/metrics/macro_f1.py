"""Macro F1: the F1 score of each class, averaged over the classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from swarm.simulation.metrics.base import OutputMetric
from swarm.simulation.metrics.formulas import answers


class MacroF1(OutputMetric):
    """(1/C) Σ_c 2·TP_c / (predicted_c + true_c), over the classes that the test set or the device
    names.

    It weighs a rare class like a frequent one (scikit-learn: ``f1_score(average="macro")``). What
    is kept of a block is two numbers for each device and class.
    """

    name = "macro_f1"
    label = "macro F1"
    better = "higher"
    target_kind = "classes"

    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        """Right answers and all answers by class, ``[B, 2, C]``."""
        return torch.zeros(devices, 2, outputs, dtype=torch.float64)

    def add(self, state_B: Tensor, out_BCb: Tensor, y_b: Tensor, at: int) -> None:
        """See :meth:`OutputMetric.add`."""
        answer = answers(out_BCb, state_B.dtype)
        hot_bC = functional.one_hot(y_b, state_B.shape[2]).to(state_B.dtype)
        state_B[:, 0] += (answer * hot_bC.T).sum(2)
        state_B[:, 1] += answer.sum(2)

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        """See :meth:`OutputMetric.value`."""
        true_C = torch.bincount(y_T, minlength=state_B.shape[2]).to(state_B.dtype)
        right, named = state_B[:, 0], state_B[:, 1] + true_C
        f1 = 2 * right / named.clamp_min(1e-30)
        return f1.sum(1) / (named > 0).sum(1)
