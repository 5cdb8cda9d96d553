"""Softmax regression and the multi-layer perceptron: ``nn.Sequential`` chains, which the
hand-written kernel trains.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from swarm.common.errors import ConfigError, meant
from swarm.common.rows import HasNeurons
from swarm.learning.models.base import CountsFlops, check_layers

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def activation_called(name: str) -> type[nn.Module]:
    """Return the class of the activation layer called ``name``.

    Raises :class:`ConfigError` that lists the valid names.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(
            "activation", name, f"must be one of {', '.join(ACTIVATIONS)}{meant(name, ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


class MLP(nn.Sequential, HasNeurons, CountsFlops):
    """Multi-layer perceptron: ``Flatten → (Linear → activation)* → Linear`` with the hidden widths
    ``hidden``; without hidden layers it is a linear model.
    """

    def __init__(
        self, features: tuple[int, ...], outputs: int, hidden: list[int], activation: str = "relu"
    ) -> None:
        check_layers("hidden", hidden, "widths", least=0)
        kind = activation_called(activation)
        widths = [math.prod(features), *hidden, outputs]
        layers: list[nn.Module] = [nn.Flatten()]
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            layers += [nn.Linear(fan_in, fan_out)] + ([kind()] if i < len(hidden) else [])
        super().__init__(*layers)

    def neurons(self) -> list[dict[str, int]]:
        linear = [name for name, part in self.named_children() if isinstance(part, nn.Linear)]
        return [{f"{a}.weight": 0, f"{a}.bias": 0, f"{b}.weight": 1} for a, b in pairwise(linear)]

    def step_flops(self, samples: int) -> float:
        products = self._products(samples)
        return 3 * sum(products) - products[0]  # the derivative by the inputs is not needed

    def prediction_flops(self, samples: int) -> float:
        return sum(self._products(samples))

    def _products(self, samples: int) -> list[float]:
        """The FLOP of each layer's forward product."""
        linear = [part for part in self.children() if isinstance(part, nn.Linear)]
        return [2.0 * samples * part.in_features * part.out_features for part in linear]


class Softmax(MLP):
    """Multinomial logistic regression; for numeric targets, linear regression."""

    def __init__(self, features: tuple[int, ...], outputs: int) -> None:
        super().__init__(features, outputs, hidden=[])
