"""Modules that torch's own tools have changed: their weights are made of others in each call."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune


def _of_old(layer: nn.Linear) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: nn.Module = nn.utils.weight_norm(layer)
    return found


def _pruned(layer: nn.Linear) -> nn.Module:
    found: nn.Module = prune.l1_unstructured(layer, "weight", amount=0.5)
    return found


MAKE: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "pruned": _pruned,
    "weight_norm": parametrizations.weight_norm,
    "weight_norm of old": _of_old,
    "spectral_norm": parametrizations.spectral_norm,
}


class Made(nn.Module):
    def __init__(self, features: tuple[int, ...], outputs: int, by: str) -> None:
        super().__init__()
        size = math.prod(features)
        self.layers = nn.ModuleDict({"a": MAKE[by](nn.Linear(size, 8))})
        self.head = nn.Linear(8, outputs)
        self.register_buffer("order", torch.arange(size).flip(0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers["a"](x.flatten(1)[:, self.order]).relu())
        return out


class Ending(nn.Module):
    """A linear model whose outputs go through one function of torch's more."""

    def __init__(self, features: tuple[int, ...], outputs: int, end: str) -> None:
        super().__init__()
        self.layer = nn.Linear(math.prod(features), outputs)
        kind = getattr(nn, end)
        self.end = kind(-1) if "Softmax" in end else kind()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self.layer(x.flatten(1)))
        return out
