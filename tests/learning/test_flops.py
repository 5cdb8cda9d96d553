"""What a model says a step takes is what torch counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from swarm.learning.kernels.flops import flops_of_prediction, flops_of_step
from swarm.learning.models.dense import MLP
from swarm.learning.models.transformer import Transformer


@pytest.mark.parametrize("hidden", [[], [7], [7, 5]])
def test_a_perceptron_counts_as_torch_does(hidden: list[int]) -> None:
    known, x = MLP((9,), 4, hidden), torch.randn(2, 9)
    counted = flops_of_step(nn.Sequential(*known.children()), x, 8)
    assert flops_of_step(known, x, 8) == counted


@pytest.mark.parametrize("backward", [False, True])
def test_causal_attention_counts_half_of_what_it_takes_by_hand(backward: bool) -> None:
    length, width, heads = 11, 16, 2
    model = Transformer((length,), 5, width, heads, depth=3, hidden=4)
    x = torch.randint(5, (2, length))
    count = flops_of_step if backward else flops_of_prediction
    fused = count(model, x, 4)
    with sdpa_kernel(SDPBackend.MATH):
        by_hand = count(model, x, 4)
    # by hand two products over all pairs, and for the gradient four; fused one more, but half of all
    pairs, whole = length * (length + 1) // 2, length * length
    taken = (2 * whole, 2 * pairs) if not backward else (6 * whole, 7 * pairs)
    assert by_hand - fused == 4 * 3 * 2 * width * (taken[0] - taken[1])
