"""Local steps of DP-SGD: each sample's gradient is clipped, and noise is added to their sum."""

from __future__ import annotations

from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from swarm.common.rng import Keys, NormalRows
from swarm.learning.kernels.kernel import Gradient, Kernel, Scale, Views
from swarm.learning.kernels.losses import Loss
from swarm.learning.learner import Batch, Learner, PredictionScores
from swarm.learning.optim.optimizer import Optimizer
from swarm.learning.privacy.clipped import ClippedGradient, clipped_gradients
from swarm.learning.privacy.mechanism import Privacy


class PrivateLearner(Learner):
    """Takes local steps along (1/L) · (Σ_s clip_C(∇ℓ_s) + σC·z), where L is the mean size of a
    mini-batch. The noise z of a device's step follows from the seed, the device and the number of
    the step among all steps of the device.

    Batches must have ``there`` and ``device``, and 1/L as their ``weight``, ``[B, 1]``.
    """

    def __init__(
        self,
        kernel: Kernel,
        loss: Loss,
        optimizer: Optimizer,
        outputs: int,
        privacy: Privacy,
        seed: int,
    ) -> None:
        super().__init__(kernel, loss, optimizer, outputs, None, False)
        self.privacy, self._keys = privacy, Keys(seed, "privacy.sample")
        self._normal: NormalRows | None = None

    def _gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        # called by _added alone, which says where samples are
        return cast(
            Gradient, clipped_gradients(self.kernel, into, x, samples, self.privacy.clip_norm)
        )

    @property
    def _kernel_alone(self) -> bool:
        return False  # a step also says where samples are, and adds noise

    def _added(
        self,
        add: Gradient,
        at: Views,
        x_k: Tensor,
        t_k: Tensor,
        scale: Scale,
        batch: Batch,
        k: int,
    ) -> Tensor:
        assert batch.there is not None
        assert isinstance(scale, Tensor)
        clipped = cast(ClippedGradient, add)
        bound = partial(clipped, there_Bb=batch.there[:, k])
        out = super()._added(cast(Gradient, bound), at, x_k, t_k, scale, batch, k)
        if self.privacy.noise_multiplier:
            self._add_noise(clipped.into, scale, batch, k)
        return out

    def _add_noise(self, into: Views, scale_B11: Tensor, batch: Batch, k: int) -> None:
        """Add scale_B · σC·z to ``into``."""
        assert batch.device is not None
        assert self.privacy.clip_norm is not None
        std = self.privacy.noise_multiplier * self.privacy.clip_norm
        std_B = np.abs(scale_B11.flatten().cpu().double().numpy()) * std
        step_B = batch.done.cpu().numpy() + k
        slots = self.kernel.layout.slots
        like, width = into[slots[0].name], self.kernel.layout.width
        dtype = np.float64 if like.dtype == torch.float64 else np.float32
        self._normal = self._normal or NormalRows(self._keys, width, dtype)
        # added some rows at a time, while these are in the cache
        on_cpu = like.device.type == "cpu"
        sums = {n: v if on_cpu else torch.zeros_like(v, device="cpu") for n, v in into.items()}
        parts = [(sums[s.name].flatten(1).numpy(), s.start, s.stop) for s in slots]
        for some, z_rP in self._normal.rows(batch.device, step_B, std_B):
            for part_BP, start, stop in parts:
                part_BP[some] += z_rP[:, start:stop]
        if not on_cpu:
            for name, view in into.items():
                view.add_(sums[name].to(view.device))

    def _score(self, out: Tensor, batch: Batch) -> PredictionScores:
        """The mean loss, as 1/L times the sum over the samples of a step; no sample is scored, as
        none is known to be new."""
        assert batch.there is not None
        assert batch.weight is not None
        truth = batch.target if batch.true_target is None else batch.true_target
        loss_BKb = self.loss.value(out, truth)
        loss_BKbL = loss_BKb.view(*batch.there.shape, -1)
        loss_BK = (loss_BKbL.mean(3) * batch.there).sum(2) * batch.weight
        if batch.active is None:
            return PredictionScores(loss_BK.mean(1))
        taken_B = batch.active.sum(1).clamp_min(1)
        return PredictionScores((loss_BK * batch.active).sum(1) / taken_B)
