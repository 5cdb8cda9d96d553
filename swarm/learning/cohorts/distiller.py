"""Distillation in a block whose devices have models of several shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.rng import derive
from swarm.learning.cohorts.learner import pieces
from swarm.learning.distillation import Distiller

Ints = npt.NDArray[np.int64]


class MixedDistiller(Distiller):
    """Predicts shared samples with B devices, and trains them on predictions: those of each cohort
    together, on rows of its own width. Messages have the same numbers for all of them, whatever
    their models are.

    Rows ``[B, P]`` are union rows, in which numbers that a device does not have stay 0.
    ``distillers`` has one for each cohort, ``place_Cc`` where the numbers of each cohort's row lie
    in the union row, and ``cohort_B`` the cohort of each device.
    """

    def __init__(
        self, distillers: Sequence[Distiller], place_Cc: Sequence[Tensor], cohort_B: Ints
    ) -> None:
        self.distillers, self.place_Cc, self.cohort_B = tuple(distillers), place_Cc, cohort_B
        first = self.distillers[0]
        super().__init__(first.kernel, first.loss, first.outputs, first.probabilities)

    def of(self, device_B: Ints) -> Distiller:
        """See :meth:`Distiller.of`."""
        return MixedDistiller(self.distillers, self.place_Cc, self.cohort_B[device_B])

    def messages(self, x_BP: Tensor, x_S: Tensor) -> Tensor:
        """See :meth:`Distiller.messages`."""
        parts = [
            (place_m, distiller.messages(x_BP[place_m[:, None], place], x_S))
            for _, distiller, place_m, place in self._pieces(x_BP)
        ]
        found_BM = x_BP.new_empty(len(x_BP), parts[0][1].shape[1])
        for place_m, rows in parts:
            found_BM[place_m] = rows
        return found_BM

    def learn(
        self,
        x_BP: Tensor,
        x_S: Tensor,
        received_BM: Tensor,
        order_Kb: Tensor,
        lr: float | Tensor,
        noise: int = 0,
    ) -> Tensor:
        """See :meth:`Distiller.learn`; no two cohorts draw the same noise."""
        learnt_BP = torch.zeros_like(x_BP)
        for cohort, distiller, place_m, place in self._pieces(x_BP):
            at = (place_m[:, None], place)
            rate = lr[place_m] if isinstance(lr, Tensor) and len(lr) > 1 else lr
            own = derive(noise, "cohort", cohort)
            learnt_BP[at] = distiller.learn(
                x_BP[at], x_S, received_BM[place_m], order_Kb, rate, own
            )
        return learnt_BP

    def _pieces(self, x_BP: Tensor) -> Iterator[tuple[int, Distiller, Tensor, Tensor]]:
        """Of each cohort that is there: its number, its distiller, the places of its devices, and
        those of its numbers in a row."""
        for piece in pieces(self.cohort_B, x_BP.device):
            number = piece.cohort
            yield number, self.distillers[number], piece.place_m, self.place_Cc[number]
