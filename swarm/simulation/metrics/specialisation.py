"""Specialisation: how evenly a device spreads what it practises over the classes."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.simulation.metrics.practice import PracticeMetric


class Specialisation(PracticeMetric):
    """−Σ_c p_c ln p_c, for the share p_c of class c among all samples that a device has met: 0
    where it has met one class only, ln C where it has met C classes equally often. The lower, the
    more a device has specialised. Where nothing has been counted there is no value."""

    name = "specialisation"
    label = "entropy of the practised classes"
    unit = "nats"

    def value(self, x_BP: Tensor, mean_P: Tensor) -> Tensor:
        """See :meth:`RowMetric.value`."""
        total_B1 = x_BP.sum(1, keepdim=True)
        share_BC = x_BP / total_B1
        entropy_B = -torch.xlogy(share_BC, share_BC).sum(1)
        return entropy_B.masked_fill(total_B1[:, 0] == 0, torch.nan)
