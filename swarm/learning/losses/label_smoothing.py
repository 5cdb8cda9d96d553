"""Cross-entropy with smoothed labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from swarm.common.ranges import number
from swarm.learning.losses.base import SampleLoss


class LabelSmoothing(SampleLoss):
    """Cross-entropy with labels of which a part ``share`` is spread evenly over all classes
    (Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016).

    Raises ``ConfigError`` for a share outside [0, 1].
    """

    target_kind = "classes"

    def __init__(self, share: float = 0.1) -> None:
        number("share", share, 0, 1)
        self.share = share

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(
            outputs, targets, reduction="none", label_smoothing=self.share
        )
