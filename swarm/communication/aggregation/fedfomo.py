"""FedFomo's weights: a device moves towards those neighbours whose models do better than its own on
its own samples.

Zhang, Sapra, Fidler, Yeung, Alvarez, *Personalized federated learning with first order model
optimization*, ICLR 2021 (arXiv 2012.08565).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.robust import StackRule
from swarm.communication.aggregation.stack import Floats, Stack, ordered_sum, squared_lengths


class FedFomo(StackRule):
    """x_i ← x_i + s Σ_j w_j (x_j − x_i), with w_j ∝ W_ij · max(0, (L_i − L_j) / ‖x_j − x_i‖) and
    Σ_j w_j = 1.

    L_j is the loss of the model x_j on the validation samples of device i, and s is ``step``. The
    weight is what one step towards x_j gains, to first order. A neighbour whose model does no
    better than the device's own gets nothing, and a device that no model would help keeps its own.

    In the paper a server sends each device the models of others, and the device's own new model is
    one of those that its old model moves towards, all the way (s = 1). Here the device moves from
    its new model, which it would lose with s = 1.
    """

    own_validation = True

    def __init__(self, step: float = 0.5) -> None:
        """Set the step s; raises :class:`ConfigError` unless it is above 0 and at most 1."""
        if not 0 < step <= 1:
            raise ConfigError("step", step, "must be a number above 0 and at most 1")
        self.step = step

    def bears(self, rows: int) -> int:
        """See :meth:`Aggregator.bears`: each neighbour is judged by itself."""
        return rows - 1

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        assert stack.loss_nG is not None, "it is asked for by own_validation"
        apart_nGM = stack.rows_nGM - stack.own_GM
        weight_nG = stack.weight_nG.double().cpu().numpy() * _gains(stack.loss_nG, apart_nGM)
        total_G = ordered_sum(weight_nG)
        share_nG = np.divide(
            self.step * weight_nG, total_G, out=np.zeros_like(weight_nG), where=total_G > 0
        )
        return stack.toward(stack.own_GM, apart_nGM, share_nG)


def _gains(loss_nG: Floats, apart_nGM: Tensor) -> Floats:
    """max(0, (L_i − L_j) / ‖x_j − x_i‖) of n rows of each device, of which the first is its own.

    A device without a loss of its own counts as the worst, so that any model helps it.
    """
    most = np.finfo(float).max
    gain_nG = np.minimum(loss_nG[0], most) - np.minimum(loss_nG, most)
    far_nG = np.sqrt(squared_lengths(apart_nGM))
    helps_nG = (gain_nG > 0) & (far_nG > 0) & np.isfinite(far_nG)
    found: Floats = np.divide(gain_nG, far_nG, out=np.zeros_like(gain_nG), where=helps_nG)
    return found
