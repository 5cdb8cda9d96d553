"""Reputation: a device listens to a neighbour the more, the better the neighbour's model does on
the device's own samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.robust import StackRule
from swarm.communication.aggregation.stack import Floats, Stack


class Reputation(StackRule):
    """x_i ← x_i + Σ_j W_ij r_j (x_j − x_i), where r_j = min(1, L_i / L_j)^γ.

    L_j is the loss of the model x_j on the validation samples of device i. A neighbour whose model
    does as well there as the device's own has its full weight W_ij, and one with twice the loss
    2^−γ of that; the rest of the weight stays with the device.

    With a ``memory`` m above 0 the device keeps a worth of each neighbour, r̄_j ← m r̄_j + (1 − m)
    r_j, which begins with the first r_j, and weights the neighbour by r̄_j. Without, it is judged
    anew in every round, by the model of that round.
    """

    own_validation = True

    def __init__(self, power: float = 2.0, memory: float = 0.0) -> None:
        """Set the power γ and the memory; raises :class:`ConfigError` unless the one is above 0,
        and the other from 0 to below 1."""
        if not power > 0:
            raise ConfigError("power", power, "must be a number above 0")
        if not 0 <= memory < 1:
            valid = "must be a number from 0, which is no memory, to below 1, which never learns"
            raise ConfigError("memory", memory, valid)
        self.power, self.memory = power, memory

    @property
    def has_memory(self) -> bool:
        """See :attr:`Aggregator.has_memory`."""
        return self.memory > 0

    def bears(self, rows: int) -> int:
        """See :meth:`Aggregator.bears`: each neighbour is judged by itself."""
        return rows - 1

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        assert stack.loss_nG is not None, "it is asked for by own_validation"
        worse_nG = np.maximum(stack.loss_nG, np.finfo(float).tiny)
        own_G = np.minimum(worse_nG[0], np.finfo(float).max)  # a device without a loss believes all
        trust_nG = np.minimum(1.0, own_G / worse_nG) ** self.power
        if stack.memory_GN is not None:
            trust_nG[1:] = self._remembered(stack, trust_nG[1:])
        weight_nG = stack.weight_nG.double().cpu().numpy() * trust_nG
        return stack.toward(stack.own_GM, stack.rows_nGM - stack.own_GM, weight_nG)

    def _remembered(self, stack: Stack, trust_KG: Floats) -> Floats:
        """The worth of K neighbours of each device with this round's, which is remembered.

        It is kept as 1 + worth, as 0 is a device that was never heard.
        """
        assert stack.sender_nG is not None
        assert stack.memory_GN is not None
        sender_GK = torch.as_tensor(stack.sender_nG[1:].T, device=stack.memory_GN.device)
        before_KG = stack.memory_GN.gather(1, sender_GK).double().cpu().numpy().T
        old_KG = np.where(before_KG > 0, before_KG - 1, trust_KG)
        worth_KG: Floats = self.memory * old_KG + (1 - self.memory) * trust_KG
        kept_GK = torch.as_tensor(1 + worth_KG.T).to(stack.memory_GN)
        stack.memory_GN.scatter_(1, sender_GK, kept_GK)
        return worth_KG
