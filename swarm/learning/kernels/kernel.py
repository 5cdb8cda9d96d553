"""Gradients of a whole block of devices at once.

A :class:`Kernel` runs one module with the parameters of B devices. :class:`Functional` vectorises
any ``nn.Module`` that is a pure function by ``torch.func``. :class:`PerDevice` runs modules that
``vmap`` cannot batch (``nn.GRU``, ``nn.LSTM``), one device after the other.
:class:`~swarm.learning.kernels.dense.Dense` is the hand-written forward and backward pass of fully
connected chains, several times faster. :class:`~swarm.learning.kernels.batched.BatchedKernel` runs
modules with a batched forward pass of their own, such as the sequence models. All compute the same
gradient to rounding.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from swarm.common.rows import Layout, frozen_parameters
from swarm.learning.kernels.losses import Loss

Views = dict[str, Tensor]  # each parameter of a block as ``[B, *shape]``
# one number for the whole block, ``[B, 1, 1]`` or ``[1, 1, 1]``, or for each sample ``[B, 1, b]``
Scale = float | Tensor


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
    compiles = True  # if False, compute.compile does not compile this kernel
    noisy = False  # whether the module draws from torch's generator while it learns

    @abstractmethod
    def outputs(self, x: Views, inputs: Tensor) -> Tensor:
        """Return the predictions of B devices on b samples each, ``[B, C, b]``."""

    @abstractmethod
    def gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        """Return a function that adds gradients at ``x`` to ``into``, for mini-batches of
        ``samples`` samples.

        If ``into`` are the parameters themselves and ``scale = −lr / b``, a call is a step of SGD,
        and no gradient is ever stored.
        """


class Functional(Kernel):
    """Vectorises any module that is a pure function by ``vmap`` of ``functional_call``.

    If the module is ``noisy``, every device draws numbers of its own while it learns, and predicts
    without noise.
    """

    def __init__(self, module: nn.Module, loss: Loss, noisy: bool = False) -> None:
        self.layout, self.loss, self.noisy = Layout.of(module), loss, noisy
        self.compiles = not noisy
        self._predict: Callable[[Views, Tensor], Any] = vmap(_prediction(module, noisy))
        self._learn = self._predict
        if noisy:
            self._learn = vmap(_prediction(module), randomness="different")

    def outputs(self, x: Views, inputs: Tensor) -> Tensor:
        out: Tensor = self._predict(x, inputs)
        return out

    def gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        return partial(self._add, into, x)

    def _add(
        self, into: Views, x: Views, inputs: Tensor, target_BCb: Tensor, scale: Scale
    ) -> Tensor:
        pulled: Any = vjp(lambda parameters: self._learn(parameters, inputs), x)
        out: Tensor = pulled[0]
        (gradient,) = pulled[1](self.loss.grad_outputs(out, target_BCb).mul_(scale))
        for name, view in into.items():
            view.add_(gradient[name])
        return out.detach()


class PerDevice(Kernel):
    """Runs a module with operations that cannot be batched, one device after the other, as fast as
    a plain loop.
    """

    def __init__(self, module: nn.Module, loss: Loss, noisy: bool = False) -> None:
        self.layout, self.loss, self.noisy = Layout.of(module), loss, noisy
        self.compiles = not noisy
        self._predict = _prediction(module, noisy)
        self._learn = _prediction(module) if noisy else self._predict

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
            out, gradients = self._differentiate(
                {n: v[i] for n, v in x.items()}, inputs[i], target_BCb[i], own
            )
            outs.append(out)
            for view, gradient in zip(into.values(), gradients, strict=True):
                view[i] += gradient
        return torch.stack(outs)

    def _differentiate(
        self, own: Views, inputs: Tensor, target_Cb: Tensor, scale: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.inference_mode(False), torch.enable_grad():
            leaves = {name: value.clone().requires_grad_() for name, value in own.items()}
            out = self._learn(leaves, inputs.clone())
            residual = self.loss.grad_outputs(out.detach(), target_Cb.clone()) * scale.clone()
            return out.detach(), gradients_of(out, leaves, residual)


def gradients_of(out: Tensor, leaves: Views, residual: Tensor) -> tuple[Tensor, ...]:
    """Return ``residual`` · ∂out/∂leaf for each of ``leaves``; it is zero for a parameter that
    ``out`` does not depend on.
    """
    return torch.autograd.grad(
        out, list(leaves.values()), residual, allow_unused=True, materialize_grads=True
    )


def _prediction(module: nn.Module, evaluates: bool = False) -> Callable[[Views, Tensor], Tensor]:
    """One device's prediction ``[C, b]`` as a function of its parameters and inputs ``[b,
    *features]``; ``[C, b · L]`` for a module with outputs for each of L positions.

    The caller gives the parameters that learn; of the module itself only constant buffers (masks,
    positions) and frozen parameters are used. ``evaluates`` puts it into evaluation mode.
    """
    # a frozen base may be large, and is not copied
    shared = {id(each): each for each in frozen_parameters(module).values()}
    skeleton = copy.deepcopy(module, shared).requires_grad_(False)
    if evaluates:
        skeleton.eval()

    def predict(parameters: Views, inputs: Tensor) -> Tensor:
        out: Tensor = functional_call(skeleton, parameters, (inputs,))
        return out.reshape(-1, out.shape[-1]).T

    return predict
