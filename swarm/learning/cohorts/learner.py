"""Local steps of a block whose devices have models of several shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.common.rng import derive
from swarm.learning.kernels.kernel import Scale, Views
from swarm.learning.learner import BENCHES_OF_COHORTS, Batch, Learner, PredictionScores

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Piece:
    """The devices of one cohort among some devices: the number of the cohort, and the places of the
    devices among these, ``[m]``."""

    cohort: int
    place_m: Tensor


def pieces(cohort_B: Ints, device: torch.device) -> Iterator[Piece]:
    """Yield the devices of each cohort among B devices, given their cohorts, in the order of
    cohorts."""
    for cohort in np.unique(cohort_B).tolist():
        place = np.flatnonzero(cohort_B == cohort)
        yield Piece(cohort, torch.as_tensor(place, device=device))


def taken(x_BP: Tensor, place_m: Tensor, place_c: Tensor) -> Tensor:
    """Return the numbers in the places ``place_c`` of the rows ``place_m``, ``[m, c]``; one choice
    after the other, which is five times as fast as both at once."""
    rows_mP = x_BP.index_select(0, place_m)
    return rows_mP if len(place_c) == x_BP.shape[1] else rows_mP.index_select(1, place_c)


def put_(x_BP: Tensor, place_m: Tensor, place_c: Tensor, values_mc: Tensor) -> None:
    """Write ``values_mc`` to where :func:`taken` reads; the rows must lie one behind the other."""
    if len(place_c) == x_BP.shape[1]:
        x_BP.index_copy_(0, place_m, values_mc)
        return
    at_mc = (place_m * x_BP.shape[1])[:, None] + place_c
    x_BP.view(-1).scatter_(0, at_mc.view(-1), values_mc.reshape(-1))


class MixedLearner(Learner):
    """Takes the local steps of a block: those of each cohort together, on rows of its own width.

    The shapes of the arithmetic depend on the block and on which of its devices learn, as they do
    in a swarm of one shape. A row ``[P]`` is the union row; numbers that a device does not have
    stay 0.

    ``learners`` has one learner for each cohort, ``place_Cc`` where the numbers of each cohort's
    row lie in the union row, and ``cohort_N`` the cohort of each device. ``lead`` is the cohort
    whose kernel stands for all where one is asked for.
    """

    by_device = True

    def __init__(
        self, learners: Sequence[Learner], place_Cc: Sequence[Tensor], cohort_N: Ints, lead: int
    ) -> None:
        first = learners[lead]
        super().__init__(
            first.kernel, first.loss, first.optimizer, first.outputs, first.clip, compiled=False
        )
        for learner in learners:
            learner.benches = BENCHES_OF_COHORTS
        self.learners, self.cohort_N, self.lead = tuple(learners), cohort_N, lead
        self.place_Cc = tuple(place_Cc)
        self.train = self._train

    @property
    def noisy(self) -> bool:
        """Whether the module of any cohort draws random numbers while it learns."""
        return any(learner.noisy for learner in self.learners)

    @property
    def each(self) -> Sequence[Learner]:
        """The learners of all cohorts."""
        return self.learners

    def uncompiled(self) -> Learner:
        """Return the same learner with memory of its own."""
        own = [learner.uncompiled() for learner in self.learners]
        return MixedLearner(own, self.place_Cc, self.cohort_N, self.lead)

    def score_only(self, x_BP: Tensor, batch: Batch) -> PredictionScores:
        """Predict the batch with the rows ``[B, P]`` and score the predictions; learn nothing."""
        found = []
        for piece in self._pieces(batch, x_BP):
            learner, place = self.learners[piece.cohort], self.place_Cc[piece.cohort]
            part = batch.of(piece.place_m)
            scores = learner.score_only(taken(x_BP, piece.place_m, place), part)
            found.append((piece, scores))
        return _joined(found, len(x_BP))

    def _train(
        self,
        x_BP: Tensor,
        slots: Views,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None = None,
    ) -> tuple[Tensor, PredictionScores]:
        learnt_BP, found = torch.zeros_like(x_BP), []
        for piece in self._pieces(batch, x_BP):
            learner, place = self.learners[piece.cohort], self.place_Cc[piece.cohort]
            part, at = batch.of(piece.place_m), (piece.place_m, place)
            if part.noise:  # so that no two cohorts draw the same
                part = replace(part, noise=derive(part.noise, "cohort", piece.cohort))
            own = {name: taken(rows, *at) for name, rows in slots.items()}
            rate = lr[piece.place_m] if isinstance(lr, Tensor) and len(lr) > 1 else lr
            cut = None if correction is None else self._cut(correction, piece)
            learnt_mc, scores = learner.train(taken(x_BP, *at), own, part, rate, cut)
            put_(learnt_BP, *at, learnt_mc)
            for name, rows in own.items():
                put_(slots[name], *at, rows)
            found.append((piece, scores))
        return learnt_BP, _joined(found, len(x_BP))

    def _pieces(self, batch: Batch, x_BP: Tensor) -> Iterator[Piece]:
        assert batch.device is not None, "the loader gives the ids of devices by `by_device`"
        return pieces(self.cohort_N[batch.device], x_BP.device)

    def _cut(self, correction: GradientCorrection, piece: Piece) -> GradientCorrection:
        """The correction for the devices of one cohort, which is about the numbers that they
        send."""
        place = self.place_Cc[piece.cohort]

        def cut(rows_BM: Tensor | None) -> Tensor | None:
            if rows_BM is None:
                return None
            sent = place[: self.learners[piece.cohort].kernel.layout.sent.width]
            return taken(rows_BM, piece.place_m, sent)

        return replace(
            correction, add_NP=cut(correction.add_NP), toward_NP=cut(correction.toward_NP)
        )


def _joined(found: Sequence[tuple[Piece, PredictionScores]], devices: int) -> PredictionScores:
    """The scores of all B devices, given those of each cohort."""
    like = found[0][1].loss_B
    loss_B, scored_B, score_B = (like.new_zeros(devices) for _ in range(3))
    met = False
    for piece, scores in found:
        loss_B[piece.place_m] = scores.loss_B
        if scores.scored_B is not None and scores.score_B is not None:
            met = True
            scored_B[piece.place_m], score_B[piece.place_m] = scores.scored_B, scores.score_B
    return PredictionScores(loss_B, scored_B, score_B) if met else PredictionScores(loss_B)
