"""Messages of a bounded length."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.transform.base import MessageTransform, Sending


class Clip(MessageTransform):
    """v ← v · min(1, c/‖v‖), where c is ``norm``."""

    def __init__(self, norm: float = 1.0) -> None:
        """Raises :class:`ConfigError` unless ``norm`` > 0."""
        if not norm > 0:
            raise ConfigError("norm", norm, "must be a length above 0")
        self.norm = norm

    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        """See :meth:`MessageTransform.__call__`."""
        # row by row: the same bits in any company
        lengths = [torch.linalg.vector_norm(row_M) for row_M in rows_nM]
        if not lengths:
            return rows_nM
        return rows_nM * (self.norm / torch.stack(lengths).clamp_min(self.norm)).unsqueeze(1)
