"""Mirrors images."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.learning.augmentation.base import Augmentation


class Flip(Augmentation):
    """Mirror an image left to right with a probability, as in He et al. 2016."""

    def __init__(self, probability: float = 0.5) -> None:
        """Set the probability; raises :class:`ConfigError` unless it lies above 0 and up to 1."""
        if not 0 < probability <= 1:
            raise ConfigError("probability", probability, "must be above 0 and at most 1")
        self.probability = probability

    def __call__(self, x_nCHW: Tensor, u_nD: Tensor) -> Tensor:
        """See :meth:`Augmentation.__call__`."""
        mirrored = u_nD[:, 0] < self.probability
        return torch.where(mirrored[:, None, None, None], x_nCHW.flip(3), x_nCHW)
