"""Losses as users write them, good and faulty; tests/learning/test_own_losses.py runs them."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from swarm.learning.losses.base import SampleLoss


class Plain(SampleLoss):
    """Cross-entropy, written anew."""

    target_kind = "classes"

    def values(self, outputs: Tensor, targets: Tensor) -> Any:
        return functional.cross_entropy(outputs, targets, reduction="none")


class Squared(SampleLoss):
    """The squared error, written anew."""

    target_kind = "numbers"

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(1)


class Margin(Plain):
    def __init__(self, margin: float = 1.0) -> None:
        self.margin = margin

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.multi_margin_loss(outputs, targets, margin=self.margin, reduction="none")


def half_a_margin() -> SampleLoss:
    """A function that makes one."""
    return Margin(0.5)


class Naive(Plain):
    """Not finite for a sure model."""

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -torch.softmax(outputs, 1).gather(1, targets[:, None])[:, 0].log()


class OneNumber(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets)


class Wide(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.softmax(outputs, 1)


class Nothing(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> None:
        return None


class NotFinite(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.log(-torch.softmax(outputs, 1)[:, 0])


class SlopeNotFinite(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 0] * 0).sqrt()


class Raises(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:, 99]


class Exits(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        sys.exit(3)


class Cut(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) != targets).float()


class OverTheBatch(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = functional.cross_entropy(outputs, targets, reduction="none")
        return each / each.sum()


class Draws(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(functional.dropout(outputs), targets, reduction="none")


class InPlace(Plain):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets.fill_(0), reduction="none")


class Unsaid(SampleLoss):
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")


class FailsLater(Plain):
    """Right for the few samples of a check."""

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = functional.cross_entropy(outputs, targets, reduction="none")
        return each if len(each) < 8 else each[:3]
