"""Federated averaging, the server-based baseline: in every round all devices take part, or some
that are drawn at random.

McMahan et al., *Communication-efficient learning of deep networks from decentralized data*, AISTATS
2017 (arXiv 1602.05629).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import share_of
from swarm.common.rng import Keys
from swarm.communication.protocol.base import PhaseName, Protocol, Requirements


class FedAvg(Protocol):
    """FedAvg: x ← Σ_{i∈S} s_i·x_i after the local steps of the devices in S, where s_i = 1/|S|, or
    is proportional to the number of samples of device i.

    S is a random set of max(1, ``fraction``·N) devices, rounded; all such sets are equally likely.
    With equal shares the mean over S is an unbiased estimate of the mean over all devices. Every
    device gets the new model, so every row is that of the server. Raises :class:`ConfigError`
    unless 0 < ``fraction`` ≤ 1.
    """

    phases: tuple[PhaseName, ...] = ("learn", "server")
    requirements = Requirements(equal_models=False)

    def __init__(
        self, shares: Literal["equal", "samples"] = "equal", fraction: float = 1.0
    ) -> None:
        if not 0 < fraction <= 1:
            raise ConfigError(
                "fraction",
                fraction,
                "must lie in (0, 1]: the share of the devices that take part in a round",
            )
        self.by_samples, self.fraction = shares == "samples", fraction

    def participants(self, round: int, devices: int, seed: int) -> npt.NDArray[np.bool_] | None:
        if self.fraction == 1:
            return None
        draw_N = Keys(seed, "fedavg.participants").uniform(np.arange(devices), round, 1)[:, 0]
        chosen = np.zeros(devices, bool)
        chosen[np.argsort(draw_N, kind="stable")[: share_of(self.fraction, devices)]] = True
        return chosen

    def shares(self, sizes_N: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return sizes_N / sizes_N.sum() if self.by_samples else super().shares(sizes_N)
