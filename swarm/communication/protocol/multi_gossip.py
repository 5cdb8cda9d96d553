"""D-PSGD with several steps of averaging a round."""

from __future__ import annotations

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import PhaseName, Protocol, Requirements


class MultiGossip(Protocol):
    """X⁺ = W^K (X − γG(X)): after its local steps a device averages K = ``steps`` times with its
    neighbours. The more steps, the nearer is W^K to the mean over all devices; ``steps=1`` is
    D-PSGD.

    With ``privacy=device_level`` this is Muffliato-GD without acceleration: noise is added once a
    round, before the averaging (Cyffers, Even, Bellet & Massoulié, *Muffliato: peer-to-peer privacy
    amplification for decentralized optimization and averaging*, NeurIPS 2022, arXiv 2206.05091).

    Raises :class:`ConfigError` unless ``steps`` is from 1 to 100.
    """

    requirements = Requirements(equal_models=False)

    def __init__(self, steps: int = 4) -> None:
        if not 1 <= steps <= 100:
            raise ConfigError("steps", steps, "must be from 1 to 100 steps of averaging a round")
        self.steps = steps
        self.phases: tuple[PhaseName, ...] = ("learn", *["mix"] * steps)
