"""Sums of gradients of single samples, each clipped to a norm, for a block of devices at once.

:class:`DenseClipped` needs no gradient of a single sample: in a fully connected layer it is the
outer product of what goes in and of the derivative by what comes out, so that its norm is the
product of two norms (Goodfellow, *Efficient per-example gradient computations*, 2015, arXiv
1510.01799). :class:`SampleByDevice` runs any other module, with a copy of the parameters for each
sample, as if every sample were a device of its own.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from swarm.learning.kernels.dense import Dense
from swarm.learning.kernels.kernel import Kernel, Views

# numbers of the gradients of single samples that are in memory together
NUMBERS_AT_ONCE = 1 << 21


class ClippedGradient(Protocol):
    """A function that adds scale_B · Σ_s there_Bs · clip_C(∇ℓ_s) to ``into``, where ℓ_s is the mean
    loss of a sample over its labels.

    It returns the outputs ``[B, C, b]``, which are computed before anything is written.
    """

    into: Views

    def __call__(
        self, inputs: Tensor, target_BCb: Tensor, scale_B11: Tensor, there_Bb: Tensor
    ) -> Tensor: ...


def clipped_gradients(
    kernel: Kernel, into: Views, x: Views, samples: int, clip_norm: float | None
) -> ClippedGradient:
    """Return the function that adds clipped gradients at ``x`` to ``into``, for mini-batches with
    ``samples`` places; a ``clip_norm`` of None clips nothing."""
    if isinstance(kernel, Dense):
        return DenseClipped(kernel, into, x, samples, clip_norm)
    return SampleByDevice(kernel, into, x, clip_norm)


def _factors(square_Bb: Tensor, there_Bb: Tensor, clip_norm: float | None) -> Tensor:
    """What each sample's gradient is multiplied by, given its squared norm, ``[B, b]``."""
    if clip_norm is None:
        return there_Bb.clone()
    # a norm of 0 gives infinity, which becomes 1
    return square_Bb.rsqrt_().mul_(clip_norm).clamp_max_(1.0).mul_(there_Bb)


class DenseClipped:
    """Fully connected chains: one forward pass, one backward pass for the derivatives by the
    outputs of the layers, and one product for each layer, whose terms are weighted."""

    def __init__(
        self, kernel: Dense, into: Views, x: Views, samples: int, clip_norm: float | None
    ) -> None:
        self.loss, self.activations, self.clip_norm = kernel.loss, kernel.activations, clip_norm
        self.into, self.sums, self.x = into, kernel.affine(into), kernel.affine(x)
        weight = self.x[0].weight
        shapes = [(len(weight), samples, layer.weight.shape[1]) for layer in self.x[:-1]]
        # hidden values, copies that the derivative overwrites, and derivatives
        self.hidden, self.spare, self.down = (
            [weight.new_empty(shape) for shape in shapes] for _ in range(3)
        )
        self.residual_BCb = weight.new_empty(len(weight), self.x[-1].weight.shape[1], samples)
        self.ones_Bb1 = weight.new_ones(len(weight), samples, 1)

    def __call__(
        self, inputs: Tensor, target_BCb: Tensor, scale_B11: Tensor, there_Bb: Tensor
    ) -> Tensor:
        first_BbD = inputs if inputs.dim() == 3 else inputs.flatten(2)
        *lower, last = self.x
        below = [first_BbD]  # what goes into each layer
        for layer, activation, h in zip(lower, self.activations, self.hidden, strict=True):
            below.append(
                activation.apply(torch.baddbmm(layer.row, below[-1], layer.transposed, out=h))
            )
        out = torch.baddbmm(last.column, last.weight, below[-1].transpose(1, 2))
        d_BCb = self.loss.grad_outputs(out, target_BCb, self.residual_BCb)
        square_Bb = (d_BCb * d_BCb).sum(1).mul_(_square(below[-1]).add_(1))
        above = d_BCb.transpose(1, 2)
        for i in range(len(lower) - 1, -1, -1):
            d, spare = self.down[i], self.spare[i]
            torch.bmm(above, self.x[i + 1].weight, out=d)
            spare.copy_(self.hidden[i])
            self.activations[i].backward(d, spare)
            square_Bb.addcmul_(_square(d), _square(below[i]).add_(1))
            above = d
        factor_Bb = _factors(square_Bb, there_Bb, self.clip_norm).mul_(scale_B11[:, :, 0])
        for i, d in enumerate(self.down):
            d.mul_(factor_Bb.unsqueeze(2))
            self.sums[i].weight.baddbmm_(d.transpose(1, 2), below[i])
            self.sums[i].row.baddbmm_(self.ones_Bb1.transpose(1, 2), d)
        d_BCb.mul_(factor_Bb.unsqueeze(1))
        self.sums[-1].weight.baddbmm_(d_BCb, below[-1])
        self.sums[-1].column.baddbmm_(d_BCb, self.ones_Bb1)
        return out


