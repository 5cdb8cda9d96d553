"""The learner that takes local steps in compiled loops, and what it cannot learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.gradient_correction import GradientCorrection
from swarm.config.build import choice
from swarm.config.settings import Settings
from swarm.learning.batch import Batch
from swarm.learning.kernels.dense import ACTIVATIONS, Dense
from swarm.learning.kernels.kernel import Kernel, Scale, Views
from swarm.learning.kernels.losses import Loss
from swarm.learning.learner import Learner
from swarm.learning.optim.optimizer import Optimizer
from swarm.learning.privacy.mechanism import Privacy

WITH = "with compute.kernels=numba"


class NumbaLearner(Learner):
    """Takes steps of plain SGD device by device, in loops that numba compiles: all that
    :func:`numba_learner` does not refuse.

    A device's numbers do not depend on which others are in its block. Predictions without learning
    and scores are torch's.
    """

    def __init__(self, kernel: Dense, loss: Loss, optimizer: Optimizer, outputs: int) -> None:
        super().__init__(kernel, loss, optimizer, outputs, None, False)
        # numba is loaded where it is asked for only
        from swarm.learning.numba_steps.loops import descend

        self._loops: Callable[..., None] = descend
        self._dense, self._layers = kernel, _layers(kernel)

    def uncompiled(self) -> Learner:
        """Return the same learner; it has no memory of its own."""
        return NumbaLearner(self._dense, self.loss, self.optimizer, self.outputs)

    def prepare(self, dtype: torch.dtype) -> None:
        """Compile the loops for ``dtype``, or load them from disk, by taking no step. A process
        does so before it starts others, which then find the loops on disk."""
        features, width = self.kernel.layout.slots[0].shape[-1], self.kernel.layout.width
        x, target = (torch.empty(0, 1, n, 1, dtype=dtype) for n in (features, self.outputs))
        batch = Batch(x.transpose(2, 3), target, None, None, torch.empty(0, dtype=torch.int64))
        self._descend(torch.empty(0, width, dtype=dtype), batch, 1.0)

    def _descend(self, x_BP: Tensor, batch: Batch, lr: Scale) -> tuple[Tensor, Tensor]:
        target = batch.target.contiguous()
        block, steps, _, samples = target.shape
        weight = 1.0 / samples if batch.weight is None else batch.weight
        rate_B1 = torch.as_tensor(lr, dtype=x_BP.dtype).reshape(-1, 1)
        scale_Bb = (rate_B1 * weight).expand(block, samples).contiguous()
        active = batch.active
        if active is None:
            active = torch.ones(1, 1, dtype=torch.bool).expand(block, steps)
        rows_BP = x_BP.clone(memory_format=torch.contiguous_format)
        # steps that are not taken predict nothing
        out_BKCb = torch.empty_like(target) if batch.active is None else torch.zeros_like(target)
        inputs_BKbD = batch.x.flatten(3).contiguous()
        self._require_sizes(rows_BP, inputs_BKbD, target)
        arrays = (rows_BP, inputs_BKbD, target, scale_Bb, active.contiguous(), out_BKCb)
        fast = x_BP.dtype == torch.float32
        self._loops(*(each.numpy() for each in arrays), self._layers, fast)
        return rows_BP, out_BKCb

    def _require_sizes(self, x_BP: Tensor, inputs_BKbD: Tensor, target_BKCb: Tensor) -> None:
        """Raise ValueError for arrays that do not fit, as the loops look at no bounds."""
        (block, steps, classes, samples), last, first = target_BKCb.shape, *self._layers[[-1, 0]]
        fit = (
            x_BP.shape == (block, self.kernel.layout.width)
            and inputs_BKbD.shape == (block, steps, samples, first[5])
            and classes == last[4]
        )
        if not fit:
            sizes = [tuple(each.shape) for each in (x_BP, inputs_BKbD, target_BKCb)]
            raise ValueError(f"rows, inputs and targets do not fit the network: {sizes}")

    def _optimise(
        self,
        start_BP: Tensor,
        slots: Views,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None,
    ) -> tuple[Tensor, Tensor]:
        raise AssertionError("such steps are refused before a run")


def _layers(kernel: Dense) -> npt.NDArray[np.int64]:
    """Where each layer lies in a row, as :func:`~swarm.learning.numba_steps.loops.descend` asks."""
    spots = {slot.name: slot for slot in kernel.layout.slots}
    found, units = [], 0
    for layer in kernel.layers:
        weight, bias = spots[layer.weight], spots[layer.bias]
        found.append([weight.start, weight.stop, bias.start, bias.stop, *weight.shape, units])
        units += weight.shape[0]
    return np.array(found, np.int64)


def numba_learner(
    kernel: Kernel,
    loss: Loss,
    optimizer: Optimizer,
    outputs: int,
    settings: Settings,
    privacy: Privacy,
) -> NumbaLearner:
    """Return the learner for ``compute.kernels=numba``.

    Raises :class:`ConfigError` for steps that it cannot take, and if numba is not installed."""
    for key, value, valid in _refusals(kernel, loss, optimizer, settings, privacy):
        raise ConfigError(key, value, f"{valid} {WITH}")
    if find_spec("numba") is None:
        valid = "needs the library numba: `pip install '.[fast]'`"
        raise ConfigError("compute.kernels", "numba", valid)
    assert isinstance(kernel, Dense)
    learner = NumbaLearner(kernel, loss, optimizer, outputs)
    learner.prepare(getattr(torch, settings.compute.dtype))
    return learner


def _refusals(
    kernel: Kernel, loss: Loss, optimizer: Optimizer, s: Settings, privacy: Privacy
) -> Iterator[tuple[str, object, str]]:
    """What these loops cannot learn: the key, its value, and what would be valid."""
    if s.compute.device != "cpu":
        yield "compute.device", s.compute.device, "must be cpu"
    if s.compute.compile:
        yield "compute.compile", True, "must be false"
    if s.train.clip_norm is not None:
        yield "train.clip_norm", s.train.clip_norm, "must be null"
    if not optimizer.plain:
        valid = "must be sgd without momentum and weight decay"
        yield "optimizer", choice("optimizer", s.optimizer), valid
    if not loss.softmax:
        yield "train.loss", _named(s), "must be cross_entropy, on data with classes,"
    if not rectified(kernel):
        valid = "must be linear layers with ReLU between them, such as softmax or mlp,"
        yield "model", choice("model", s.model), valid
    if privacy.unit == "sample":
        valid = "must be none, or one that protects whole devices,"
        yield "privacy", choice("privacy", s.privacy), valid


def _named(settings: Settings) -> object:
    loss = settings.train.loss
    return choice("loss", loss) if isinstance(loss, dict) else loss


def rectified(kernel: Kernel) -> bool:
    """Whether a kernel is that of linear layers with ReLU between them."""
    return isinstance(kernel, Dense) and all(
        each is ACTIVATIONS[nn.ReLU] for each in kernel.activations
    )
