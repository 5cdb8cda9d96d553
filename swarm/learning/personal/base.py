"""The interface of what devices learn for themselves beside the model that they share.

Nothing of it is ever sent: no protocol, compressor or attack meets these rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.common.names import Maybe
from swarm.common.rows import Layout
from swarm.learning.kernels.kernel import Scale, Views
from swarm.learning.learner import Batch, Learner, PredictionScores

Ints = npt.NDArray[np.int64]
MODEL = "model"
"""The name of the personal model among the rows that a device keeps."""
_SLOT = "optimizer."


@dataclass(frozen=True)
class LocalSteps:
    """The K local steps of B devices in a round.

    Attributes:
        learner: Takes steps.
        batch: The K mini-batches.
        lr: The learning rate.
        slots: The optimizer's slots of the shared model, ``[B, P]`` each.
        correction: What the protocol adds to the shared model's gradients.
        start_BP: The shared rows before these steps.
        round: The number of the round, counted from 1.
        rounds: How many rounds the run has.
    """

    learner: Learner
    batch: Batch
    lr: Scale
    slots: Views
    correction: GradientCorrection | None
    start_BP: Tensor
    round: int
    rounds: int

    @property
    def count(self) -> int:
        """K, the number of mini-batches."""
        return self.batch.x.shape[1]

    def shared(self, x_BP: Tensor, step: int | None = None) -> tuple[Tensor, PredictionScores]:
        """The shared model's own steps from ``x_BP``, or the one with the number ``step``: the rows
        after them, and the scores of the predictions before each."""
        correction = self.correction
        if step and correction is not None and correction.toward_NP is None:
            # a protocol's pull is to where the round's steps began, and not to where this one does
            correction = replace(correction, toward_NP=self.start_BP)
        return self.take(x_BP, self.slots, correction, step)

    def take(
        self,
        x_BP: Tensor,
        slots: Views,
        correction: GradientCorrection | None = None,
        step: int | None = None,
    ) -> tuple[Tensor, PredictionScores]:
        """Steps of other rows ``x_BP`` on the same mini-batches; ``slots`` change in place."""
        batch = self.batch if step is None else self.batch.step(step)
        return self.learner.train(x_BP, slots, batch, self.lr, correction)

    def active_B1(self, step: int) -> Tensor:
        """``[B, 1]``: whether each device takes the step with this number."""
        if self.batch.active is None:
            return torch.ones_like(self.batch.done, dtype=torch.bool)[:, None]
        return self.batch.active[:, step, None]


class Personal(ABC):
    """What a device learns for itself beside the model that it shares. Unless a class says
    otherwise, nothing is kept for it, and the shared model is the device's own.

    Attributes:
        plain_sgd: It reads gradients off steps, or solves by them, so that they must be those of
            plain SGD.
        replaces: The shared model takes no local steps of its own, so that a protocol cannot add to
            their gradients.
        no_statistics: The model must have no running statistics.
        proximal: λ of a term λ(v − w) in its gradients, with which steps of plain SGD diverge
            unless it is below 2 over the learning rate.
        by_number: It treats every number of a row by itself, so that devices may have models of
            several shapes (``cohorts``).
        absent: Devices learn nothing for themselves, as the option ``none`` says: their steps are
            those of the shared model, and :meth:`learn` need not be called for them.
    """

    absent: ClassVar[bool] = False
    plain_sgd: bool = False
    replaces: bool = False
    no_statistics: bool = False
    proximal: float = 0.0
    by_number: bool = False

    def init(self, x_NP: Tensor, optimizer: tuple[str, ...]) -> dict[str, Tensor]:
        """The rows that devices keep, ``[N, …]`` each, from their first parameters; ``optimizer``
        names the optimizer's slots. ``x_NP`` may have no rows."""
        return {}

    def check(self, layout: Layout, steps_N: Ints, names: Maybe | None) -> None:
        """Refuse a model or numbers of local steps a round that this cannot work with, with a
        :class:`~swarm.common.errors.ConfigError`; ``names`` are those of the devices."""
        return

    def resumed(self, kept: dict[str, Tensor], rounds: int) -> None:
        """Put right what devices ``kept`` in a run that had another number of ``rounds`` before it
        was resumed, by replacing its arrays; it may be called where nothing has to change."""
        return

    def work(self, round: int, rounds: int) -> float:
        """The computation of a local step, in steps of the shared model alone."""
        return 1.0

    @abstractmethod
    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: Views
    ) -> tuple[Tensor, PredictionScores]:
        """Take the local steps of B devices from their shared rows ``x_BP``; returns the shared
        rows after them, and the scores. What devices keep, ``kept``, is changed in place."""

    def model(self, x_BP: Tensor, kept: Views) -> Tensor:
        """The rows that devices answer with on their own data, ``[B, P]``, from the shared ones
        and what they keep."""
        return x_BP


class NoPersonal(Personal):
    """Every device uses the shared model, as it is."""

    absent = by_number = True

    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: Views
    ) -> tuple[Tensor, PredictionScores]:
        """See :meth:`Personal.learn`."""
        return steps.shared(x_BP)


def own_model(x_NP: Tensor, optimizer: tuple[str, ...]) -> dict[str, Tensor]:
    """A copy of the first parameters, and the optimizer's slots for it."""
    return {
        MODEL: x_NP.clone(),
        **{f"{_SLOT}{name}": torch.zeros_like(x_NP) for name in optimizer},
    }


def own_slots(kept: Views) -> dict[str, Tensor]:
    """The optimizer's slots among the rows of :func:`own_model`."""
    return {name.removeprefix(_SLOT): rows for name, rows in kept.items() if name.startswith(_SLOT)}


def joined(scores: list[PredictionScores], batch: Batch) -> PredictionScores:
    """The scores of all steps of ``batch``, given those of each."""
    loss_KB = torch.stack([each.loss_B for each in scores])
    count: Tensor | int = len(scores)
    if batch.active is not None:
        count = batch.active.sum(1).clamp_min(1)
    total = loss_KB.sum(0) / count
    met = [each for each in scores if each.scored_B is not None]
    if not met:
        return PredictionScores(total)
    scored_B = torch.stack([each.scored_B for each in met if each.scored_B is not None]).sum(0)
    score_B = torch.stack([each.score_B for each in met if each.score_B is not None]).sum(0)
    return PredictionScores(total, scored_B, score_B)
