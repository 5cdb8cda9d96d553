"""Evaluates the devices of a block that have models of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.learning.cohorts.learner import Piece
from swarm.simulation.evaluation import BlockEvaluation, BlockEvaluator, OwnSamples
from swarm.simulation.experiment.cohorts.cohorts import Cohorts

Ints = npt.NDArray[np.int64]


class MixedEvaluator(BlockEvaluator):
    """Evaluates the devices of each cohort of a block together, by its own one of ``evaluators``;
    ``lead`` evaluates rows of its own width where nobody says whose they are."""

    def __init__(self, evaluators: Sequence[BlockEvaluator], cohorts: Cohorts) -> None:
        lead = evaluators[cohorts.lead]
        super().__init__(lead.kernel, lead.loss, lead.outputs, lead.metrics)
        self.evaluators, self.cohorts = tuple(evaluators), cohorts

    def of(self, devices_B: Ints) -> BlockEvaluator:
        """The evaluator of the union rows of these devices."""
        return _OfDevices(self, devices_B)


class _OfDevices(BlockEvaluator):
    """The evaluator of some devices."""

    def __init__(self, mixed: MixedEvaluator, devices_B: Ints) -> None:
        super().__init__(mixed.kernel, mixed.loss, mixed.outputs, mixed.metrics)
        self.mixed, self.devices_B = mixed, devices_B

    def examine(
        self, x_BP: Tensor, x_T: Tensor, y_T: Tensor, voter_B: Tensor | None = None
    ) -> BlockEvaluation:
        """See :meth:`BlockEvaluator.examine`."""

        def examine(evaluator: BlockEvaluator, own: Tensor, piece: Piece) -> BlockEvaluation:
            voter = None if voter_B is None else voter_B[piece.place_m]
            return evaluator.examine(own, x_T, y_T, voter)

        return self._joined(x_BP, examine)

    def examine_local(
        self, x_BP: Tensor, own: OwnSamples, x_S: Tensor, y_S: Tensor
    ) -> BlockEvaluation:
        """See :meth:`BlockEvaluator.examine_local`."""

        def examine(evaluator: BlockEvaluator, rows: Tensor, piece: Piece) -> BlockEvaluation:
            return evaluator.examine_local(rows, _some(own, piece), x_S, y_S)

        return self._joined(x_BP, examine)

    def own_losses(self, x_BP: Tensor, own: OwnSamples, x_S: Tensor, y_S: Tensor) -> Tensor:
        """See :meth:`BlockEvaluator.own_losses`."""
        parts = [
            (piece, evaluator.own_losses(rows, _some(own, piece), x_S, y_S))
            for evaluator, rows, piece in self._pieces(x_BP)
        ]
        found = parts[0][1].new_full((len(x_BP), own.id_BT.shape[1]), torch.nan)
        for piece, values in parts:
            found[piece.place_m, : values.shape[1]] = values
        return found

    def outputs_of(self, x_BP: Tensor, x_T: Tensor, each: int) -> Iterator[Tensor]:
        """See :meth:`BlockEvaluator.outputs_of`."""
        pieces, parts = [], []
        for evaluator, rows, piece in self._pieces(x_BP):
            pieces.append(piece)
            parts.append(evaluator.outputs_of(rows, x_T, each))
        for some in zip(*parts, strict=True):
            found = some[0].new_empty(len(x_BP), *some[0].shape[1:])
            for piece, outputs in zip(pieces, some, strict=True):
                found[piece.place_m] = outputs
            yield found

    def _pieces(self, x_BP: Tensor) -> Iterator[tuple[BlockEvaluator, Tensor, Piece]]:
        cohorts = self.mixed.cohorts
        for piece in cohorts.pieces(self.devices_B, x_BP.device):
            rows = cohorts.runs_in(piece.cohort, x_BP).taken(x_BP, piece.place_m)
            yield self.mixed.evaluators[piece.cohort], rows, piece

    def _joined(
        self,
        x_BP: Tensor,
        examine: Callable[[BlockEvaluator, Tensor, Piece], BlockEvaluation],
    ) -> BlockEvaluation:
        """The results of all devices, from those of each cohort; votes are added up."""
        parts = [(piece, examine(own, rows, piece)) for own, rows, piece in self._pieces(x_BP)]
        first, count = parts[0][1], len(x_BP)
        loss_B = first.loss_B.new_empty(count)
        hits_BC = first.hits_BC.new_empty(count, first.hits_BC.shape[1])
        values_BV = first.values_BV.new_empty(count, first.values_BV.shape[1])
        votes_CT = first.votes_CT
        for piece, part in parts:
            loss_B[piece.place_m], hits_BC[piece.place_m] = part.loss_B, part.hits_BC
            values_BV[piece.place_m] = part.values_BV
            if votes_CT is not None and part.votes_CT is not None and part is not first:
                votes_CT = votes_CT.add_(part.votes_CT)
        return BlockEvaluation(loss_B, hits_BC, votes_CT, values_BV)


def _some(own: OwnSamples, piece: Piece) -> OwnSamples:
    """The held-out samples of the devices of one cohort."""
    place = piece.place_m.cpu()
    return OwnSamples(own.id_BT[place], own.count_B[place])
