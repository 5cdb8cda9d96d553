"""Counts the floating-point operations (FLOP) of a local step, and of a prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from swarm.learning.buffers import copied
from swarm.learning.kernels.noise import seeded
from swarm.learning.models.base import CountsFlops


def _pairs(query: Sequence[int], key: Sequence[int], causal: bool) -> int:
    """How many pairs of a query and a key attention looks at, over all samples and heads; causal
    attention lets each query see the keys up to its own place."""
    *heads, length, _ = query
    keys = key[-2]
    square = min(length, keys)  # from there on every query sees all keys
    of_head = square * (square + 1) // 2 + (length - square) * keys if causal else length * keys
    return math.prod(heads) * of_head


def _attention(
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_: Any,
) -> int:
    """FLOP of fused attention, which adds up q·k and weight·v over all pairs."""
    return 2 * _pairs(query, key, is_causal) * (query[-1] + value[-1])


def _attention_backward(
    grad: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    out: Sequence[int],
    logsumexp: Sequence[int],
    dropout_p: float,
    is_causal: bool,
    **_: Any,
) -> int:
    """FLOP of its gradient: q·k once more, and the gradients of q, k, v and of the weights."""
    return 2 * _pairs(query, key, is_causal) * (3 * query[-1] + 2 * value[-1])


_ON_CPU = "_scaled_dot_product_flash_attention_for_cpu"
# torch counts the fused attention of graphics cards, and on the processor takes it for nothing
ATTENTION = {
    getattr(torch.ops.aten, _ON_CPU): _attention,
    getattr(torch.ops.aten, f"{_ON_CPU}_backward"): _attention_backward,
}


def counter() -> FlopCounterMode:
    """Return a context that counts the FLOP of what is computed in it."""
    return FlopCounterMode(display=False, custom_mapping=ATTENTION)


def flops_of_step(module: nn.Module, sample: Tensor, batch: int) -> float:
    """Return the FLOP of a forward and a backward pass over ``batch`` samples.

    ``torch.utils.flop_counter`` counts products and convolutions, and each addition and
    multiplication as one; :func:`counter` adds attention, of which a causal one takes half. A
    module that it cannot count (recurrent layers) takes 6 · parameters · samples, the usual
    estimate for dense chains. The loss and the optimiser are left out, as they take less by about a
    factor of ``batch``. A
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
        counter() as counted,
    ):
        out = one(inputs.clone())
        if backward:
            out.square().sum().backward()
    return float(counted.get_total_flops())


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
