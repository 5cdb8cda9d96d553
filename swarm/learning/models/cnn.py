"""A small convolutional network for images."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from swarm.common.errors import ConfigError, counted, with_article
from swarm.common.rows import HasNeurons
from swarm.learning.models.base import check_layers
from swarm.learning.models.dense import activation_called


class CNN(nn.Module, HasNeurons):
    """``(Conv 3×3 → activation → max-pool 2)*`` with ``channels`` channels, then a linear head.

    Samples are ``[c, h, w]`` or ``[h, w]``; flat samples are taken as one square channel of side
    √features. Raises :class:`ConfigError` for samples that are not images, and for more layers than
    an image can be halved.
    """

    def __init__(
        self, features: tuple[int, ...], outputs: int, channels: list[int], activation: str = "relu"
    ) -> None:
        super().__init__()
        self.image = as_image(features, "cnn")
        kind = activation_called(activation)
        check_layers("channels", channels, "channel counts", least=1)
        c, h, w = self.image
        if min(h, w) >> len(channels) < 1:
            most = int(math.log2(min(h, w)))
            raise ConfigError(
                "channels",
                channels,
                f"halves {with_article(f'{h}×{w} image')} {counted(len(channels), 'time')}; at most"
                f" {counted(most, 'layer')} would fit",
            )
        layers: list[nn.Module] = []
        for out in channels:
            layers += [nn.Conv2d(c, out, 3, padding=1), kind(), nn.MaxPool2d(2)]
            c, h, w = out, h // 2, w // 2
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(c * h * w, outputs)

    def neurons(self) -> list[dict[str, int]]:
        """See :meth:`HasNeurons.neurons`; a channel counts as a neuron."""
        maps = [
            f"body.{name}"
            for name, part in self.body.named_children()
            if isinstance(part, nn.Conv2d)
        ]
        return [
            {f"{a}.weight": 0, f"{a}.bias": 0, f"{b}.weight": 1}
            for a, b in pairwise([*maps, "head"])
        ]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x.reshape(-1, *self.image)).flatten(1))
        return out


def as_image(features: tuple[int, ...], model: str) -> tuple[int, int, int]:
    """The shape ``[c, h, w]`` of samples that a model for images takes: flat ones are one square
    channel. Raises :class:`ConfigError`, which names the ``model``, if they are no images."""
    if len(features) == 3:
        _require_colours_first(features, model)
        return features
    if len(features) == 2:
        return (1, *features)
    side = math.isqrt(math.prod(features))
    if len(features) != 1 or side * side != features[0]:
        found = (
            f"{features[0]} features, which is no square"
            if len(features) == 1
            else f"the shape {list(features)}"
        )
        raise ConfigError(
            "/model",
            model,
            f"needs images; a sample of the data has {found}; model=mlp is for other numbers",
        )
    return (1, side, side)


def _require_colours_first(features: tuple[int, int, int], model: str) -> None:
    """Refuse images whose last axis is that of the colours, as Keras and NumPy keep them."""
    if features[2] in (1, 3) and min(features[:2]) > 4:
        valid = (
            f"needs images [colours, height, width], and a sample of the data is {list(features)};"
            " np.moveaxis(x, -1, 1) puts their colours first"
        )
        raise ConfigError("/model", model, valid)
