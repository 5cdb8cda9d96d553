"""Losses over stacked rows, with their derivative in closed form.

Outputs have the class (or target) axis before the sample axis, ``out_BCb``, as PyTorch's own losses
expect it; this also lets the softmax run along contiguous memory, several times faster than over a
short last axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from swarm.common.errors import ConfigError
from swarm.config.aliases.old_members import OldMembers


class Loss(OldMembers, ABC):
    """A loss per sample and its derivative. ``classes`` is 0 for regression."""

    classification: bool

    @abstractmethod
    def encode(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        """Labels ``[..., b]`` (or targets ``[..., b, T]``) as ``[..., C, b]`` in the rows'
        dtype.
        """

    @abstractmethod
    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        """∂loss/∂out for each sample, ``[B, C, b]``, in memory of its own or in ``into``."""

    def score(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        """What scores add up: 1 for a right answer (squared error in regression), ``[..., b]``.

        An answer is the label with the largest output. Of m equally large ones each is the answer
        with probability 1/m, so that the score of a tie is 1/m if the right label is among them,
        and a model that says the same of all labels scores as chance does. (``argmax`` would be ten
        times slower here.)
        """
        best_BCb = out_BCb == out_BCb.amax(-2, keepdim=True)
        # none is best of outputs that are NaN
        return (best_BCb * target_BCb).sum(-2) / best_BCb.sum(-2).clamp_min(1)

    @abstractmethod
    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        """The loss of each sample, ``[..., b]``."""


class CrossEntropy(Loss):
    """−log softmax(out)[y]; its derivative is softmax(out) − onehot(y)."""

    classification = True

    def encode(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        hot = torch.zeros(*y.shape[:-1], outputs, y.shape[-1], dtype=dtype, device=y.device)
        return hot.scatter_(-2, y.unsqueeze(-2), 1.0)

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        return torch.softmax(out_BCb, -2, out=into).sub_(target_BCb)

    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        return -(functional.log_softmax(out_BCb, -2) * target_BCb).sum(-2)


class PartialLabelLoss(CrossEntropy):
    """Cross-entropy for targets of any mass m, Σ_c target_c = m: −Σ_c target_c·log softmax(out)_c,
    with the derivative m·softmax(out) − target. A sample of which nobody said what it is has m = 0
    and pulls at nothing."""

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        return (
            torch.softmax(out_BCb, -2, out=into)
            .mul_(target_BCb.sum(-2, keepdim=True))
            .sub_(target_BCb)
        )


class _Regression(Loss):
    """Errors are learnt from as they are, and stated in the targets' own unit: ``unit_T1`` of it
    make 1 (None: one).
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


class MeanSquared(_Regression):
    """(1/T)·Σ(out − y)² over the T targets."""

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        return torch.sub(out_BCb, target_BCb, out=into).mul_(2.0 / out_BCb.shape[-2])

    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        return self._error(out_BCb, target_BCb).square().mean(-2)


class MeanAbsolute(_Regression):
    """(1/T)·Σ|out − y| over the T targets."""

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
    """The loss called ``name``; errors of numbers are stated in ``unit_T1``.

    Raises :class:`ConfigError` for a loss of labels with numeric targets, and the reverse.
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
    return kind(unit_T1) if issubclass(kind, _Regression) else kind()
