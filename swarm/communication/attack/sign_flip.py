"""Hostile devices that send the opposite of what they have learned."""

from __future__ import annotations

from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import Attacking, MessageAttack, Placement


class SignFlip(MessageAttack):
    """v ← −s · v, where s is ``scale``."""

    def __init__(
        self,
        scale: float = 1.0,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set the factor; raises :class:`ConfigError` unless it is above 0."""
        super().__init__(devices, placement)
        if not scale > 0:
            raise ConfigError("scale", scale, "must be a factor above 0")
        self.scale = scale

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        return rows_nM * -self.scale
