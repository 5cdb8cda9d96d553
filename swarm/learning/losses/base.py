"""The interface of a loss of one's own: the loss of each sample, as a formula of its outputs and
its target. Autograd finds the gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor


class SampleLoss(ABC):
    """The loss of a sample, from its outputs and its target only.

    A local step is taken on the mean over the samples of a mini-batch. Weights of classes, samples
    without a label, clipping and the devices' own mini-batches are the business of the machinery.

    Attributes:
        target_kind: ``classes`` for a loss of labels, ``numbers`` for one of numeric targets.
        gives_probabilities: Whether the value of a sample is −log of the probability that softmax
            of the outputs gives its label, so that metrics and audits may take probabilities from
            it.
    """

    target_kind: ClassVar[Literal["classes", "numbers"]]
    gives_probabilities: ClassVar[bool] = False

    @abstractmethod
    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each of b samples, ``[b]``; b is any number, as the samples of several
        devices come together.

        Of classes, ``outputs`` ``[b, C]`` are logits and ``targets`` ``[b]`` labels 0 … C − 1. Of
        numbers, both are ``[b, T]`` for T targets, in the unit in which they are learned.

        It must be a pure function made of torch's operations, and must not change its arguments.
        """
