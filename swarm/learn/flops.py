"""How many floating-point operations a local step takes."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from swarm.models.base import CountsFlops


def flops_of_step(module: nn.Module, sample: Tensor, batch: int) -> float:
    """FLOP of a forward and a backward pass over ``batch`` samples, as ``torch.utils.flop_counter`` counts them: products and
    convolutions, an addition and a multiplication each. What it does not know (recurrent layers) counts as 6 · parameters ·
    samples, the usual rule for dense chains. The arithmetic of the loss and the optimiser, smaller by about the batch, is left
    out. A module that is a :class:`~swarm.models.base.CountsFlops` is taken at its word.
    """
    if isinstance(module, CountsFlops):
        return module.step_flops(batch)
    one = copy.deepcopy(module)
    inputs = sample[:1].expand(batch, *sample.shape[1:])
    with torch.inference_mode(False), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        one(inputs.clone()).square().sum().backward()
    rule = 6.0 * sum(p.numel() for p in one.parameters()) * batch
    return float(counter.get_total_flops()) or rule
