"""Distillation: the devices of a block predict shared samples, and take steps towards predictions
that they are given for these.

Hinton, Vinyals, Dean, *Distilling the knowledge in a neural network*, 2015 (arXiv 1503.02531).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from swarm.common.rows import BlockParameters
from swarm.learning.kernels.kernel import Kernel
from swarm.learning.kernels.losses import CrossEntropy, Loss, MeanSquared
from swarm.learning.learner import Batch, Learner
from swarm.learning.optim.optimizer import SGD
from swarm.learning.optim.schedule import Constant

SAMPLES_AT_ONCE = 1024  # predicted by a block in one call


class SoftTargets(CrossEntropy):
    """T² · H(q, softmax(out / T)) for target probabilities q at the temperature T, with the
    derivative T · (softmax(out / T) − q)."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        found = torch.softmax(out_BCb / self.temperature, -2, out=into)
        return found.sub_(target_BCb).mul_(self.temperature)

    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        log_BCb = functional.log_softmax(out_BCb / self.temperature, -2)
        return -(self.temperature**2) * (log_BCb * target_BCb).sum(-2)


def distillation_loss(classification: bool, temperature: float) -> Loss:
    """The loss of a step towards given predictions: of classes :class:`SoftTargets`, of numbers
    their mean squared error, in the unit in which they are learnt."""
    return SoftTargets(temperature) if classification else MeanSquared()


class Distiller:
    """Predicts shared samples with the devices of a block, and trains them on predictions.

    ``kernel`` must have been made with ``loss``, a :func:`distillation_loss`. Messages are rows
    ``[B, M]`` of M = C · S numbers for C outputs and S samples (C · S · L with L labels a sample):
    all samples' numbers of the first output, then those of the second, and so on. They are logits,
    or with ``probabilities`` the softmax of logits / T.
    """

    def __init__(self, kernel: Kernel, loss: Loss, outputs: int, probabilities: bool) -> None:
        self.kernel, self.loss = kernel, loss
        self.outputs, self.probabilities = outputs, probabilities
        self._learner = Learner(kernel, loss, SGD(1.0, Constant()), outputs, None, False)

    def of(self, device_B: npt.NDArray[np.int64]) -> Distiller:
        """The distiller of a block with these devices, which are some of those that this one is
        for; where all models have one shape, it is the same one."""
        return self

    def messages(self, x_BP: Tensor, x_S: Tensor) -> Tensor:
        """The predictions ``[B, M]`` of devices with parameters ``x_BP`` for the samples ``x_S``,
        ``[S, *features]``."""
        kernel = self.kernel
        parts = BlockParameters(kernel.layout, len(x_BP), x_BP)
        parts.load(x_BP)
        found = [
            kernel.outputs(parts.views, x.expand(len(x_BP), *x.shape))
            for x in torch.split(x_S, SAMPLES_AT_ONCE)
        ]
        out_BCA = torch.cat(found, 2)
        if self.probabilities and isinstance(self.loss, SoftTargets):
            out_BCA = torch.softmax(out_BCA / self.loss.temperature, 1)
        return out_BCA.flatten(1)

    def targets(self, received_BM: Tensor) -> Tensor:
        """The targets ``[B, C, A]`` of a step, of A = S · L answers, from mean predictions. Means
        of probabilities that noise or compression has changed are made probabilities again."""
        mean_BCA = received_BM.reshape(len(received_BM), self.outputs, -1)
        if not isinstance(self.loss, SoftTargets):
            return mean_BCA
        if not self.probabilities:
            return torch.softmax(mean_BCA / self.loss.temperature, 1)
        mean_BCA = mean_BCA.clamp_min(0)
        total_B1A = mean_BCA.sum(1, keepdim=True)
        return torch.where(total_B1A > 0, mean_BCA / total_B1A, 1 / self.outputs)

    def learn(
        self,
        x_BP: Tensor,
        x_S: Tensor,
        received_BM: Tensor,
        order_Kb: Tensor,
        lr: float | Tensor,
        noise: int = 0,
    ) -> Tensor:
        """The parameters ``[B, P]`` after K steps of gradient descent towards ``received_BM``.

        Args:
            x_BP: The parameters before them.
            x_S: The shared samples, ``[S, *features]``.
            received_BM: The mean predictions for them.
            order_Kb: The numbers of the samples of each step.
            lr: The learning rate, of all devices or ``[B, 1, 1]``.
            noise: The seed of the noise that modules draw while they learn.
        """
        target_BCA, (steps, size) = self.targets(received_BM), order_Kb.shape
        labels = target_BCA.shape[2] // len(x_S)
        at_KbL = order_Kb[..., None] * labels + torch.arange(labels, device=order_Kb.device)
        chosen_BCKb = target_BCA[:, :, at_KbL.flatten()]
        chosen_BCKb = chosen_BCKb.view(*target_BCA.shape[:2], steps, size * labels)
        x_Kb = x_S[order_Kb]
        batch = Batch(
            x=x_Kb.expand(len(x_BP), *x_Kb.shape),
            target=chosen_BCKb.transpose(1, 2).contiguous(),
            first=None,
            active=None,
            done=torch.zeros(len(x_BP), dtype=torch.int64, device=x_BP.device),
            noise=noise,
        )
        return self._learner.train(x_BP, {}, batch, lr)[0]
