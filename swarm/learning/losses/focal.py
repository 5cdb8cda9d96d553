"""The focal loss, which counts samples less the surer their answers are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from swarm.common.ranges import number
from swarm.learning.losses.base import SampleLoss


class Focal(SampleLoss):
    """−(1 − p)^γ · log p, where p is the probability of the right label (Lin, Goyal, Girshick, He &
    Dollár, *Focal Loss for Dense Object Detection*, ICCV 2017).

    With γ = 0 it is the cross-entropy. Raises ``ConfigError`` for a negative ``gamma``.
    """

    target_kind = "classes"

    def __init__(self, gamma: float = 2.0) -> None:
        number("gamma", gamma, 0)
        self.gamma = gamma

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss_b = functional.cross_entropy(outputs, targets, reduction="none")
        # 1 − e^{−loss}, exact where p is near 1; the power has no slope at 0, if γ < 1
        wrong_b = -torch.expm1(-loss_b).clamp_max(-torch.finfo(loss_b.dtype).eps)
        return wrong_b**self.gamma * loss_b
