"""Networks as their papers describe them, small enough for a test; images of digits are 8 × 8."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Features = tuple[int, ...]


class _Block(nn.Module):
    """Two convolutions with BatchNorm and a shortcut, which pads channels with zeros."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride, self.more = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        short = functional.pad(x[:, :, :: self.stride, :: self.stride], [0] * 5 + [self.more])
        return functional.relu(out + short)


class ResNet20(nn.Module):
    """He et al. (arXiv 1512.03385), section 4.2: three stages of three blocks, with ``width``
    channels in the first stage (16 in the paper)."""

    def __init__(self, features: Features, outputs: int, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        widths = [width] * 4 + [2 * width] * 3 + [4 * width] * 3
        self.blocks = nn.Sequential(*(_Block(a, b, 1 + (a != b)) for a, b in pairwise(widths)))
        self.fc = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.stem(x.reshape(-1, 1, 8, 8))))
        out: Tensor = self.fc(self.blocks(x).mean((2, 3)))
        return out


class TiedGPT(nn.Module):
    """A decoder of one block that reads the eight rows of an image as tokens of 0 to 7; the
    embedding is the output layer as well."""

    def __init__(self, features: Features, outputs: int, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        tokens = max(8, outputs)
        self.embed, self.place = nn.Embedding(tokens, width), nn.Embedding(8, width)
        self.norm1, self.norm2, self.last = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.lm_head = nn.Linear(width, tokens, bias=False)
        self.lm_head.weight = self.embed.weight
        self.heads, self.outputs = heads, outputs

    def forward(self, x: Tensor) -> Tensor:
        token = x.reshape(-1, 8, 8).argmax(2)
        h = self.embed(token) + self.place(torch.arange(8, device=x.device))
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(h)).chunk(3, 2)
        )
        score = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        hidden = torch.ones(8, 8, dtype=torch.bool, device=x.device).triu(1)
        mixed = score.masked_fill(hidden, -math.inf).softmax(3) @ v
        h = h + self.out(mixed.transpose(1, 2).flatten(2))
        h = h + self.down(functional.gelu(self.up(self.norm2(h))))
        return self.lm_head(self.last(h[:, -1]))[:, : self.outputs]


class LoRA(nn.Module):
    """Hu et al. (arXiv 2106.09685): a frozen layer, to which a learnt product of low rank is
    added, which is zero at first."""

    def __init__(self, features: Features, outputs: int, width: int = 24, rank: int = 2) -> None:
        super().__init__()
        self.base = nn.Linear(math.prod(features), width).requires_grad_(False)
        self.down = nn.Linear(math.prod(features), rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        out: Tensor = self.head(functional.relu(self.base(x) + 2.0 * self.up(self.down(x))))
        return out


class BatchNormMLP(nn.Module):
    """A hidden layer whose sums BatchNorm scales."""

    def __init__(
        self,
        features: Features,
        outputs: int,
        width: int = 8,
        momentum: float | None = 0.1,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(math.prod(features), width)
        self.bn = nn.BatchNorm1d(width, momentum=momentum)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(functional.relu(self.bn(self.first(x.flatten(1)))))
        return out


class OwnMean(nn.Module):
    """A running mean that is assigned, and whose samples it is drawn from get dropout."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(math.prod(features)))
        self.mean: Tensor
        self.head = nn.Linear(math.prod(features), outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            self.mean = 0.8 * self.mean + 0.2 * x.mean(0)
            x = functional.dropout(x, 0.2)
        out: Tensor = self.head(x - self.mean)
        return out


class CountsPredictions(nn.Module):
    """Refused: a buffer that changes while it predicts."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.count: Tensor
        self.head = nn.Linear(math.prod(features), outputs)

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        out: Tensor = self.head(x.flatten(1))
        return out
