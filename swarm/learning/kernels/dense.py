"""The kernel of fully connected chains (softmax regression, MLP) with a hand-written backward pass.

A step takes a few batched products, without autograd and without a stored gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from swarm.common.rows import Layout
from swarm.learning.kernels.kernel import Gradient, Kernel, Scale, Views
from swarm.learning.kernels.losses import Loss


@dataclass(frozen=True)
class Activation:
    """A pointwise function σ and its derivative, both in place.

    ``apply`` turns z into h = σ(z). ``backward(d, h)`` turns d into d·σ′(z), and overwrites h.
    """

    apply: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(Tensor.relu_, lambda d, h: d.mul_(h.sign_())),
    nn.Tanh: Activation(Tensor.tanh_, lambda d, h: d.addcmul_(d, h.square_(), value=-1.0)),
    nn.Sigmoid: Activation(Tensor.sigmoid_, lambda d, h: d.mul_(h.addcmul_(h, h, value=-1.0))),
}


@dataclass(frozen=True)
class DenseLayer:
    """One affine map: the names of its weight and bias in the layout."""

    weight: str
    bias: str


class Affine(NamedTuple):
    """One affine map of a block, as views: weight ``[B, H, D]`` and its transpose, bias ``[B, H,
    1]`` and ``[B, 1, H]``.
    """

    weight: Tensor
    transposed: Tensor
    column: Tensor
    row: Tensor


class Dense(Kernel):
    """Forward and backward of ``Linear → activation → … → Linear`` over rows.

    Hidden activations are ``h_BbH``; the last layer's output is class-major, ``out_BCb`` (see
    :mod:`swarm.learning.kernels.losses`).
    """

    copies_rows = False

    def __init__(
        self,
        layout: Layout,
        layers: list[DenseLayer],
        activations: list[Activation],
        loss: Loss,
    ) -> None:
        self.layout, self.loss = layout, loss
        self.layers, self.activations = layers, activations

    @classmethod
    def match(cls, module: nn.Module, loss: Loss, layout: Layout | None = None) -> Dense | None:
        """Return the kernel of ``module``, whose rows have this ``layout`` (None: that of its
        parameters), if it is such a chain, an ``nn.Sequential`` that may flatten first; else None.
        """
        if type(module).forward is not nn.Sequential.forward:
            return None
        layout = layout or Layout.of(module)
        # named_children() would leave out a layer that is used twice
        children = [(name, part) for name, part in module._modules.items() if part is not None]
        parts = [(name, part) for name, part in children if type(part) is not nn.Flatten]
        flattens = [i for i, (_, part) in enumerate(children) if type(part) is nn.Flatten]
        linear, between = parts[0::2], parts[1::2]
        fits = (
            len(parts) % 2 == 1
            and flattens in ([], [0])
            and all(type(part) is nn.Linear and part.bias is not None for _, part in linear)
            and all(type(part) in ACTIVATIONS for _, part in between)
            and len(layout.slots) == 2 * len(linear)  # no layer or weight is shared
            and not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
        )
        if not fits:
            return None
        layers = [DenseLayer(f"{name}.weight", f"{name}.bias") for name, _ in linear]
        return cls(layout, layers, [ACTIVATIONS[type(part)] for _, part in between], loss)

    def outputs(self, x: Views, inputs: Tensor) -> Tensor:
        *hidden, last = self.affine(x)
        h = inputs if inputs.dim() == 3 else inputs.flatten(2)
        for layer, activation in zip(hidden, self.activations, strict=True):
            h = activation.apply(torch.baddbmm(layer.row, h, layer.transposed))
        return torch.baddbmm(last.column, last.weight, h.transpose(1, 2))

    def gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        return _Pass(self, self.affine(into), self.affine(x), samples)

    def affine(self, views: Views) -> list[Affine]:
        """Return the layers of a block, as views of its parameters."""
        pairs = [(views[e.weight], views[e.bias]) for e in self.layers]
        return [Affine(w, w.transpose(1, 2), b.unsqueeze(2), b.unsqueeze(1)) for w, b in pairs]


class _Pass:
    """The forward and backward pass of one block; all its steps use the same memory, transposed
    views and vector of ones.
    """

    def __init__(self, kernel: Dense, into: list[Affine], x: list[Affine], samples: int) -> None:
        self.loss, self.into, self.x = kernel.loss, into, x
        weight = x[0].weight
        block = weight.shape[0]
        hidden_BbH = [weight.new_empty(block, samples, layer.weight.shape[1]) for layer in x[:-1]]
        self.up = list(zip(x, kernel.activations, hidden_BbH, strict=False))
        # ∂loss/∂hidden, then ∂loss/∂(before the activation)
        down_BbH = [torch.empty_like(h) for h in hidden_BbH]
        self.down = [
            (into_, a.backward, h, d, d.transpose(1, 2))
            for into_, a, h, d in zip(into, kernel.activations, hidden_BbH, down_BbH, strict=False)
        ]
        self.last_BHb = hidden_BbH[-1].transpose(1, 2) if hidden_BbH else None
        self.residual_BCb = weight.new_empty(block, x[-1].weight.shape[1], samples)
        self.residual_BbC = self.residual_BCb.transpose(1, 2)
        self.ones_Bb1 = weight.new_ones(block, samples, 1)
        self.ones_B1b = self.ones_Bb1.transpose(1, 2)
        # asked once, as asking takes a fiftieth of a small step
        self.compiled = torch.compiler.is_compiling()

    def __call__(self, inputs: Tensor, target_BCb: Tensor, scale: Scale) -> Tensor:
        h_BbD = first_BbD = inputs if inputs.dim() == 3 else inputs.flatten(2)
        for layer, activation, h in self.up:
            h_BbD = activation.apply(torch.baddbmm(layer.row, h_BbD, layer.transposed, out=h))
        last, into = self.x[-1], self.into[-1]
        out = torch.baddbmm(
            last.column,
            last.weight,
            h_BbD.transpose(1, 2) if self.last_BHb is None else self.last_BHb,
        )
        d_BCb = self.loss.grad_outputs(out, target_BCb, self.residual_BCb)
        if isinstance(scale, Tensor):
            d_BCb.mul_(scale)
            scale = 1.0
        if self.down:
            torch.bmm(self.residual_BbC, last.weight, out=self.down[-1][3])
        into.weight.baddbmm_(d_BCb, h_BbD, alpha=scale)
        self._add_sum(into.column, d_BCb, 2, scale)
        for i in range(len(self.down) - 1, -1, -1):
            into, backward, h, d_BbH, d_BHb = self.down[i]
            backward(d_BbH, h)
            if i:
                torch.bmm(d_BbH, self.x[i].weight, out=self.down[i - 1][3])
            into.weight.baddbmm_(d_BHb, self.down[i - 1][2] if i else first_BbD, alpha=scale)
            self._add_sum(into.row, d_BbH, 1, scale)
        return out

    def _add_sum(self, bias: Tensor, d: Tensor, samples: int, scale: float) -> None:
        """``bias += scale · Σ d`` over the axis of the samples.

        A product with ones does it in one call. The compiler gets a sum instead, which it fuses
        with neighbouring operations.
        """
        if self.compiled:
            bias.add_(d.sum(samples, keepdim=True), alpha=scale)
        else:
            bias.baddbmm_(
                *((self.ones_B1b, d) if samples == 1 else (d, self.ones_Bb1)), alpha=scale
            )
