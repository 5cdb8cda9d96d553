"""Modules whose state_dict is more than their parameters, each under one name: ties, buffers,
lists.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

Features = tuple[int, ...]


class Tied(nn.Module):
    """Two layers of one weight, and inside a block the same again under a third name."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        n = math.prod(features)
        self.a, self.b = nn.Linear(n, 8, bias=False), nn.Linear(n, 8, bias=False)
        self.b.weight = self.a.weight
        self.inner = nn.ModuleDict({"c": nn.Sequential(nn.Linear(n, 8, bias=False))})
        self.inner["c"][0].weight = self.a.weight  # type: ignore[index]
        self.head = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Any:
        x = x.flatten(1)
        return self.head(self.a(x).tanh() + self.b(x) + self.inner["c"](x).relu())


class Buffers(nn.Module):
    """Constant ones of several types, one with two names, one drawn at random, and one that no file
    keeps.
    """

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        n = math.prod(features)
        self.register_buffer("mask", torch.ones(n))
        self.register_buffer("order", torch.arange(n).flip(0))
        self.register_buffer("low", torch.tensor(-math.inf))
        self.register_buffer("mix", torch.randn(n, 6))
        self.register_buffer("again", self.mix)
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Any:
        x = (x.flatten(1) * self.mask)[:, self.order]
        return self.head(torch.maximum(x @ self.mix, self.low) + self.again.sum() * 0)


class Listed(nn.Module):
    """Parameters in lists and dicts, one of them without an axis, one empty."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        n = math.prod(features)
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.randn(n, 4) / 8), nn.Parameter(torch.randn(4, outputs))]
        )
        self.more = nn.ParameterDict(
            {"scale": nn.Parameter(torch.ones(())), "none": nn.Parameter(torch.zeros(0))}
        )

    def forward(self, x: Tensor) -> Any:
        return (x.flatten(1) @ self.weights[0]).tanh() @ self.weights[1] * self.more[
            "scale"
        ] + self.more["none"].sum()


class Parametrised(nn.Module):
    """A weight made of a direction and a length."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        self.head = parametrizations.weight_norm(nn.Linear(math.prod(features), outputs))

    def forward(self, x: Tensor) -> Any:
        return self.head(x.flatten(1))
