"""LeNet-5 for images, with group normalisation."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from swarm.common.errors import ConfigError, with_article
from swarm.learning.models.base import check_layers
from swarm.learning.models.cnn import as_image

SIDE = 5  # of a filter, in pixels


class LeNet(nn.Module):
    """``(Conv 5×5 → ReLU → max-pool 2 → GroupNorm)*`` with ``channels`` channels, then linear
    layers of ``hidden`` units with ReLU, and a linear head.

    This is LeNet-5 (LeCun et al. 1998) as experiments on decentralised learning use it (arXiv
    2305.11420): without padding, with max-pooling, and with group normalisation (arXiv 1803.08494)
    in the place of batch normalisation, whose statistics would differ between devices. ``groups``
    are the groups of channels after each convolution; an empty list leaves the normalisation out.

    Samples are ``[c, h, w]`` or ``[h, w]``; flat samples are taken as one square channel of side
    √features. Raises :class:`ConfigError` for samples that are not images or are too small for the
    layers, and for groups that do not divide the channels.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        outputs: int,
        channels: list[int],
        hidden: list[int],
        groups: list[int],
    ) -> None:
        super().__init__()
        self.image = as_image(features, "lenet")
        check_layers("channels", channels, "channel counts", least=1)
        check_layers("hidden", hidden, "layer widths", least=0)
        if groups and (
            len(groups) != len(channels)
            or any(g < 1 or c % g for g, c in zip(groups, channels, strict=True))
        ):
            valid = f"must be empty, or a list of a divisor of each of the channels {channels}"
            raise ConfigError("groups", groups, valid)
        before, h, w = self.image
        layers: list[nn.Module] = []
        for i, after in enumerate(channels):
            h, w = (h - SIDE + 1) // 2, (w - SIDE + 1) // 2
            if min(h, w) < 1:
                size = with_article(f"{self.image[1]}×{self.image[2]} image")
                raise ConfigError(
                    "channels", channels, f"has more layers than the {i} that {size} allows"
                )
            layers += [nn.Conv2d(before, after, SIDE), nn.ReLU(), nn.MaxPool2d(2)]
            layers += [nn.GroupNorm(groups[i], after)] if groups else []
            before = after
        self.body = nn.Sequential(*layers)
        widths = [before * h * w, *hidden]
        dense = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        self.head = nn.Sequential(*dense, nn.Linear(widths[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x.reshape(-1, *self.image)).flatten(1))
        return out
