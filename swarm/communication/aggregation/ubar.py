"""UBAR: neighbours are chosen by their distance, and then by what their models do.

Guo, Zhang, Yu, Xie, Ma, Xiang & Liu, *Byzantine-resilient decentralized stochastic gradient
descent*, IEEE TCSVT 2022 (arXiv 2002.08569).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.robust import RobustRule, Unsafe
from swarm.communication.aggregation.stack import Floats, Stack, smallest, squared_lengths


class Ubar(RobustRule):
    """x_i ← α x_i + (1 − α) · mean of the chosen x_j.

    Of the neighbours, all but the f farthest are candidates. Those are chosen whose loss on the
    device's own validation samples is at most that of its own model; if there are none, the
    candidate with the lowest loss. In the paper f is a share of the neighbours, and the loss that
    of the next mini-batch.
    """

    own_validation = True
    weighs = False

    def __init__(self, f: float = 1, alpha: float = 0.5, unsafe: Unsafe = "refuse") -> None:
        """Set α, the weight of the own model; raises :class:`ConfigError` unless 0 < α < 1. See
        :class:`RobustRule` for the others.
        """
        super().__init__(f, unsafe)
        if not 0 < alpha < 1:
            raise ConfigError("alpha", alpha, "must lie between 0 and 1, both excluded")
        self.alpha = alpha

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`: one neighbour has to be honest."""
        return rows - 2

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        assert stack.loss_nG is not None, "it is asked for by own_validation"
        if stack.n == 1:
            return stack.own_GM
        weight_nG = np.zeros_like(stack.loss_nG)
        apart_nGM = stack.rows_nGM - stack.own_GM
        square_nG = squared_lengths(apart_nGM)
        weight_nG[1:] = self._chosen(square_nG[1:], stack.loss_nG, stack.f)
        weight_nG *= (1 - self.alpha) / weight_nG.sum(0)
        return stack.toward(stack.own_GM, apart_nGM, weight_nG)

    def _chosen(self, square_KG: Floats, loss_nG: Floats, f: int) -> Floats:
        """1 for the neighbours whose mean is taken, else 0, ``[K, G]``."""
        near_KG = np.zeros(square_KG.shape, bool)
        np.put_along_axis(near_KG, smallest(square_KG, len(square_KG) - f), True, 0)
        good_KG = near_KG & (loss_nG[1:] <= loss_nG[0])
        best_1G = smallest(np.where(near_KG, loss_nG[1:], np.inf), 1)
        found_KG: Floats = good_KG.astype(np.float64)
        alone_G = ~good_KG.any(0)
        found_KG[best_1G[0, alone_G], np.flatnonzero(alone_G)] = 1.0
        return found_KG
