"""Counts the floating-point operations (FLOP) of a local step, and of a prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from swarm.learning.buffers import copied
from swarm.learning.kernels.noise import seeded
from swarm.learning.models.base import CountsFlops


def flops_of_step(module: nn.Module, sample: Tensor, batch: int) -> float:
    """Return the FLOP of a forward and a backward pass over ``batch`` samples.

    ``torch.utils.flop_counter`` counts products and convolutions, and each addition and
    multiplication as one. A module that it cannot count (recurrent layers) takes 6 · parameters ·
    samples, the usual estimate for dense chains. The loss and the optimiser are left out, as they
    take less by about a factor of ``batch``. A
    :class:`~swarm.learning.models.base.CountsFlops` states its own number.
    """
    if isinstance(module, CountsFlops):
        return module.step_flops(batch)
    return _counted(module, sample, batch, backward=True) or 6.0 * _parameters(module) * batch


def flops_of_prediction(module: nn.Module, sample: Tensor, batch: int) -> float:
    """Return the FLOP of a forward pass over ``batch`` samples, counted as in
    :func:`flops_of_step`; a module that cannot be counted takes 2 · parameters · samples.

    A forward pass is about a third of a step for a deep model, and half for a model of few layers,
    since the first layer needs no gradient of its inputs.
    """
    if isinstance(module, CountsFlops):
        return module.prediction_flops(batch)
    return _counted(module, sample, batch, backward=False) or 2.0 * _parameters(module) * batch


def _counted(module: nn.Module, sample: Tensor, batch: int, backward: bool) -> float:
    one = copied(module)
    inputs = sample[:1].expand(batch, *sample.shape[1:])
    with (
        seeded(0),
        torch.inference_mode(False),
        torch.set_grad_enabled(backward),
        FlopCounterMode(display=False) as counter,
    ):
        out = one(inputs.clone())
        if backward:
            out.square().sum().backward()
    return float(counter.get_total_flops())


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
