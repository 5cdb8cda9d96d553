"""Clips messages to a bounded length."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.transform.base import MessageTransform, Sending


class Clip(MessageTransform):
    """Scale each row to an L2 norm of at most c = ``norm``: v ← v · min(1, c/‖v‖)."""

    def __init__(self, norm: float = 1.0) -> None:
        """Set the norm; raises :class:`ConfigError` unless it is above 0."""
        if not norm > 0:
            raise ConfigError("norm", norm, "must be a length above 0")
        self.norm = norm

    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        """See :meth:`MessageTransform.__call__`."""
        # row by row, so that the bits of a row do not depend on the others
        lengths = [torch.linalg.vector_norm(row_M) for row_M in rows_nM]
        if not lengths:
            return rows_nM
        return rows_nM * (self.norm / torch.stack(lengths).clamp_min(self.norm)).unsqueeze(1)
