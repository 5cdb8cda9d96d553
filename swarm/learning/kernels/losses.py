"""Losses of a block of devices, with their derivative in closed form.

Outputs ``out_BCb`` have the class (or target) axis before the sample axis, as PyTorch's own losses
expect it. The softmax then runs along contiguous memory, several times faster than over a short
last axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from swarm.common.errors import ConfigError, of_the
from swarm.config.aliases.old_members import OldMembers


class Loss(OldMembers, ABC):
    """A loss per sample and its derivative by the outputs."""

    classification: bool
    """Whether the targets are class labels, not numbers."""
    compiles = True
    """Whether compute.compile may compile a step with this loss."""
    gives_probabilities: bool = False
    """Whether the value of a sample is −log of the probability that softmax of the outputs gives
    its label. Metrics and audits that need such probabilities take it from the value.
    """

    @abstractmethod
    def encode(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        """Turn labels ``[..., b]`` (or numeric targets ``[..., b, T]``) into targets of ``dtype``,
        ``[..., C, b]``; ``outputs`` is C.
        """

    @abstractmethod
    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        """Return ∂loss/∂out for each sample, ``[B, C, b]``, in new memory or in ``into``."""

    def score(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        """Return the score of each sample, ``[..., b]``: 1 for a right answer, 0 for a wrong one;
        in regression the squared error.

        The answer is the label with the largest output. If m outputs are equally large and the
        right label is among them, the score is 1/m, so that a model with equal outputs for all
        labels scores as random guessing does. (``argmax`` would be ten times slower here.)
        """
        best_BCb = out_BCb == out_BCb.amax(-2, keepdim=True)
        # if the outputs are NaN, no output equals the largest, and the score is 0
        return (best_BCb * target_BCb).sum(-2) / best_BCb.sum(-2).clamp_min(1)

    @abstractmethod
    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        """Return the loss of each sample, ``[..., b]``."""


def one_hot(y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """Labels ``[..., b]`` as ``[..., C, b]``: 1 for the label, else 0."""
    hot = torch.zeros(*y.shape[:-1], outputs, y.shape[-1], dtype=dtype, device=y.device)
    return hot.scatter_(-2, y.unsqueeze(-2), 1.0)


class CrossEntropy(Loss):
    """Cross-entropy, −log softmax(out)[y]; its derivative is softmax(out) − onehot(y)."""

    classification = True
    gives_probabilities = True

    def encode(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        return one_hot(y, outputs, dtype)

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        return torch.softmax(out_BCb, -2, out=into).sub_(target_BCb)

    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        return -(functional.log_softmax(out_BCb, -2) * target_BCb).sum(-2)


class PartialLabelLoss(CrossEntropy):
    """Cross-entropy for samples that may have no label: −Σ_c target_c·log softmax(out)_c, with the
    derivative m·softmax(out) − target, where m = Σ_c target_c.

    A sample without a label has the target 0, so that m, its loss and its gradient are 0.
    """

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        return (
            torch.softmax(out_BCb, -2, out=into)
            .mul_(target_BCb.sum(-2, keepdim=True))
            .sub_(target_BCb)
        )


class Weighted(Loss):
    """A loss of labels in which a sample of class c counts ``weight_C[c]`` times. A step is the
    mean over the samples of a batch, not over their weights. Scores are those without weights.

    ``loss`` is one that counts a target of Σ_c target_c = m as m samples.
    """

    classification = True

    def __init__(self, loss: Loss, weight_C: Tensor) -> None:
        self.loss, self.weight_C, self.compiles = loss, weight_C, loss.compiles
        self.gives_probabilities = loss.gives_probabilities

    def encode(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        return self.loss.encode(y, outputs, dtype) * self.weight_C.to(y.device, dtype)[:, None]

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        return self.loss.grad_outputs(out_BCb, target_BCb, into)

    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        return self.loss.value(out_BCb, target_BCb)

    def score(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        return super().score(out_BCb, (target_BCb > 0).to(out_BCb.dtype))


def class_weights(
    asked: Literal["balanced"] | Sequence[float], label: npt.NDArray[np.integer], classes: int
) -> Tensor:
    """Return the weight ``[C]`` of each class, given the labels of the training samples.

    ``balanced`` gives class c the weight S/(C·n_c), where n_c of S labels are c: every class then
    counts as much as any other, and the mean weight of a sample is 1. Raises :class:`ConfigError`
    unless there is a weight for each class.
    """
    if asked == "balanced":
        count_C = np.bincount(label.ravel(), minlength=classes)
        weight_C = label.size / (np.count_nonzero(count_C) * np.maximum(count_C, 1))
        return torch.as_tensor(np.where(count_C > 0, weight_C, 1.0))
    if len(asked) != classes:
        valid = f"must be null, balanced, or a weight for {of_the(classes, 'class')}"
        raise ConfigError("train.class_weights", f"{len(asked)} weights", valid)
    return torch.tensor(asked, dtype=torch.float64)


class Regression(Loss):
    """A loss of numeric targets, which may be scaled for learning.

    Gradients are those of the scaled errors. Scores and losses are stated in the targets' own unit:
    an error of 1 is ``unit_T1`` in that unit (None: the targets are not scaled).
    """

    classification = False

    def __init__(self, unit_T1: Tensor | None = None) -> None:
        self.unit_T1 = unit_T1

    def score(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        return self._error(out_BCb, target_BCb).square().mean(-2)

    def _error(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        error_BCb = out_BCb - target_BCb
        return error_BCb if self.unit_T1 is None else error_BCb * self.unit_T1

    def encode(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        return y.to(dtype).transpose(-1, -2).contiguous()


class MeanSquared(Regression):
    """Mean squared error, (1/T)·Σ(out − y)² over the T targets."""

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        return torch.sub(out_BCb, target_BCb, out=into).mul_(2.0 / out_BCb.shape[-2])

    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        return self._error(out_BCb, target_BCb).square().mean(-2)


class MeanAbsolute(Regression):
    """Mean absolute error, (1/T)·Σ|out − y| over the T targets."""

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        return torch.sub(out_BCb, target_BCb, out=into).sign_().mul_(1.0 / out_BCb.shape[-2])

    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        return self._error(out_BCb, target_BCb).abs().mean(-2)


LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "mse": MeanSquared,
    "mae": MeanAbsolute,
}


def loss_for(name: str, classes: int, unit_T1: Tensor | None = None) -> Loss:
    """Return the loss called ``name``.

    ``classes`` is the number of classes, 0 for regression; ``unit_T1`` is the unit in which
    regression losses are stated. Raises :class:`ConfigError` for a loss of labels with numeric
    targets, and the reverse.
    """
    kind = LOSSES[name]
    if kind.classification != bool(classes):
        fitting = [n for n, k in LOSSES.items() if k.classification == bool(classes)]
        raise ConfigError(
            "train.loss",
            name,
            f"does not fit {'labels' if classes else 'numeric targets'}; valid:"
            f" {', '.join(fitting)}",
        )
    return kind(unit_T1) if issubclass(kind, Regression) else kind()
