"""APFL, adaptive personalised federated learning (Deng, Kamani & Mahdavi, arXiv 2003.13461)."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.learning.kernels.kernel import Views
from swarm.learning.learner import PredictionScores
from swarm.learning.personal.base import MODEL, LocalSteps, Personal, joined

ALPHA = "alpha"


class APFL(Personal):
    """A device answers with the mixture m = αv + (1 − α)w of a model v of its own and the shared
    model w. In each local step, on the same mini-batch,

        w ← w − η∇F(w),      v ← v − ηα∇F(m),      α ← α − η⟨v − w, ∇F(m)⟩, clipped to [0, 1],

    where everything on the right is as it was before the step. w never hears of v. ``alpha`` is the
    α at the start, and without ``adapt`` it stays: at α = 0 the mixture is the shared model, at
    α = 1 a model that learns alone.

    Raises :class:`ConfigError` for an ``alpha`` outside [0, 1].
    """

    plain_sgd = True
    by_number = True
    no_statistics = True

    def __init__(self, alpha: float = 0.5, adapt: bool = True) -> None:
        if not 0 <= alpha <= 1:
            raise ConfigError("alpha", alpha, "must lie in [0, 1]")
        self.alpha, self.adapt = alpha, adapt

    def init(self, x_NP: Tensor, optimizer: tuple[str, ...]) -> dict[str, Tensor]:
        """See :meth:`Personal.init`."""
        return {MODEL: x_NP.clone(), ALPHA: x_NP.new_full((len(x_NP), 1), self.alpha)}

    def work(self, round: int, rounds: int) -> float:
        """See :meth:`Personal.work`."""
        return 2.0

    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: Views
    ) -> tuple[Tensor, PredictionScores]:
        """See :meth:`Personal.learn`."""
        own_BP, alpha_B1, scores = kept[MODEL], kept[ALPHA], []
        for k in range(steps.count):
            mixed_BP = torch.lerp(x_BP, own_BP, alpha_B1)
            moved_BP = steps.take(mixed_BP, {}, None, k)[0] - mixed_BP  # −η∇F(m)
            toward_B1 = ((own_BP - x_BP) * moved_BP).sum(1, keepdim=True)
            x_BP, found = steps.shared(x_BP, k)
            scores.append(found)
            own_BP.addcmul_(alpha_B1, moved_BP)
            if self.adapt:
                alpha_B1.add_(toward_B1).clamp_(0.0, 1.0)
        return x_BP, joined(scores, steps.batch)

    def model(self, x_BP: Tensor, kept: Views) -> Tensor:
        """See :meth:`Personal.model`."""
        return torch.lerp(x_BP, kept[MODEL], kept[ALPHA])
