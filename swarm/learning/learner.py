"""Local steps of a block of devices: predict the next samples, score the predictions, then learn
from the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.common.rng import derive
from swarm.common.rows import BlockParameters
from swarm.learning.batch import Batch as Batch
from swarm.learning.batch import PredictionScores as PredictionScores
from swarm.learning.kernels.kernel import Gradient, Kernel, Scale, Views
from swarm.learning.kernels.losses import Loss
from swarm.learning.kernels.noise import seeded
from swarm.learning.optim.optimizer import Optimizer, clip_


def _worth_checking(guards: Sequence[Any]) -> list[bool]:
    """Which of the compiler's conditions for using a compiled step again are checked each time.

    They are those on tensors, and on whether an optional tensor is there. All others are about a
    learner's own parts, which never change; checking them too took as long as a step.
    """
    return [isinstance(g.value, Tensor) or g.value is None for g in guards]


# Without the wrapper in C++, calling the fused kernels from Python takes as long as fusing saves.
COMPILER: dict[str, str | int | bool | Callable[..., object]] = {
    "cpp_wrapper": True,
    "size_asserts": False,
    "guard_filter_fn": _worth_checking,
}


BENCHES = 2  # blocks have two sizes; mini-batches of random size would ask for ever more memory
BENCHES_OF_COHORTS = 4  # of a cohort, blocks have more or fewer devices


class TrainBlock(Protocol):
    """A function that scores a batch and learns from it.

    It returns the rows ``[B, P]`` after learning, and the scores. ``slots`` are changed in place.
    """

    def __call__(
        self,
        x_BP: Tensor,
        slots: Views,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None = None,
    ) -> tuple[Tensor, PredictionScores]: ...


class RowsOfBlock(Protocol):
    """Where the parameters of the devices of a block are kept, if not one behind the other."""

    @property
    def x_NP(self) -> Tensor:
        """The rows that have them."""

    def load(self, x: BlockParameters) -> None:
        """Copy them to ``x``."""

    def put(self, x: BlockParameters) -> None:
        """Copy them back."""


class Learner:
    """Takes the K local steps of a block, by :attr:`train`.

    ``outputs`` is C, ``clip`` the L2 norm that gradients are clipped to (None: they are not), and
    ``compiled`` says whether ``torch.compile`` compiles the step, if the kernel allows it.

    Attributes:
        by_device: Whether a step depends on which device takes it.
        in_place: Whether :meth:`train_` spares copies, and is called where nothing needs them.
        plain: Whether steps are plain SGD, without clipping.
        benches: For how many sizes of blocks and mini-batches memory is kept.
    """

    by_device: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    benches = BENCHES

    def __init__(
        self,
        kernel: Kernel,
        loss: Loss,
        optimizer: Optimizer,
        outputs: int,
        clip: float | None,
        compiled: bool,
    ) -> None:
        self.kernel, self.loss, self.optimizer, self.outputs, self.clip = (
            kernel,
            loss,
            optimizer,
            outputs,
            clip,
        )
        self._benches: dict[tuple[int, int], tuple[BlockParameters, Gradient]] = {}
        self.plain = optimizer.plain and clip is None
        self._statistics = kernel.layout.statistics
        places = [torch.arange(s.start, s.stop) for s in self._statistics]
        # which numbers of a row no gradient changes
        self._fixed = torch.cat(places) if places else None
        self.train: TrainBlock = self._train
        if compiled and kernel.compiles and loss.compiles:
            self._compiled = torch.compile(
                self._train, fullgraph=True, dynamic=False, options=COMPILER
            )
            self.train = self._train_compiled

    @property
    def noisy(self) -> bool:
        """Whether the module draws random numbers while it learns."""
        return self.kernel.noisy

    @property
    def each(self) -> Sequence[Learner]:
        """The learners of all shapes of models; this one unless there are several."""
        return (self,)

    def uncompiled(self) -> Learner:
        """Return the same learner without the compiler, with memory of its own."""
        return Learner(self.kernel, self.loss, self.optimizer, self.outputs, self.clip, False)

    def score_only(self, x_BP: Tensor, batch: Batch) -> PredictionScores:
        """Predict the batch with the rows ``[B, P]`` and score the predictions; learn nothing."""
        parts = BlockParameters(self.kernel.layout, x_BP.shape[0], x_BP)
        parts.load(x_BP)
        return self._score(
            torch.stack([self.kernel.outputs(parts.views, x_k) for x_k in batch.x.unbind(1)], 1),
            batch,
        )

    def train_(
        self,
        x_NP: Tensor,
        slots: Views,
        row_B: Tensor,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None = None,
    ) -> PredictionScores:
        """Let the devices of a block learn in place: their rows are those with the numbers
        ``row_B`` of ``x_NP`` and of ``slots``, which have no gaps. Returns the scores of the
        predictions before each step."""
        own = {name: values[row_B] for name, values in slots.items()}
        x_NP[row_B], scores = self.train(x_NP[row_B], own, batch, lr, correction)
        for name, values in own.items():
            slots[name][row_B] = values
        return scores

    def _train(
        self,
        x_BP: Tensor,
        slots: Views,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None = None,
    ) -> tuple[Tensor, PredictionScores]:
        if self.plain and correction is None:
            learnt_BP, out_BKCb = self._descend(x_BP, batch, lr)
        else:
            learnt_BP, out_BKCb = self._optimise(x_BP, slots, batch, lr, correction)
        return learnt_BP, self._score(out_BKCb, batch)

    def _train_compiled(
        self,
        x_BP: Tensor,
        slots: Views,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None = None,
    ) -> tuple[Tensor, PredictionScores]:
        """Call the compiled step, with the learning rate as a tensor: a number would be compiled
        into it as a constant.
        """
        rate = torch.full((1, 1, 1), float(lr), dtype=x_BP.dtype, device=x_BP.device)
        pair: tuple[Tensor, PredictionScores] = self._compiled(x_BP, slots, batch, rate, correction)
        return pair

    @property
    def _kernel_alone(self) -> bool:
        """Whether a step is a call of the kernel and nothing else."""
        return not self.kernel.learns_otherwise

    def _descend(self, x_BP: Tensor, batch: Batch, lr: Scale) -> tuple[Tensor, Tensor]:
        """Plain SGD, which adds every gradient directly to the parameters."""
        x, add = self._bench(x_BP, len(x_BP), batch.target.shape[-1])
        x.load(x_BP)
        out_BKCb = self._descended(x, add, batch, lr)
        return x.rows(), out_BKCb

    def descend_(self, rows: RowsOfBlock, batch: Batch, lr: Scale) -> PredictionScores:
        """Take steps of :attr:`plain` SGD in place; returns the scores of the predictions before
        each."""
        x, add = self._bench(rows.x_NP, len(batch.target), batch.target.shape[-1])
        rows.load(x)
        out_BKCb = self._descended(x, add, batch, lr)
        rows.put(x)
        return self._score(out_BKCb, batch)

    def _descended(self, x: BlockParameters, add: Gradient, batch: Batch, lr: Scale) -> Tensor:
        samples, target = batch.target.shape[-1], batch.target
        outs: list[Tensor] = []
        plain = self._kernel_alone
        scale = lr * (-1.0 / samples) if batch.weight is None else batch.weight[:, None] * lr * -1.0
        scale_KB11 = (
            None if batch.active is None else batch.active.to(target).T[:, :, None, None] * scale
        )
        for k, (x_k, t_k) in enumerate(zip(batch.x.unbind(1), target.unbind(1), strict=True)):
            own = scale if scale_KB11 is None else scale_KB11[k]
            if plain:
                outs.append(add(x_k, t_k, own))
            else:
                outs.append(self._added(add, x.views, x_k, t_k, own, batch, k))
        return torch.stack(outs, 1)

    def _bench(self, like: Tensor, block: int, samples: int) -> tuple[BlockParameters, Gradient]:
        """Parameters and the function that adds gradients to them, in memory that blocks of this
        size use one after the other.
        """
        # a compiled step plans its own memory
        size, keep = (block, samples), not torch.compiler.is_compiling()
        if keep and size in self._benches:
            return self._benches[size]
        parts = BlockParameters(self.kernel.layout, block, like)
        bench = parts, self._gradients(parts.views, parts.views, samples)
        if keep:
            if len(self._benches) >= self.benches:
                del self._benches[next(iter(self._benches))]
            self._benches[size] = bench
        return bench

    def _optimise(
        self,
        start_BP: Tensor,
        slots: Views,
        batch: Batch,
        lr: Scale,
        correction: GradientCorrection | None,
    ) -> tuple[Tensor, Tensor]:
        """Steps of any other optimiser, with clipping or with a gradient correction: the whole
        gradient is computed first, then the optimiser applies it.
        """
        samples, layout, x_BP = batch.target.shape[-1], self.kernel.layout, start_BP.clone()
        rate = torch.as_tensor(lr, dtype=x_BP.dtype, device=x_BP.device).view(-1, 1)
        mean = 1.0 / samples if batch.weight is None else batch.weight[:, None]
        g = BlockParameters(layout, x_BP.shape[0], x_BP)
        at, outs = layout.views(x_BP), []
        add = self._gradients(g.views, at, samples)
        fixed = None if self._fixed is None else self._fixed.to(x_BP.device)
        for k, (x_k, t_k) in enumerate(zip(batch.x.unbind(1), batch.target.unbind(1), strict=True)):
            for part in g.flat:
                part.zero_()
            outs.append(self._added(add, at, x_k, t_k, mean, batch, k))
            g_BP = g.rows()
            if correction is not None:
                correction.add_to_(g_BP, x_BP, start_BP, layout.sent.width)
            if fixed is not None:
                g_BP.index_fill_(1, fixed, 0)
            if self.clip is not None:
                clip_(g_BP, self.clip)
            t_B1 = batch.done[:, None] + (k + 1)
            if batch.active is None:
                self._step_(x_BP, g_BP, slots, rate, t_B1, batch)
                continue
            held = [x_BP, *slots.values()]
            before = [rows.clone() for rows in held]
            self._step_(x_BP, g_BP, slots, rate, t_B1, batch)
            for rows, old in zip(held, before, strict=True):
                rows.copy_(torch.where(batch.active[:, k, None], rows, old))
        return x_BP, torch.stack(outs, 1)

    def _gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        """The function that adds gradients at ``x`` to ``into``."""
        return self.kernel.gradients(into, x, samples)

    def _step_(
        self, x_BP: Tensor, g_BP: Tensor, slots: Views, rate: Tensor, t_B1: Tensor, batch: Batch
    ) -> None:
        """A step of the optimiser, which leaves running statistics as they are."""
        if self._fixed is None:
            self.optimizer.step(x_BP, g_BP, slots, rate, t_B1)
            return
        fixed = self._fixed.to(x_BP.device)
        held = x_BP[:, fixed]
        self.optimizer.step(x_BP, g_BP, slots, rate, t_B1)
        x_BP[:, fixed] = held

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
        """Call ``add`` for step ``k`` of ``batch``, whose noise follows from a seed and the number
        of the step; returns the outputs to score. These are predictions: without noise, and with
        the running statistics before the step."""
        if not self.kernel.learns_otherwise:
            return add(x_k, t_k, scale)
        out = self.kernel.outputs(at, x_k)
        before = {s.name: at[s.name].clone() for s in self._statistics}
        drawn = seeded(derive(batch.noise, "step", k), x_k.device)
        with drawn if self.kernel.noisy else nullcontext():
            add(x_k, t_k, scale)
        if batch.active is not None:
            for name, old in before.items():
                own = batch.active[:, k].view(-1, *[1] * (old.ndim - 1))
                at[name].copy_(torch.where(own, at[name], old))
        return out

    def _score(self, out: Tensor, batch: Batch) -> PredictionScores:
        """Scores of the outputs ``[B, K, C, b]``, which were computed before learning from the
        samples.
        """
        truth = batch.target if batch.true_target is None else batch.true_target
        first = batch.first
        loss_BKb = self.loss.value(out, truth)
        if batch.weight is not None:  # b times the weight, so that the mean over b is the sum
            loss_BKb = loss_BKb * (batch.weight * batch.weight.shape[1])[:, None]
        if batch.active is None:
            mean = loss_BKb.mean((1, 2))
        else:
            mean = (loss_BKb.mean(2) * batch.active).sum(1) / batch.active.sum(1).clamp_min(1)
        if first is None:
            return PredictionScores(mean)
        if batch.active is not None:
            first = first & batch.active[:, :, None]
        # a sample of a sequence model has a prediction for each position
        if loss_BKb.shape[2] != first.shape[2]:
            first = first.repeat_interleave(loss_BKb.shape[2] // first.shape[2], 2)
        counted = first.to(loss_BKb.dtype)
        return PredictionScores(
            mean, counted.sum((1, 2)), (self.loss.score(out, truth) * counted).sum((1, 2))
        )
