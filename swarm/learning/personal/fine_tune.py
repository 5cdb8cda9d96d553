"""Local fine-tuning: a copy of the shared model learns alone at the end."""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.learning.kernels.kernel import Views
from swarm.learning.learner import PredictionScores
from swarm.learning.personal.base import MODEL, LocalSteps, Personal, own_model, own_slots

TUNED = "tuned"


class FineTune(Personal):
    """In the last ``fraction`` of the rounds (at least one) each device has a copy of the shared
    model, as it stood before them, and learns on with it alone. The shared model goes on as
    without. Until then, and for a device that took no step since, the shared model is the
    device's own.

    Raises :class:`ConfigError` unless 0 < ``fraction`` ≤ 1.
    """

    def __init__(self, fraction: float = 0.1) -> None:
        if not 0 < fraction <= 1:
            raise ConfigError("fraction", fraction, "must be above 0 and at most 1")
        self.fraction = fraction

    def init(self, x_NP: Tensor, optimizer: tuple[str, ...]) -> dict[str, Tensor]:
        """See :meth:`Personal.init`."""
        return {**own_model(x_NP, optimizer), TUNED: x_NP.new_zeros(len(x_NP), 1)}

    def _tunes(self, round: int, rounds: int) -> bool:
        return round > rounds - max(1, round_half_up(self.fraction * rounds))

    def work(self, round: int, rounds: int) -> float:
        """See :meth:`Personal.work`."""
        return 2.0 if self._tunes(round, rounds) else 1.0

    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: Views
    ) -> tuple[Tensor, PredictionScores]:
        """See :meth:`Personal.learn`."""
        if not self._tunes(steps.round, steps.rounds):
            kept[TUNED].zero_()  # more rounds may have been added to a run since
            return steps.shared(x_BP)
        slots, began_B1 = own_slots(kept), kept[TUNED] > 0
        for name, rows in slots.items():
            rows.copy_(torch.where(began_B1, rows, steps.slots[name]))
        own_BP, _ = steps.take(torch.where(began_B1, kept[MODEL], x_BP), slots)
        kept[MODEL].copy_(own_BP)
        kept[TUNED].fill_(1.0)
        return steps.shared(x_BP)

    def model(self, x_BP: Tensor, kept: Views) -> Tensor:
        """See :meth:`Personal.model`."""
        return torch.where(kept[TUNED] > 0, kept[MODEL], x_BP)


def round_half_up(value: float) -> int:
    """The whole number closest to ``value`` ≥ 0, the larger of two."""
    return int(value + 0.5)
