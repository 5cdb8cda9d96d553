"""Local fine-tuning: a copy of the shared model learns alone at the end."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.ranges import share_of
from swarm.learning.kernels.kernel import Views
from swarm.learning.learner import PredictionScores
from swarm.learning.personal.base import MODEL, LocalSteps, Personal, own_model, own_slots

TUNED = "tuned"
"""The round in which a device made its copy; 0: it has none."""


class FineTune(Personal):
    """In the last ``fraction`` of the rounds (at least one) each device has a copy of the shared
    model, as it stood before them, and learns on with it alone. The shared model goes on as
    without. Until then, and for a device that took no step since, the shared model is the
    device's own. A copy that a run made in its last rounds is forgotten where these are no longer
    the last ones, as more rounds were added.

    Raises :class:`ConfigError` unless 0 < ``fraction`` ≤ 1.
    """

    by_number = True

    def __init__(self, fraction: float = 0.1) -> None:
        if not 0 < fraction <= 1:
            raise ConfigError("fraction", fraction, "must be above 0 and at most 1")
        self.fraction = fraction

    def init(self, x_NP: Tensor, optimizer: tuple[str, ...]) -> dict[str, Tensor]:
        """See :meth:`Personal.init`."""
        nothing = own_model(torch.zeros_like(x_NP), optimizer)
        return {**nothing, TUNED: x_NP.new_zeros(len(x_NP), 1)}

    def _first(self, rounds: int) -> int:
        """The first round in which devices tune."""
        return rounds - share_of(self.fraction, rounds) + 1

    def resumed(self, kept: dict[str, Tensor], rounds: int) -> None:
        """See :meth:`Personal.resumed`."""
        stale_N1 = (kept[TUNED] > 0) & (kept[TUNED] < self._first(rounds))
        if stale_N1.any():
            for name, rows in kept.items():
                kept[name] = rows.masked_fill(stale_N1, 0.0)

    def work(self, round: int, rounds: int) -> float:
        """See :meth:`Personal.work`."""
        return 2.0 if round >= self._first(rounds) else 1.0

    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: Views
    ) -> tuple[Tensor, PredictionScores]:
        """See :meth:`Personal.learn`."""
        if steps.round < self._first(steps.rounds):
            return steps.shared(x_BP)
        slots, began_B1 = own_slots(kept), kept[TUNED] > 0
        for name, rows in slots.items():
            rows.copy_(torch.where(began_B1, rows, steps.slots[name]))
        own_BP, _ = steps.take(torch.where(began_B1, kept[MODEL], x_BP), slots)
        kept[MODEL].copy_(own_BP)
        kept[TUNED].masked_fill_(~began_B1, steps.round)
        return steps.shared(x_BP)

    def model(self, x_BP: Tensor, kept: Views) -> Tensor:
        """See :meth:`Personal.model`."""
        return torch.where(kept[TUNED] > 0, kept[MODEL], x_BP)
