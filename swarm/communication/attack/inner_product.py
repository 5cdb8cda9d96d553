"""Inner-product manipulation: hostile devices that send a multiple of the opposite of the honest
mean.

Xie, Koyejo & Gupta, *Fall of empires: breaking Byzantine-tolerant SGD by inner product
manipulation*, UAI 2019 (arXiv 1903.03936).
"""

from __future__ import annotations

from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import Attacking, MessageAttack, Placement


class InnerProduct(MessageAttack):
    """v ← −ε · μ, where μ is the mean of the rows that honest devices send."""

    colludes = True

    def __init__(
        self,
        epsilon: float = 0.5,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set ε; raises :class:`ConfigError` unless it is above 0."""
        super().__init__(devices, placement)
        if not epsilon > 0:
            raise ConfigError("epsilon", epsilon, "must be a factor above 0")
        self.epsilon = epsilon

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        assert attacking.known is not None
        row_M = -self.epsilon * attacking.known.mean_M
        return row_M.to(rows_nM).expand_as(rows_nM).clone()
