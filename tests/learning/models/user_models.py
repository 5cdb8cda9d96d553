"""Modules of a user's own, as plug-ins: the kinds that docs/models.md lists as supported, and those
it lists as refused.

Inputs are the digits, 64 grey levels of 0 … 1 in sixteenths.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Features = tuple[int, ...]


# --- supported ------------------------------------------------------------------------------------


class NormMLP(nn.Module):
    """An MLP with LayerNorm."""

    def __init__(self, features: Features, outputs: int, width: int = 12) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(math.prod(features), width), nn.LayerNorm(width), nn.GELU()
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x.flatten(1)))
        return out


class Adapted(nn.Module):
    """A base that stays as it is, and a low-rank adapter and a head that learn (LoRA)."""

    def __init__(self, features: Features, outputs: int, width: int = 12, rank: int = 2) -> None:
        super().__init__()
        self.base = nn.Linear(math.prod(features), width).requires_grad_(False)
        self.down = nn.Parameter(0.1 * torch.randn(rank, math.prod(features)))
        self.up = nn.Parameter(torch.zeros(width, rank))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        out: Tensor = self.head((self.base(x) + x @ self.down.T @ self.up.T).relu())
        return out


class Attention(nn.Module):
    """Grey levels as tokens: nn.Embedding, a constant buffer of positions,
    nn.MultiheadAttention.
    """

    position: Tensor

    def __init__(self, features: Features, outputs: int, width: int = 8) -> None:
        super().__init__()
        self.token = nn.Embedding(17, width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        steps = torch.arange(16).unsqueeze(1) * torch.exp(-torch.arange(width) / width)
        self.register_buffer("position", torch.sin(steps))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.avg_pool2d(x.reshape(-1, 1, 8, 8), 2).flatten(1)
        e = self.token((16 * x).round().long().clamp(0, 16)) + self.position
        mixed, _ = self.attention(e, e, e, need_weights=False)
        out: Tensor = self.head(self.norm(e + mixed).mean(1))
        return out


class Scaled(nn.Module):
    """The same by hand: softmax(QKᵀ/√d)V, with the head's weight tied to the token embedding."""

    def __init__(self, features: Features, outputs: int, width: int = 8) -> None:
        super().__init__()
        self.token = nn.Embedding(outputs, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, outputs)
        self.head.weight = self.token.weight

    def forward(self, x: Tensor) -> Tensor:
        x = functional.avg_pool2d(x.reshape(-1, 1, 8, 8), 2).flatten(1)
        e = self.token((9 * x).round().long().clamp(0, 9))
        q, k, v = self.qkv(e).chunk(3, -1)
        weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), -1)
        out: Tensor = self.head((e + weights @ v).mean(1))
        return out


class FusedGRU(nn.Module):
    """nn.GRU over the eight rows: an operation that vmap cannot batch."""

    def __init__(self, features: Features, outputs: int, width: int = 8) -> None:
        super().__init__()
        self.gru = nn.GRU(8, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x.reshape(-1, 8, 8))
        out: Tensor = self.head(states[:, -1])
        return out


class FusedLSTM(nn.Module):
    """nn.LSTM of two layers over the eight rows: as nn.GRU, with two states."""

    def __init__(self, features: Features, outputs: int, width: int = 6) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(x.reshape(-1, 8, 8))
        out: Tensor = self.head(hidden[-1])
        return out


class CellGRU(nn.Module):
    """nn.GRUCell over the eight rows."""

    def __init__(self, features: Features, outputs: int, width: int = 8) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        image = x.reshape(-1, 8, 8)
        state = image.new_zeros(image.shape[0], self.cell.hidden_size)
        for row in range(8):
            state = self.cell(image[:, row], state)
        out: Tensor = self.head(state)
        return out


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(2, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(functional.relu(self.norm(self.first(x)))))


class Outside(nn.Module):
    """A residual network as other projects write it: knows nothing of features and outputs, has
    defaults for all.
    """

    def __init__(
        self, num_classes: int = 10, channels: int = 4, blocks: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Residual(channels) for _ in range(blocks))
        self.scale = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.reshape(x.shape[0], 1, 8, 8))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.fc(self.dropout(x.mean((2, 3)) * self.scale))
        return out


# --- refused --------------------------------------------------------------------------------------


class _Plain(nn.Module):
    """A linear model for the others to spoil."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(math.prod(features), outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flatten(1))
        return out


class WithBatchNorm(_Plain):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.norm = nn.BatchNorm1d(math.prod(features))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x.flatten(1)))


class WithBatchNormOfTheBatch(WithBatchNorm):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.norm = nn.BatchNorm1d(math.prod(features), track_running_stats=False)


class WithDropout(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.dropout(x, 0.3, self.training))


class DroppedGRU(nn.Module):
    """Two recurrent layers with dropout between them, which vmap cannot batch."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 6, num_layers=2, dropout=0.4, batch_first=True)
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.rnn(x.reshape(-1, 8, 8))
        out: Tensor = self.head(found[:, -1])
        return out


class WithNoise(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.rand(x.shape).to(x))


class WithNumpyNoise(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.as_tensor(np.random.default_rng().random(64)).to(x))


class WithACounter(_Plain):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


class CountsForLater(_Plain):
    """The counter matters after many calls only, so that the first ones agree."""

    def __init__(self, features: tuple[int, ...], outputs: int) -> None:
        super().__init__(features, outputs)
        self.calls, self.longest = 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.longest = max(self.longest, len(x))  # what it saves stays the same for the same inputs
        return super().forward(x) * (1.5 if self.calls > 10_000 else 1.0)


class WithAComplexBuffer(_Plain):
    """Turns pairs of numbers, as rotary positions do."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.register_buffer("turn", torch.polar(torch.ones(32), torch.arange(32.0)))

    def forward(self, x: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.reshape(-1, 32, 2)) * self.turn
        return super().forward(torch.view_as_real(turned).flatten(1))


class WithAComplexParameter(_Plain):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.phase = nn.Parameter(torch.ones(outputs, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.phase.real


class WithAWholeNumber(_Plain):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.count = nn.Parameter(torch.arange(3), requires_grad=False)


class Sparse(nn.Module):
    """Grey levels as words of a vocabulary, whose gradient may be sparse."""

    def __init__(self, features: Features, outputs: int, sparse: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(17, 4, sparse=sparse)
        self.head = nn.Linear(4 * math.prod(features), outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.words((16 * x).round().long()).flatten(1))
        return out


class Frozen(_Plain):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.requires_grad_(False)


class WithoutParameters(nn.Module):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : self.outputs]


class OneOutputTooFew(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :-1]


class ReturnsAPair(_Plain):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class Fails(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("needs pictures of cats")
