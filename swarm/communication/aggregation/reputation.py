"""Reputation: a device listens to a neighbour the more, the better the neighbour's model does on
the device's own samples.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.robust import StackRule
from swarm.communication.aggregation.stack import Stack


class Reputation(StackRule):
    """x_i ← x_i + Σ_j W_ij r_j (x_j − x_i), where r_j = min(1, L_i / L_j)^γ.

    L_j is the loss of the model x_j on the validation samples of device i. A neighbour whose model
    does as well there as the device's own has its full weight W_ij, and one with twice the loss
    2^−γ of that; the rest of the weight stays with the device. It is worked out anew in every
    round, from the models of that round.
    """

    own_validation = True

    def __init__(self, power: float = 2.0) -> None:
        """Set the power γ; raises :class:`ConfigError` unless it is above 0."""
        if not power > 0:
            raise ConfigError("power", power, "must be a number above 0")
        self.power = power

    def bears(self, rows: int) -> int:
        """See :meth:`Aggregator.bears`: each neighbour is judged by itself."""
        return rows - 1

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        assert stack.loss_nG is not None, "it is asked for by own_validation"
        worse_nG = np.maximum(stack.loss_nG, np.finfo(float).tiny)
        own_G = np.minimum(worse_nG[0], np.finfo(float).max)  # a device without a loss believes all
        trust_nG = np.minimum(1.0, own_G / worse_nG) ** self.power
        weight_nG = stack.weight_nG.double().cpu().numpy() * trust_nG
        return stack.toward(stack.own_GM, stack.rows_nGM - stack.own_GM, weight_nG)
