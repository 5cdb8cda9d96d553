"""Hostile devices that send noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import Attacking, MessageAttack, Placement
from swarm.communication.compression.row_blocks import row_blocks


class Gaussian(MessageAttack):
    """v ← σ · z, where σ is ``std`` and z is drawn from N(0, 1) for each device and round."""

    def __init__(
        self,
        std: float = 1.0,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set the standard deviation; raises :class:`ConfigError` unless it is above 0."""
        super().__init__(devices, placement)
        if not std > 0:
            raise ConfigError("std", std, "must be a standard deviation above 0")
        self.std = std

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        return noise(rows_nM, attacking, self.std)


def noise(rows_nM: Tensor, attacking: Attacking, std: float) -> Tensor:
    """Return Gaussian noise of the shape of ``rows_nM``."""
    found_nM = torch.empty_like(rows_nM)
    for some in row_blocks(rows_nM):  # the draws of all rows would take too much memory
        drawn = replace(attacking, device_n=attacking.device_n[some])
        found_nM[some] = std * torch.as_tensor(drawn.normal(rows_nM.shape[1])).to(rows_nM)
    return found_nM
