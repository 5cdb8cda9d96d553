"""Gradients of a whole block of devices at once.

A :class:`Kernel` runs one module with the parameters of B devices. :class:`Functional` vectorises
any ``nn.Module`` that is a pure function by ``torch.func``. :class:`PerDevice` runs modules that
``vmap`` cannot batch (``nn.GRU``, ``nn.LSTM``), one device after the other.
:class:`~swarm.learning.kernels.dense.Dense` is the hand-written forward and backward pass of fully
connected chains, several times faster. :class:`~swarm.learning.kernels.batched.BatchedKernel` runs
modules with a batched forward pass of their own, such as the sequence models, and convolutional
ones. All compute the same gradient to rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from swarm.common.rows import Layout, frozen_parameters
from swarm.learning.buffers import copied
from swarm.learning.kernels.losses import Loss

Views = dict[str, Tensor]  # each parameter of a block as ``[B, *shape]``
# one number for the whole block, ``[B, 1, 1]`` or ``[1, 1, 1]``, or for each sample ``[B, 1, b]``
Scale = float | Tensor
# the outputs, the gradient of each parameter, and the running statistics afterwards
Differentiated = tuple[Tensor, Views, Views]
# outputs and running statistics, as a function of parameters, running statistics and inputs
Learn = Callable[[Views, Views, Tensor], tuple[Tensor, Views]]


class Gradient(Protocol):
    """A function that adds ``scale · ∇(summed loss at x)`` to ``into``.

    It returns the outputs ``[B, C, b]``, which are computed before anything is written.
    """

    def __call__(self, inputs: Tensor, target_BCb: Tensor, scale: Scale) -> Tensor: ...


class Kernel(ABC):
    """A model as functions of the parameters of a block of B devices.

    Inputs are ``[B, b, *features]``, outputs ``[B, C, b]``.
    """

    layout: Layout
    loss: Loss
    compiles = True  # if False, compute.compile does not compile this kernel
    copies_rows = True  # while it learns, as autograd needs leaves of its own
    made_numbers = 0  # numbers that are made for a device while it is computed with
    noisy = False  # whether the module draws from torch's generator while it learns

    @property
    def learns_otherwise(self) -> bool:
        """Whether the module computes something else while it learns than when it predicts."""
        return self.noisy or bool(self.layout.statistics)

    @abstractmethod
    def outputs(self, x: Views, inputs: Tensor) -> Tensor:
        """Return the predictions of B devices on b samples each, ``[B, C, b]``."""

    def at_once(self, devices: int, samples: int, learning: bool) -> int:
        """How many of the ``devices`` of a block run together on ``samples`` samples (labels) each,
        while they learn or predict: the intermediate values of so many are in memory at a time.
        """
        return devices

    @abstractmethod
    def gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        """Return a function that adds gradients at ``x`` to ``into``, for mini-batches of
        ``samples`` samples, and writes the running statistics after the mini-batch to ``x``.

        If ``into`` are the parameters themselves and ``scale = −lr / b``, a call is a step of SGD,
        and no gradient is ever stored.
        """

    def _differentiated(
        self, learn: Learn, x: Views, inputs: Tensor, target: Tensor, scale: Scale
    ) -> Differentiated:
        """What ``learn`` gives for the entries ``x`` of rows, and its gradients by autograd."""
        with torch.inference_mode(False), torch.enable_grad():
            parameters, statistics = split_statistics(x, self.layout)
            # copies, whose bits do not depend on how rows lie in memory
            leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
            held = {name: value.clone() for name, value in statistics.items()}
            out, after = learn(leaves, held, inputs.clone())
            residual = self.loss.grad_outputs(out.detach(), target.clone())
            residual.mul_(scale.clone() if isinstance(scale, Tensor) else scale)
            return out.detach(), _gradients(out, leaves, residual), after


class Functional(Kernel):
    """Vectorises any module that is a pure function by ``vmap`` of ``functional_call``.

    If the module is ``noisy``, every device draws numbers of its own while it learns, and predicts
    without noise.
    """

    def __init__(
        self, module: nn.Module, loss: Loss, noisy: bool = False, layout: Layout | None = None
    ) -> None:
        self.layout, self.loss, self.noisy = layout or Layout.of(module), loss, noisy
        self.compiles = not self.learns_otherwise
        self._predict: Callable[[Views, Tensor], Any] = vmap(
            _prediction(module, self.layout, self.learns_otherwise)
        )
        randomness = "different" if noisy else "error"
        self._learn = vmap(_learning(module, self.layout), randomness=randomness)

    def outputs(self, x: Views, inputs: Tensor) -> Tensor:
        out: Tensor = self._predict(x, inputs)
        return out

    def gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        return partial(self._add, into, x)

    def _add(
        self, into: Views, x: Views, inputs: Tensor, target_BCb: Tensor, scale: Scale
    ) -> Tensor:
        if torch.compiler.is_compiling():
            out, gradients, after = self._traced(x, inputs, target_BCb, scale)
        else:
            out, gradients, after = self._differentiated(self._learn, x, inputs, target_BCb, scale)
        for name, gradient in gradients.items():
            into[name].add_(gradient)
        for name, value in after.items():
            x[name].copy_(value)
        return out

    def _traced(self, x: Views, inputs: Tensor, target_BCb: Tensor, scale: Scale) -> Differentiated:
        """As :meth:`_differentiated`, by what the compiler can trace. Elsewhere ``vjp`` takes a
        tenth longer, and imports the compiler, which takes a second."""
        parameters, statistics = split_statistics(x, self.layout)
        pulled: Any = vjp(
            lambda own: self._learn(own, statistics, inputs), parameters, has_aux=True
        )
        out, pull, after = pulled
        (gradients,) = pull(self.loss.grad_outputs(out, target_BCb).mul_(scale))
        return out.detach(), gradients, after


class PerDevice(Kernel):
    """Runs a module with operations that cannot be batched, one device after the other, as fast as
    a plain loop.
    """

    compiles = False  # the compiler cannot trace torch.autograd

    def __init__(
        self, module: nn.Module, loss: Loss, noisy: bool = False, layout: Layout | None = None
    ) -> None:
        self.layout, self.loss, self.noisy = layout or Layout.of(module), loss, noisy
        self._predict = _prediction(module, self.layout, self.learns_otherwise)
        self._learn = _learning(module, self.layout)

    def at_once(self, devices: int, samples: int, learning: bool) -> int:
        return 1

    def outputs(self, x: Views, inputs: Tensor) -> Tensor:
        return torch.stack(
            [self._predict({n: v[i] for n, v in x.items()}, inputs[i]) for i in range(len(inputs))]
        )

    def gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        return partial(self._add, into, x)

    def _add(
        self, into: Views, x: Views, inputs: Tensor, target_BCb: Tensor, scale: Scale
    ) -> Tensor:
        given = torch.as_tensor(scale, dtype=target_BCb.dtype, device=inputs.device)
        scale_B1b = given.expand(len(inputs), 1, given.shape[-1] if given.dim() else 1)
        outs = []
        for i, own in enumerate(scale_B1b):
            out, gradients, statistics = self._differentiated(
                self._learn, {n: v[i] for n, v in x.items()}, inputs[i], target_BCb[i], own
            )
            outs.append(out)
            for name, gradient in gradients.items():
                into[name][i] += gradient
            for name, value in statistics.items():
                x[name][i] = value
        return torch.stack(outs)


def _gradients(out: Tensor, leaves: Views, residual: Tensor) -> Views:
    """Return ``residual`` · ∂out/∂leaf for each of ``leaves``; it is zero for a parameter that
    ``out`` does not depend on. The sparse one of an ``nn.Embedding(sparse=True)`` is made dense, as
    rows are.
    """
    if not out.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(
        out, list(leaves.values()), residual, allow_unused=True, materialize_grads=True
    )
    dense = (each.to_dense() if each.is_sparse else each for each in found)
    return dict(zip(leaves, dense, strict=True))


def split_statistics(x: Views, layout: Layout) -> tuple[Views, Views]:
    """Return the parameters and the running statistics among the entries ``x`` of a row."""
    names = {s.name for s in layout.statistics}
    if not names:
        return x, {}
    parameters = {name: value for name, value in x.items() if name not in names}
    return parameters, {name: x[name] for name in names}


def _prediction(
    module: nn.Module, layout: Layout, evaluates: bool
) -> Callable[[Views, Tensor], Tensor]:
    """One device's prediction ``[C, b]`` as a function of its entries of a row and inputs ``[b,
    *features]``; ``[C, b · L]`` for a module with outputs for each of L positions.

    ``evaluates`` puts the module into evaluation mode.
    """
    skeleton = _skeleton(module)
    if evaluates:
        skeleton.eval()

    def predict(own: Views, inputs: Tensor) -> Tensor:
        parameters, statistics = split_statistics(own, layout)
        out: Tensor = functional_call(
            skeleton, {**parameters, **_as_buffers(statistics, layout)}, (inputs,)
        )
        return out.reshape(-1, out.shape[-1]).T

    return predict


def _learning(module: nn.Module, layout: Layout) -> Learn:
    """One device's outputs ``[C, b]`` while it learns, and its running statistics after that, as a
    function of its parameters, its running statistics and inputs ``[b, *features]``."""
    held = _ReturnsBuffers(_skeleton(module), [s.name for s in layout.statistics])

    def learn(parameters: Views, statistics: Views, inputs: Tensor) -> tuple[Tensor, Views]:
        given = {**parameters, **_as_buffers(statistics, layout)}
        out, after = functional_call(
            held, {f"module.{name}": value for name, value in given.items()}, (inputs,)
        )
        kept = {name: after[name].detach().to(value.dtype) for name, value in statistics.items()}
        return out.reshape(-1, out.shape[-1]).T, kept

    return learn


class _ReturnsBuffers(nn.Module):
    """A module that returns the buffers that it has after ``forward``, too."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, inputs: Tensor) -> tuple[Tensor, Views]:
        out: Tensor = self.module(inputs)
        return out, {name: self.module.get_buffer(name) for name in self.names}


def _as_buffers(statistics: Views, layout: Layout) -> Views:
    """Running statistics as the module's buffers, which it may change: whole numbers where it
    counts, and nothing below what is possible, to which averaging with rounding may lead."""
    found = {}
    for entry in layout.statistics:
        value = statistics[entry.name]
        if entry.least is not None:
            value = value.clamp_min(entry.least)
        found[entry.name] = value.round().to(torch.int64) if entry.counts else value.clone()
    return found


def _skeleton(module: nn.Module) -> nn.Module:
    """A copy of ``module`` of which only constant buffers (masks, positions) and frozen parameters
    are used; the caller gives all that learns."""
    # a frozen base may be large, and is not copied
    shared = {id(each): each for each in frozen_parameters(module).values()}
    found = copied(module, shared).requires_grad_(False)
    for part in found.modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            part.sparse = False  # rows are dense, and a sparse gradient is summed in another order
    return found
