"""Free riders: devices that take the models of others and learn nothing themselves.

Lin, Du & Liu, *Free-riders in federated learning: attacks and defenses*, 2019 (arXiv 1911.12560).
"""

from __future__ import annotations

from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import Attacking, MessageAttack, Placement
from swarm.communication.attack.gaussian import noise


class FreeRider(MessageAttack):
    """The device takes no local steps, and sends what it received, v ← v + σ · z, where σ is
    ``std``; noise makes it look as if it had learned."""

    learns = False

    def __init__(
        self,
        std: float = 0.0,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set σ; raises :class:`ConfigError` unless it is at least 0."""
        super().__init__(devices, placement)
        if not std >= 0:
            raise ConfigError("std", std, "must be a standard deviation ≥ 0")
        self.std = std

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        return rows_nM + noise(rows_nM, attacking, self.std) if self.std else rows_nM
