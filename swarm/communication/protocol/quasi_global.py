"""Quasi-global momentum: momentum of the change of the *averaged* model, for devices with different
data.

Lin, Karimireddy, Stich & Jaggi, *Quasi-global momentum: accelerating decentralized deep learning on
heterogeneous data*, ICML 2021 (arXiv 2102.04761), algorithm QG-DSGDm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.gradient_correction import GradientCorrection
from swarm.communication.protocol.base import Links, Protocol, Requirements, State


class QuasiGlobalMomentum(Protocol):
    """Quasi-global momentum: local steps x ← x − η(∇f + βm); X⁺ = WX; m ← μm + (1 − μ)(x_t −
    x_{t+1})/(ηK).

    η is the learning rate and K the number of local steps (1 in the paper), so that m has the size
    of a gradient. The protocol needs optimizer=sgd, whose steps are proportional to η. A device
    that did not learn in a round keeps its m. Raises :class:`ConfigError` unless β and μ lie in
    [0, 1).
    """

    requirements = Requirements(plain_sgd=True)

    def __init__(self, beta: float = 0.9, mu: float = 0.9) -> None:
        for name, value in (("beta", beta), ("mu", mu)):
            if not 0 <= value < 1:
                raise ConfigError(name, value, "must lie in [0, 1)")
        self.beta, self.mu = beta, mu

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"momentum": torch.zeros_like(x_NP)}

    def start(self, state: State) -> Tensor:
        state.round_buffers["before"] = state.x.clone()
        return state.x

    def gradient_correction(self, state: State) -> GradientCorrection:
        return GradientCorrection(self.beta * state.slots["momentum"])

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        m, now = state.slots["momentum"], state.now
        length_N1 = now.lr * torch.as_tensor(now.steps_n, device=m.device).to(m)[:, None]
        moved = (state.round_buffers["before"] - received) / length_N1
        state.slots["momentum"] = torch.where(length_N1 > 0, m.lerp(moved, 1 - self.mu), m)
        state.x = received
