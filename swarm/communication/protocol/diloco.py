"""DiLoCo: many local steps, then one step of an outer optimiser with Nesterov's momentum.

Douillard et al., *DiLoCo: Distributed low-communication training of language models*, 2023 (arXiv
2311.08105).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import Links
from swarm.communication.protocol.server_optimizer import ServerOptimizer


class DiLoCo(ServerOptimizer):
    """DiLoCo: after H = ``train.local_steps`` inner steps from x, Δ = mean − x is the negative
    outer gradient:

        v ← μv + Δ,   x ← x + lr · (Δ + μv).

    ``exchange`` says which mean: ``server`` takes that of all devices; ``gossip`` takes that of the
    neighbours by the mixing weights, and each device has its own outer model. With lr = 1 and μ = 0
    it is FedAvg, or D-PSGD with gossip.

    Raises :class:`ConfigError` unless ``lr`` > 0 and 0 ≤ μ < 1.
    """

    def __init__(
        self,
        lr: float = 0.7,
        momentum: float = 0.9,
        exchange: Literal["server", "gossip"] = "server",
    ) -> None:
        super().__init__()
        if lr <= 0:
            raise ConfigError("lr", lr, "must be a positive number")
        if not 0 <= momentum < 1:
            raise ConfigError("momentum", momentum, "must lie in [0, 1)")
        self.lr, self.momentum = lr, momentum
        self.phases = ("learn", "server" if exchange == "server" else "mix")
        self.requirements = replace(self.requirements, common_init=exchange == "server")

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"velocity": torch.zeros_like(x_NP)}

    def step(self, slots: dict[str, Tensor], delta_NP: Tensor) -> Tensor:
        slots["velocity"] = v = self.momentum * slots["velocity"] + delta_NP
        return self.lr * (delta_NP + self.momentum * v)
