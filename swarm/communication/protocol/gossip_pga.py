"""Gossip-PGA: averaging with the neighbours, and at times over all devices.

Chen, Yuan, Zhang, Pan, Xu & Yin, *Accelerating gossip SGD with periodic global averaging*, ICML
2021 (arXiv 2105.09080).
"""

from __future__ import annotations

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import PhaseName, Protocol, Requirements


class GossipPGA(Protocol):
    """Y = X − γG(X); then X⁺ = (1/N)·11ᵀY in every round that ``every`` divides, else X⁺ = WY.

    With ``every=1`` this is FedAvg with all devices. Raises :class:`ConfigError` unless ``every``
    is at least 1.
    """

    phases: tuple[PhaseName, ...] = ("learn", "mix", "server")
    requirements = Requirements(equal_models=False)

    def __init__(self, every: int = 8) -> None:
        if every < 1:
            raise ConfigError("every", every, "must be at least 1: rounds from mean to mean")
        self.every = every

    def plays(self, phase: int, round: int) -> bool:
        over_all = round % self.every == 0
        return over_all == (self.phases[phase] == "server")
