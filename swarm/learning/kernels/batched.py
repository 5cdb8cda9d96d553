"""The kernel of modules that can run a block of devices at once themselves.

Such a module has a method ``over_rows(parameters, inputs)``: ``parameters`` holds each of its
parameters as ``[B, *shape]``, ``inputs`` are ``[B, b, *features]``, and the result is what
``forward`` returns for each device, ``[B, b, …]``. Autograd differentiates it once for all B
devices.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.common.rows import Layout, frozen_parameters
from swarm.learning.kernels.kernel import Gradient, Kernel, Scale, Views, gradients_of
from swarm.learning.kernels.losses import Loss

# samples of all devices that run together: with more they do not fit into the cache, with fewer the
# products are small and slow
POSITIONS_AT_ONCE = 4096


@runtime_checkable
class BatchedForward(Protocol):
    """A module with a forward pass for B devices."""

    def over_rows(self, parameters: Views, inputs: Tensor) -> Tensor:
        """Return the outputs ``[B, b, …]`` for the inputs ``[B, b, *features]``."""
        ...


class BatchedKernel(Kernel):
    """Autograd through a module's own ``over_rows``, for as many devices at a time as fit into the
    cache.
    """

    compiles = False

    def __init__(self, layout: Layout, run: BatchedForward, loss: Loss) -> None:
        self.layout, self.loss, self.run = layout, loss, run

    @classmethod
    def match(
        cls, module: nn.Module, loss: Loss, inputs: Tensor, layout: Layout | None = None
    ) -> BatchedKernel | None:
        """Return the kernel, for rows of this ``layout`` (None: that of its parameters), of a
        module that has ``over_rows``, and no frozen parameters, which that method would not be
        given; else None.

        Raises :class:`ConfigError` if ``over_rows`` returns other outputs than ``forward``, as in a
        subclass that overrides only one of them.
        """
        if not isinstance(module, BatchedForward) or frozen_parameters(module):
            return None
        found, draw = (
            cls(layout or Layout.of(module), module, loss),
            torch.Generator().manual_seed(0),
        )
        row_P = found.layout.pack(dict(module.named_parameters()))
        noise_BP = torch.randn(2, len(row_P), generator=draw, dtype=row_P.dtype).to(row_P.device)
        x = found.layout.views(row_P + 0.1 * noise_BP)
        with torch.no_grad():
            each = [
                functional_call(module, {n: v[i] for n, v in x.items()}, (inputs,))
                for i in range(2)
            ]
            expected, out = torch.stack(each), module.over_rows(x, inputs.expand(2, *inputs.shape))
        if out.shape != expected.shape or not torch.allclose(out, expected, rtol=1e-3, atol=1e-4):
            name = called(module)
            raise ConfigError("/model", name, "has a method over_rows that disagrees with forward")
        return found

    def outputs(self, x: Views, inputs: Tensor) -> Tensor:
        return _class_major(self.run.over_rows(x, inputs))

    def gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        return partial(self._add, into, x, max(1, POSITIONS_AT_ONCE // samples))

    def _add(
        self, into: Views, x: Views, at_once: int, inputs: Tensor, target_BCb: Tensor, scale: Scale
    ) -> Tensor:
        outs = []
        for start in range(0, len(inputs), at_once):
            part = slice(start, start + at_once)
            own = scale[part] if isinstance(scale, Tensor) and len(scale) > 1 else scale
            out, gradients = self._differentiate(
                {n: v[part] for n, v in x.items()}, inputs[part], target_BCb[part], own
            )
            outs.append(out)
            for view, gradient in zip(into.values(), gradients, strict=True):
                view[part].add_(gradient)
        return torch.cat(outs)

    def _differentiate(
        self, own: Views, inputs: Tensor, target_BCb: Tensor, scale: Scale
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.inference_mode(False), torch.enable_grad():
            leaves = {name: value.clone().requires_grad_() for name, value in own.items()}
            out = _class_major(self.run.over_rows(leaves, inputs.clone()))
            residual = self.loss.grad_outputs(out.detach(), target_BCb.clone())
            residual.mul_(scale.clone() if isinstance(scale, Tensor) else scale)
            return out.detach(), gradients_of(out, leaves, residual)


def _class_major(out: Tensor) -> Tensor:
    """Outputs ``[B, b, …, C]`` as ``[B, C, b · …]``."""
    return out.reshape(out.shape[0], -1, out.shape[-1]).transpose(1, 2)
