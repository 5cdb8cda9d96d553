"""Ditto (Li, Hu, Beirami & Smith, ICML 2021, arXiv 2012.04221)."""

from __future__ import annotations

from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.common.ranges import number
from swarm.learning.kernels.kernel import Views
from swarm.learning.learner import PredictionScores
from swarm.learning.personal.base import MODEL, LocalSteps, Personal, own_model, own_slots


class Ditto(Personal):
    """A personal model v learns from the same mini-batches as the shared model w, and is drawn to
    where w stood before the round's local steps:

        v ← v − η(∇F(v) + λ(v − w)).

    w never hears of v, so its numbers are those of a run without. λ = 0 is learning alone; the
    larger λ, the closer v follows w. Steps diverge unless ηλ < 2. What is not shared is drawn to
    nothing. ``strength`` is λ.

    Raises :class:`~swarm.common.errors.ConfigError` unless ``strength`` is a finite number ≥ 0.
    """

    by_number = True

    def __init__(self, strength: float = 0.1) -> None:
        number("strength", strength, 0)
        self.strength = self.proximal = strength

    def init(self, x_NP: Tensor, optimizer: tuple[str, ...]) -> dict[str, Tensor]:
        """See :meth:`Personal.init`."""
        return own_model(x_NP, optimizer)

    def work(self, round: int, rounds: int) -> float:
        """See :meth:`Personal.work`."""
        return 2.0

    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: Views
    ) -> tuple[Tensor, PredictionScores]:
        """See :meth:`Personal.learn`."""
        drawn = GradientCorrection(None, self.strength, x_BP) if self.strength else None
        own_BP, _ = steps.take(kept[MODEL], own_slots(kept), drawn)
        kept[MODEL].copy_(own_BP)
        return steps.shared(x_BP)

    def model(self, x_BP: Tensor, kept: Views) -> Tensor:
        """See :meth:`Personal.model`."""
        return kept[MODEL]
