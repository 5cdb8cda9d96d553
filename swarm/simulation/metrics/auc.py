"""The area under the ROC curve, each class against the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.simulation.metrics.base import OutputMetric


class Auc(OutputMetric):
    """The mean over the classes of the area under the ROC curve of "this class or another"
    (scikit-learn: ``roc_auc_score(multi_class="ovr", average="macro")``).

    The area is the probability that a sample of the class has a higher probability of the class
    than one of another, ties counting one half (Hanley & McNeil 1982); it comes from the ranks, so
    it is exact. A class that all or none of the samples have is left out. What is kept of a block
    is its outputs, ``[B, C, T]`` in float64; the ranks are taken device by device.
    """

    name = "auc"
    label = "area under the ROC curve"
    better = "higher"
    target_kind = "classes"

    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        """The logarithm of each sample's probabilities, ``[B, C, T]``."""
        return torch.zeros(devices, outputs, samples, dtype=torch.float64)

    def add(self, state_B: Tensor, out_BCb: Tensor, y_b: Tensor, at: int) -> None:
        """See :meth:`OutputMetric.add`."""
        state_B[:, :, at : at + len(y_b)] = torch.log_softmax(out_BCb.to(state_B.dtype), 1)

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        """See :meth:`OutputMetric.value`."""
        outputs, samples = state_B.shape[1:]
        of_CT = y_T == torch.arange(outputs, device=y_T.device).unsqueeze(1)
        count_C = of_CT.sum(1).to(state_B.dtype)
        both = (count_C > 0) & (count_C < samples)
        if not both.any():
            return state_B.new_full((len(state_B),), torch.nan)
        areas = [self._areas(score_CT, of_CT, count_C)[both].mean() for score_CT in state_B]
        return torch.stack(areas)

    @staticmethod
    def _areas(score_CT: Tensor, of_CT: Tensor, count_C: Tensor) -> Tensor:
        """(Σ ranks of the class − n(n+1)/2) / (n·(T−n)); tied scores share their mean rank."""
        if score_CT.isnan().any():
            return torch.full_like(count_C, torch.nan)
        sorted_CT = score_CT.sort(1).values
        below = torch.searchsorted(sorted_CT, score_CT.contiguous())
        up_to = torch.searchsorted(sorted_CT, score_CT.contiguous(), right=True)
        rank_CT = (below + up_to + 1).to(score_CT.dtype) / 2
        above = (rank_CT * of_CT).sum(1) - count_C * (count_C + 1) / 2
        return above / (count_C * (score_CT.shape[1] - count_C)).clamp_min(1)
