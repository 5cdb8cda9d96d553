"""What a model says a step takes is what torch counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from swarm.learning.kernels.flops import flops_of_step
from swarm.learning.models.dense import MLP


@pytest.mark.parametrize("hidden", [[], [7], [7, 5]])
def test_a_perceptron_counts_as_torch_does(hidden: list[int]) -> None:
    known, x = MLP((9,), 4, hidden), torch.randn(2, 9)
    counted = flops_of_step(nn.Sequential(*known.children()), x, 8)
    assert flops_of_step(known, x, 8) == counted
