"""The kernel of modules that can run a block of devices at once themselves.

Such a module has a method ``over_rows(parameters, inputs)``, or
:class:`~swarm.learning.kernels.convolution.Convolution` gives it one. ``parameters`` holds each of
its parameters as ``[B, *shape]``, ``inputs`` are ``[B, b, *features]``, and the result is what
``forward`` returns for each device, ``[B, b, …]``. Autograd differentiates it once for all B
devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.common.rows import Layout, frozen_parameters
from swarm.learning.buffers import copied
from swarm.learning.kernels.convolution import Convolution
from swarm.learning.kernels.kernel import (
    Gradient,
    Kernel,
    PerDevice,
    Scale,
    Views,
)
from swarm.learning.kernels.losses import Loss
from swarm.learning.models.base import BatchedBase, Wrapped
from swarm.learning.running_statistics import entries

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
        self.made_numbers = run.numbers if isinstance(run, BatchedBase) else 0

    @classmethod
    def match(
        cls, module: nn.Module, loss: Loss, inputs: Tensor, layout: Layout | None = None
    ) -> BatchedKernel | None:
        """Return the kernel, for rows of this ``layout`` (None: that of its parameters), of a
        module that has ``over_rows`` or can be given it, and no frozen parameters, which that
        method would not be given; else None.

        Raises :class:`ConfigError` if the module's own ``over_rows`` returns other outputs than
        ``forward``, as in a subclass that overrides only one of them.
        """
        wrapped = module.batched() if isinstance(module, Wrapped) else None
        if wrapped is None and frozen_parameters(module):
            return None
        layout = layout or Layout.of(module)
        own = wrapped or module
        if isinstance(own, BatchedForward):
            if layout.statistics:
                return None
            found = cls(layout, own, loss)
            if not found._agrees(module, inputs, gradients=False):
                valid = "has a method over_rows that disagrees with forward"
                raise ConfigError("/model", called(module), valid)
            return found
        run = Convolution.match(module, inputs)
        if run is None:
            return None
        found = cls(layout, run, loss)
        try:
            agrees = found._agrees(module, inputs, gradients=True)
        except Exception:  # another kernel runs what cannot be replayed
            agrees = False
        return found if agrees else None

    def _agrees(self, module: nn.Module, inputs: Tensor, gradients: bool) -> bool:
        """Whether two devices with random parameters predict what ``module`` does with each of
        them, and learn it by the same ``gradients``."""
        draw = torch.Generator().manual_seed(0)
        row_P = self.layout.pack(entries(module))
        noise_BP = torch.randn(2, len(row_P), generator=draw, dtype=row_P.dtype).to(row_P.device)
        x_BP, both = row_P + 0.1 * noise_BP, inputs.expand(2, *inputs.shape)
        x = self.layout.views(x_BP)
        alone = PerDevice(module, self.loss, layout=self.layout)
        with torch.no_grad():
            expected, out = alone.outputs(x, both), self.outputs(x, both)
        if out.shape != expected.shape or out.dtype != expected.dtype:
            return False
        if not torch.allclose(out, expected, rtol=1e-3, atol=1e-4):
            return False
        if not gradients:
            return True
        # gradients, and running statistics after the step; in the run's own precision rounding
        # turns over some rectifiers of a deep module
        wide = x_BP.dtype if x_BP.device.type == "mps" else torch.float64
        alone = PerDevice(copied(module).to(wide), self.loss, layout=self.layout)
        x_BP, both, out = (each.to(wide) for each in (x_BP, both, out))
        found_BP, plain_BP = (self._changes(kernel, x_BP, both, out) for kernel in (self, alone))
        off_BP, least = found_BP - plain_BP, 1e-5 * plain_BP.norm()
        places = [slice(s.start, s.stop) for s in self.layout.slots]
        return all(off_BP[:, s].norm() <= 1e-3 * plain_BP[:, s].norm() + least for s in places)

    def _changes(self, kernel: Kernel, x_BP: Tensor, inputs: Tensor, out: Tensor) -> Tensor:
        """The gradients by ``kernel`` at ``x_BP``, and by how much its step changes the running
        statistics."""
        g_BP, after_BP = torch.zeros_like(x_BP), x_BP.clone()
        x, samples = self.layout.views(after_BP), out.shape[-1]
        kernel.gradients(self.layout.views(g_BP), x, samples)(inputs, torch.zeros_like(out), 1.0)
        return g_BP + (after_BP - x_BP)

    def at_once(self, devices: int, samples: int, learning: bool) -> int:
        if isinstance(self.run, Convolution):
            return min(devices, self.run.devices_at_once(samples))
        return min(devices, max(1, POSITIONS_AT_ONCE // samples)) if learning else devices

    def outputs(self, x: Views, inputs: Tensor) -> Tensor:
        at_once = self.at_once(len(inputs), inputs.shape[1], learning=False)
        outs = [self.run.over_rows(own, inputs[part]) for part, own in _parts(x, at_once)]
        return _class_major(outs[0] if len(outs) == 1 else torch.cat(outs))

    def gradients(self, into: Views, x: Views, samples: int) -> Gradient:
        at_once = self.at_once(len(next(iter(x.values()))), samples, learning=True)
        return partial(self._add, into, x, at_once)

    def _add(
        self, into: Views, x: Views, at_once: int, inputs: Tensor, target_BCb: Tensor, scale: Scale
    ) -> Tensor:
        outs = []
        for part, leaves in _parts(x, at_once):
            own = scale[part] if isinstance(scale, Tensor) and len(scale) > 1 else scale
            out, gradients, after = self._differentiated(
                self._run, leaves, inputs[part], target_BCb[part], own
            )
            outs.append(out)
            for name, gradient in gradients.items():
                into[name][part].add_(gradient)
            for name, value in after.items():
                x[name][part].copy_(value)
        return torch.cat(outs)

    def _run(self, leaves: Views, held: Views, inputs: Tensor) -> tuple[Tensor, Views]:
        if isinstance(self.run, Convolution):
            rows, after = self.run.learning_rows({**leaves, **held}, inputs)
        else:
            rows, after = self.run.over_rows({**leaves, **held}, inputs), {}
        return _class_major(rows), after


def _class_major(out: Tensor) -> Tensor:
    """Outputs ``[B, b, …, C]`` as ``[B, C, b · …]``."""
    return out.reshape(out.shape[0], -1, out.shape[-1]).transpose(1, 2)


def _parts(x: Views, at_once: int) -> Iterator[tuple[slice, Views]]:
    """The devices of a block, ``at_once`` at a time: which they are, and their parameters."""
    for start in range(0, len(next(iter(x.values()))), at_once):
        part = slice(start, start + at_once)
        yield part, {name: value[part] for name, value in x.items()}
