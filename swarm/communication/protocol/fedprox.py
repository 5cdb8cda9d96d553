"""FedProx: federated averaging with a proximal term, which keeps devices near the server's model.

Li et al., *Federated optimization in heterogeneous networks*, MLSys 2020 (arXiv 1812.06127).
"""

from __future__ import annotations

from typing import Literal

from swarm.common.errors import ConfigError
from swarm.common.gradient_correction import GradientCorrection
from swarm.communication.protocol.base import State
from swarm.communication.protocol.fedavg import FedAvg


class FedProx(FedAvg):
    """FedProx: each device minimises F_i(x) + (μ/2)‖x − x_server‖² in its local steps; then follows
    the mean. With μ = 0 it is :class:`FedAvg`. Raises :class:`ConfigError` unless μ ≥ 0.
    """

    def __init__(
        self, mu: float = 0.1, shares: Literal["equal", "samples"] = "equal", fraction: float = 1.0
    ) -> None:
        super().__init__(shares, fraction)
        if mu < 0:
            raise ConfigError("mu", mu, "must be a number ≥ 0")
        self.mu = mu

    def gradient_correction(self, state: State) -> GradientCorrection | None:
        return GradientCorrection(proximal=self.mu) if self.mu else None
