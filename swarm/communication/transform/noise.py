"""Adds Gaussian noise to messages."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.compression.row_blocks import row_blocks
from swarm.communication.transform.base import MessageTransform, Sending


class Noise(MessageTransform):
    """Add noise to each row, v ← v + σ · z, where σ is ``std`` and z is drawn from N(0, 1) for each
    device and round.
    """

    def __init__(self, std: float = 0.01) -> None:
        """Set the standard deviation; raises :class:`ConfigError` unless it is at least 0."""
        if not std >= 0:
            raise ConfigError("std", std, "must be a standard deviation ≥ 0")
        self.std = std

    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        """See :meth:`MessageTransform.__call__`."""
        found_nM = torch.empty_like(rows_nM)
        for some in row_blocks(rows_nM):  # the draws of all rows would take too much memory
            drawn = replace(sending, device_n=sending.device_n[some])
            noise = torch.as_tensor(drawn.normal(rows_nM.shape[1])).to(rows_nM)
            found_nM[some] = rows_nM[some] + self.std * noise
        return found_nM
