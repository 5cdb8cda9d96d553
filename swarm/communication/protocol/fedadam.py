"""FedAdam: federated averaging with Adam at the server.

Reddi et al., *Adaptive federated optimization*, ICLR 2021 (arXiv 2003.00295), algorithm 2.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import Links
from swarm.communication.protocol.server_optimizer import ServerOptimizer


class FedAdam(ServerOptimizer):
    """FedAdam: m ← β₁m + (1 − β₁)Δ, v ← β₂v + (1 − β₂)Δ², x ← x + lr · m / (√v + τ), with v = τ² at
    first and no bias correction.

    Raises :class:`ConfigError` unless ``lr`` and τ are above 0, and β₁ and β₂ in [0, 1).
    """

    def __init__(
        self,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.99,
        tau: float = 1e-3,
        shares: Literal["equal", "samples"] = "equal",
        fraction: float = 1.0,
    ) -> None:
        super().__init__(shares, fraction)
        for name, value in (("lr", lr), ("tau", tau)):
            if value <= 0:
                raise ConfigError(name, value, "must be a positive number")
        for name, value in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= value < 1:
                raise ConfigError(name, value, "must lie in [0, 1)")
        self.lr, self.beta1, self.beta2, self.tau = lr, beta1, beta2, tau

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"mean": torch.zeros_like(x_NP), "square": torch.full_like(x_NP, self.tau**2)}

    def step(self, slots: dict[str, Tensor], delta_NP: Tensor) -> Tensor:
        slots["mean"] = m = self.beta1 * slots["mean"] + (1 - self.beta1) * delta_NP
        slots["square"] = v = self.beta2 * slots["square"] + (1 - self.beta2) * delta_NP.square()
        return self.lr * m / (v.sqrt() + self.tau)