def _square(x_BbH: Tensor) -> Tensor:
    """The squared norm of each sample, ``[B, b]``."""
    norm_Bb: Tensor = torch.linalg.vector_norm(x_BbH, dim=2)
    return norm_Bb.mul_(norm_Bb)


class SampleByDevice:
    """Any module: the kernel runs a device for each sample, and so has the gradient of each. Places
    without a sample are left out; their outputs are 0."""

    def __init__(self, kernel: Kernel, into: Views, x: Views, clip_norm: float | None) -> None:
        self.kernel, self.into, self.x, self.clip_norm = kernel, into, x, clip_norm
        self.numbers = sum(view[0].numel() for view in x.values())

    def __call__(
        self, inputs: Tensor, target_BCb: Tensor, scale_B11: Tensor, there_Bb: Tensor
    ) -> Tensor:
        devices, samples = there_Bb.shape
        target_BbCL = target_BCb.view(devices, target_BCb.shape[1], samples, -1).transpose(1, 2)
        out_BbCL = torch.zeros_like(target_BbCL)
        sums = {name: torch.zeros_like(view) for name, view in self.into.items()}
        device_S, place_S = there_Bb.nonzero(as_tuple=True)
        at_once = max(1, NUMBERS_AT_ONCE // self.numbers)
        parts = torch.split(device_S, at_once), torch.split(place_S, at_once)
        for own_s, at_s in zip(*parts, strict=True):
            if not len(own_s):  # nobody has a sample
                continue
            out_BbCL[own_s, at_s] = self._add(
                sums, own_s, inputs[own_s, at_s], target_BbCL[own_s, at_s], scale_B11[own_s, 0, 0]
            )
        # only now, as these may be the parameters that gradients are taken at
        for name, view in self.into.items():
            view.add_(sums[name])
        return out_BbCL.transpose(1, 2).flatten(2)

    def _add(
        self, sums: Views, device_s: Tensor, inputs: Tensor, target_sCL: Tensor, scale_s: Tensor
    ) -> Tensor:
        """Add the weighted clipped gradients of some samples, each with its device, to ``sums``;
        returns the outputs ``[s, C, L]``."""
        own = {name: view[device_s] for name, view in self.x.items()}
        each = {name: torch.zeros_like(view) for name, view in own.items()}
        labels = target_sCL.shape[2]
        add = self.kernel.gradients(each, own, labels)
        out = add(inputs.unsqueeze(1), target_sCL, 1.0 / labels)
        square_s = torch.zeros_like(scale_s)
        for view in each.values():
            square_s += view.flatten(1).square().sum(1)
        factor_s = _factors(square_s, torch.ones_like(scale_s), self.clip_norm).mul_(scale_s)
        for name, view in each.items():
            weighted = view.mul_(factor_s.view(-1, *[1] * (view.dim() - 1)))
            sums[name].index_add_(0, device_s, weighted)
        return out
