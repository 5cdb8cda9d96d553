"""Huber's loss, which large errors do not dominate."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from swarm.common.ranges import number
from swarm.learning.losses.base import SampleLoss


class Huber(SampleLoss):
    """e²/2 for an error e of at most δ, else δ(|e| − δ/2); the mean over the targets (Huber,
    *Robust Estimation of a Location Parameter*, Annals of Mathematical Statistics 35, 1964).

    Raises ``ConfigError`` for a ``delta`` that is not above 0.
    """

    target_kind = "numbers"

    def __init__(self, delta: float = 1.0) -> None:
        number("delta", delta, 0, open_low=True)
        self.delta = delta

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.huber_loss(outputs, targets, reduction="none", delta=self.delta).mean(1)
