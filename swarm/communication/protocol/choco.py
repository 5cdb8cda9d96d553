"""CHOCO: gossip that reaches the exact mean although every message is compressed; with learning it
is CHOCO-SGD.

Koloskova, Stich & Jaggi, *Decentralized stochastic optimization and gossip algorithms with
compressed communication*, ICML 2019 (arXiv 1902.00340). This is the form of their appendix, in
which a device keeps two rows, however many neighbours it has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import Links, Protocol, Requirements, State


class ChocoSGD(Protocol):
    """CHOCO-SGD. After the local steps: q_i = Q(x_i − x̂_i); x̂_i ← x̂_i + q_i; x_i ← x_i + γ_c Σ_j
    w_ij (x̂_j − x̂_i).

    Q is the compressor, and x̂ (``public``) is what the others know of a device. Of its
    neighbours' x̂ a device keeps only the sum s = Σ_j w_ij x̂_j (``heard``), which it updates by
    s ← s + Wq. This is right as long as W stays the same and every message arrives. ``gamma`` is
    γ_c, the consensus step size: 1 without compression, which is D-PSGD, and smaller for stronger
    compression. Raises :class:`ConfigError` unless 0 < γ_c ≤ 1.
    """

    requirements = Requirements(
        conserves="both",
        fixed_links=True,
        own_packet=True,
        own_error_feedback=True,
        linear_mixing=True,
    )

    def __init__(self, gamma: float = 0.2) -> None:
        if not 0 < gamma <= 1:
            raise ConfigError("gamma", gamma, "must be a consensus step in (0, 1]")
        self.gamma = gamma

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"public": torch.zeros_like(x_NP), "heard": torch.zeros_like(x_NP)}

    def send(self, phase: int, state: State) -> Tensor:
        return state.x - state.slots["public"]

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        public = state.slots["public"].add_(state.round_buffers["sent"])
        heard = state.slots["heard"].add_(received)
        state.x = state.x + self.gamma * (heard - public)


class ChocoGossip(ChocoSGD):
    """CHOCO without learning: all rows converge to the mean of the initial rows."""

    phases = ("mix",)
