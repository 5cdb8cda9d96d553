"""The geometric median.

Pillutla, Kakade & Harchaoui, *Robust aggregation for federated learning*, IEEE Transactions on
Signal Processing 2022 (arXiv 1912.13445).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.robust import RobustRule, Unsafe
from swarm.communication.aggregation.stack import Floats, Stack, ordered_sum, row_sums


class GeometricMedian(RobustRule):
    """The point with the smallest sum of distances to the n rows that a device has, by the smoothed
    Weiszfeld algorithm: z ← Σ_j β_j x_j / Σ_j β_j, where β_j = 1 / max(ν, ‖z − x_j‖).

    If a share α < 1/2 of the rows is hostile, z is at most (1 − α)/√(1 − 2α) · r from any point
    that all honest rows are within r of. It does not depend on f, which is only held against the
    graph.

    Each z is a weighted mean of the rows, so its distances follow from the products of their
    differences from the own row. These are computed once, and an iteration is a matter of n × n
    numbers.
    """

    symmetric = True
    weighs = False
    uses_f = False
    copies, pairs = 3, 5

    def __init__(
        self,
        f: float = 0,
        iterations: int = 100,
        tolerance: float = 1e-6,
        smoothing: float = 1e-6,
        unsafe: Unsafe = "refuse",
    ) -> None:
        """Set the largest number of iterations, the change of a weight β_j / Σβ below which a
        device stops, and ν; raises :class:`ConfigError` for values out of range. See
        :class:`RobustRule` for the others.
        """
        super().__init__(f, unsafe)
        if iterations < 1:
            raise ConfigError("iterations", iterations, "must be a whole number of at least 1")
        if not tolerance >= 0:
            raise ConfigError("tolerance", tolerance, "must be a number of at least 0")
        if not smoothing > 0:
            raise ConfigError("smoothing", smoothing, "must be a distance above 0")
        self.iterations, self.tolerance, self.smoothing = iterations, tolerance, smoothing

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`: fewer than half of the rows."""
        return (rows - 1) // 2

    def bears(self, rows: int) -> int:
        """See :meth:`Aggregator.bears`: fewer than half of the rows."""
        return self.most(rows)

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        first_GM = stack.rows_nGM[0]
        apart_nGM = stack.rows_nGM - first_GM
        gram_nnG, near_nG = _products(apart_nGM)
        weight_nG = torch.as_tensor(self._weights(gram_nnG, near_nG)).to(first_GM)
        out_GM = first_GM.clone()
        for row_GM, weight_G in zip(apart_nGM[1:], weight_nG[1:], strict=True):
            out_GM += row_GM.mul_(weight_G.unsqueeze(1))
        return out_GM

    def _weights(self, gram_nnG: Floats, near_nG: Floats) -> Floats:
        """The weights of the rows in the geometric median, ``[n, G]``."""
        # the start has to be near the honest rows: a row counts little if more than half of the
        # rows are far from it
        length_nG = np.stack([row[a] for a, row in enumerate(gram_nnG)])
        apart_nnG = length_nG[:, None] + length_nG[None] - 2 * gram_nnG
        far_nG = np.sqrt(np.maximum(np.sort(apart_nnG, axis=0)[len(apart_nnG) // 2], 0))
        weight_nG = _shares(near_nG / np.maximum(far_nG, self.smoothing))
        active_G = np.ones(weight_nG.shape[1], bool)
        for _ in range(self.iterations):
            toward_nG = ordered_sum(weight_nG[:, None] * gram_nnG)
            square_nG = length_nG - 2 * toward_nG + ordered_sum(weight_nG * toward_nG)
            distance_nG = np.sqrt(np.maximum(square_nG, 0))
            new_nG = _shares(near_nG / np.maximum(distance_nG, self.smoothing))
            change_G = np.abs(new_nG - weight_nG).max(0)
            weight_nG = np.where(active_G, new_nG, weight_nG)
            active_G &= change_G > self.tolerance
            if not active_G.any():
                break
        return weight_nG


def _products(apart_nGM: Tensor) -> tuple[Floats, Floats]:
    """The inner products of the n rows of G devices, ``[n, n, G]``, and 1 for the rows that are
    near enough for them, else 0, ``[n, G]``; the rows that are not become 0."""
    n, devices = apart_nGM.shape[:2]
    square_nG = row_sums(apart_nGM * apart_nGM)
    far_nG = ~np.isfinite(square_nG)
    if far_nG.any():
        apart_nGM.masked_fill_(torch.as_tensor(far_nG, device=apart_nGM.device)[..., None], 0)
    gram_nnG = np.zeros((n, n, devices))
    for a in range(1, n):
        gram_nnG[a, a] = np.where(far_nG[a], 0, square_nG[a])
        if a + 1 < n:
            product = row_sums(apart_nGM[a + 1 :] * apart_nGM[a])
            gram_nnG[a, a + 1 :] = gram_nnG[a + 1 :, a] = product
    return gram_nnG, np.where(far_nG, 0.0, 1.0)


def _shares(value_nG: Floats) -> Floats:
    return value_nG / ordered_sum(value_nG)
