"""Federated model distillation: devices exchange predictions on a shared unlabelled set, and no
parameter.

Li, Wang, *FedMD: Heterogenous federated learning via model distillation*, 2019 (arXiv 1910.03581).
"""

from __future__ import annotations

from typing import Literal

from swarm.communication.protocol.base import PhaseName, Protocol, Requirements
from swarm.communication.protocol.distillation import Distillation


class FedMD(Protocol):
    """FedMD. After its local steps, device i predicts the S shared samples of a round, and takes
    ``steps`` steps of gradient descent towards the mean of its own and its neighbours' predictions,

        z̄_i = Σ_j W_ij · z_j,   x_i ← x_i − lr · ∇ T² · H(softmax(z̄_i / T), softmax(z_i / T)),

    where H is the cross-entropy and T the temperature. The factor T² keeps gradients of one size
    whatever T is (Hinton, Vinyals, Dean 2015, arXiv 1503.02531). With ``send=probabilities`` the
    mean is one of probabilities, as in DS-FL (Itahara et al. 2020, arXiv 2008.06180). Numeric
    targets are distilled by their mean squared error.

    The mean is taken over the links of the topology; with ``server`` a server takes it over all
    devices, as in the paper. There devices first learn from the shared set with its labels; here
    nobody reads these labels. Only a device that is active in a round, and that has heard another,
    takes the steps. Devices may have models of any architectures (``cohorts``). Raises
    :class:`~swarm.common.errors.ConfigError` for numbers out of range.
    """

    requirements = Requirements(equal_models=False)
    sends_parameters = False

    def __init__(
        self,
        send: Literal["logits", "probabilities"] = "logits",
        samples: int | None = None,
        draw: Literal["once", "every_round"] = "once",
        temperature: float = 1.0,
        steps: int = 20,
        batch: int = 32,
        lr: float | None = None,
        server: bool = False,
    ) -> None:
        self.phases: tuple[PhaseName, ...] = (
            "learn",
            "server_predictions" if server else "predictions",
        )
        self.distillation = Distillation(send, samples, draw, temperature, steps, batch, lr)

    def sends_models(self) -> bool:
        return False
