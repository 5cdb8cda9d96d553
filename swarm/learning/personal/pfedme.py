"""pFedMe, personalisation by Moreau envelopes (Dinh, Tran & Nguyen, NeurIPS 2020, arXiv
2006.08848)."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.gradient_correction import GradientCorrection
from swarm.learning.kernels.kernel import Views
from swarm.learning.learner import PredictionScores
from swarm.learning.personal.base import MODEL, LocalSteps, Personal, joined


class PFedMe(Personal):
    """The shared model w descends on each device's Moreau envelope min_θ F(θ) + (λ/2)‖θ − w‖²,
    whose gradient is λ(w − θ). A local step solves for θ on its mini-batch, and then moves w:

        θ ← θ − η(∇F(θ) + λ(θ − w)), ``inner`` times;      w ← w − ``step`` · (w − θ).

    θ is the device's own model, and starts from where the last step left it. ``strength`` is λ, and
    ``step`` is what the paper calls ηλ of the local model. Steps diverge unless the learning rate
    times λ is below 2. Training losses and scores before learning are those of θ.

    Raises :class:`ConfigError` unless ``strength`` > 0, ``inner`` ≥ 1 and 0 < ``step`` ≤ 1.
    """

    plain_sgd = True
    by_number = True
    replaces = True

    def __init__(self, strength: float = 1.0, inner: int = 3, step: float = 0.5) -> None:
        if not 0 < strength < float("inf"):
            raise ConfigError("strength", strength, "must be a positive number")
        if inner < 1:
            raise ConfigError("inner", inner, "must be a number of steps ≥ 1")
        if not 0 < step <= 1:
            raise ConfigError("step", step, "must be above 0 and at most 1")
        self.strength, self.inner, self.step = strength, inner, step
        self.proximal = strength

    def init(self, x_NP: Tensor, optimizer: tuple[str, ...]) -> dict[str, Tensor]:
        """See :meth:`Personal.init`."""
        return {MODEL: x_NP.clone()}

    def work(self, round: int, rounds: int) -> float:
        """See :meth:`Personal.work`."""
        return float(self.inner)

    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: Views
    ) -> tuple[Tensor, PredictionScores]:
        """See :meth:`Personal.learn`."""
        own_BP, scores = kept[MODEL].clone(), []
        for k in range(steps.count):
            drawn = GradientCorrection(None, self.strength, x_BP)
            for inner in range(self.inner):
                own_BP, found = steps.take(own_BP, {}, drawn, k)
                if not inner:
                    scores.append(found)
            x_BP = torch.where(steps.active_B1(k), torch.lerp(x_BP, own_BP, self.step), x_BP)
        kept[MODEL].copy_(own_BP)
        return x_BP, joined(scores, steps.batch)

    def model(self, x_BP: Tensor, kept: Views) -> Tensor:
        """See :meth:`Personal.model`."""
        return kept[MODEL]
