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
from swarm.common.rows import BlockParameters
from swarm.learning.cohorts.runs import Runs, taken
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


@dataclass(frozen=True)
class _RowsOfCohort:
    """The parameters of m devices of one cohort in union rows: ``row_m`` has the numbers of their
    rows, and ``slots`` the places of the numbers of each parameter."""

    x_NP: Tensor
    row_m: Tensor
    slots: Sequence[Runs]

    def load(self, x: BlockParameters) -> None:
        """See :class:`RowsOfBlock`."""
        for runs, part in zip(self.slots, x.flat, strict=True):
            runs.read(self.x_NP, self.row_m, part)

    def put(self, x: BlockParameters) -> None:
        """See :class:`RowsOfBlock`."""
        for runs, part in zip(self.slots, x.flat, strict=True):
            runs.put_(self.x_NP, self.row_m, part)


class MixedLearner(Learner):
    """Takes the local steps of a block: those of each cohort together, on rows of its own width.

    The shapes of the arithmetic depend on the block and on which of its devices learn, as they do
    in a swarm of one shape. A row ``[P]`` is the union row; numbers that a device does not have
    stay 0.

    ``learners`` has one learner for each cohort, ``place_Cc`` where the numbers of each cohort's
    row lie in the union row, and ``cohort_N`` the cohort of each device. ``lead`` is the cohort
    whose kernel stands for all where one is asked for.
    """

    by_device = in_place = True

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
        self.runs_C = [Runs.of(place) for place in place_Cc]
        self._slots_Cs = [
            [Runs.of(place[slot.start : slot.stop]) for slot in learner.kernel.layout.slots]
            for place, learner in zip(place_Cc, learners, strict=True)
        ]
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
            learner, runs = self.learners[piece.cohort], self.runs_C[piece.cohort]
            part = batch.of(piece.place_m)
            scores = learner.score_only(runs.taken(x_BP, piece.place_m), part)
            found.append((piece, scores))
        return _joined(found, len(x_BP))

    def train_(
        self,
        x_NP: Tensor,
        slots: Views,
        row_B: Tensor,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None = None,
    ) -> PredictionScores:
        """See :meth:`Learner.train_`."""
        found = []
        for piece in self._pieces(batch, x_NP):
            learner, runs = self.learners[piece.cohort], self.runs_C[piece.cohort]
            part, at_m = batch.of(piece.place_m), row_B[piece.place_m]
            if part.noise:  # so that no two cohorts draw the same
                part = replace(part, noise=derive(part.noise, "cohort", piece.cohort))
            rate = lr[piece.place_m] if isinstance(lr, Tensor) and len(lr) > 1 else lr
            if learner.plain and correction is None:
                rows = _RowsOfCohort(x_NP, at_m, self._slots_Cs[piece.cohort])
                found.append((piece, learner.descend_(rows, part, rate)))
                continue
            own = {name: runs.taken(values, at_m) for name, values in slots.items()}
            cut = None if correction is None else self._cut(correction, piece)
            learnt_mc, scores = learner.train(runs.taken(x_NP, at_m), own, part, rate, cut)
            runs.put_(x_NP, at_m, learnt_mc)
            for name, values in own.items():
                runs.put_(slots[name], at_m, values)
            found.append((piece, scores))
        return _joined(found, len(row_B))

    def _train(
        self,
        x_BP: Tensor,
        slots: Views,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None = None,
    ) -> tuple[Tensor, PredictionScores]:
        learnt_BP = x_BP.clone(memory_format=torch.contiguous_format)
        row_B = torch.arange(len(x_BP), device=x_BP.device)
        return learnt_BP, self.train_(learnt_BP, slots, row_B, batch, lr, correction)

    def _pieces(self, batch: Batch, x_BP: Tensor) -> Iterator[Piece]:
        assert batch.device is not None, "the loader gives the ids of devices by `by_device`"
        return pieces(self.cohort_N[batch.device], x_BP.device)

    def _cut(self, correction: GradientCorrection, piece: Piece) -> GradientCorrection:
        """The correction for the devices of one cohort, which is about the numbers that they
        send."""
        sent = self.place_Cc[piece.cohort][: self.learners[piece.cohort].kernel.layout.sent.width]

        def cut(rows_BM: Tensor | None) -> Tensor | None:
            return None if rows_BM is None else taken(rows_BM, piece.place_m, sent)

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
