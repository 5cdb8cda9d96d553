"""A plug-in for the tests: the shared model's local steps, taken one by one."""

from __future__ import annotations

from torch import Tensor

from swarm.learning.learner import PredictionScores
from swarm.learning.personal.base import LocalSteps, Personal, joined


class Stepwise(Personal):
    """Comes to what all steps at once come to."""

    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: dict[str, Tensor]
    ) -> tuple[Tensor, PredictionScores]:
        scores = []
        for k in range(steps.count):
            x_BP, found = steps.shared(x_BP, k)
            scores.append(found)
        return x_BP, joined(scores, steps.batch)
