"""How many floating-point operations a local step takes, and a prediction without learning."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from swarm.learning.models.base import CountsFlops


def flops_of_step(module: nn.Module, sample: Tensor, batch: int) -> float:
    """FLOP of a forward and a backward pass over ``batch`` samples, as ``torch.utils.flop_counter``
    counts them: products and convolutions, an addition and a multiplication each. What it does not
    know (recurrent layers) counts as 6 · parameters · samples, the usual rule for dense chains. The
    arithmetic of the loss and the optimiser, smaller by about the batch, is left out. A module that
    is a :class:`~swarm.learning.models.base.CountsFlops` is taken at its word.
    """
    if isinstance(module, CountsFlops):
        return module.step_flops(batch)
    return _counted(module, sample, batch, backward=True) or 6.0 * _parameters(module) * batch


def flops_of_prediction(module: nn.Module, sample: Tensor, batch: int) -> float:
    """FLOP of the forward pass alone, counted the same way; what the counter does not know is 2 ·
    parameters · samples.

    It is about half of a step for a model of few layers, as the first layer's backward pass has no
    gradient of its inputs, and a third for a deep one.
    """
    if isinstance(module, CountsFlops):
        return module.prediction_flops(batch)
    return _counted(module, sample, batch, backward=False) or 2.0 * _parameters(module) * batch


def _counted(module: nn.Module, sample: Tensor, batch: int, backward: bool) -> float:
    one = copy.deepcopy(module)
    inputs = sample[:1].expand(batch, *sample.shape[1:])
    with (
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
