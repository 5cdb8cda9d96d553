"""Hostile devices that send zeros."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.communication.attack.base import Attacking, MessageAttack


class Zero(MessageAttack):
    """v ← zeros in every number."""

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        return torch.full_like(rows_nM, 0.0)
