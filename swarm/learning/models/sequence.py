"""What the sequence models share: tokens in, predictions of every position (or of the last one)
out.

A model has two forms that give the same numbers: ``forward`` takes whole sequences, for learning;
``step`` takes one token at a time with a state, as a device does when it reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.learning.models import rows
from swarm.learning.models.base import MOST_WIDTH

Views = dict[str, Tensor]  # each parameter of B devices as ``[B, *shape]``
State = tuple[Tensor, ...]


class SequenceLayer(nn.Module, ABC):
    """One layer of a sequence model over vectors of D numbers; causal: what comes later changes
    nothing before it.
    """

    @abstractmethod
    def forward(self, x_bTD: Tensor) -> Tensor:
        """``[b, T, D]`` to ``[b, T, D]``."""

    @abstractmethod
    def seen(self, own: Views, x: Tensor) -> Tensor:
        """What each position says by itself, for B devices with the parameters ``own``: ``[B, T, b,
        D]`` to ``[B, T, b, …]``."""

    @abstractmethod
    def over_rows(self, own: Views, x: Tensor, seen: Tensor) -> Tensor:
        """``forward`` for B devices from what was seen: ``[B, T, b, D]``."""

    @abstractmethod
    def empty(self, like_bD: Tensor) -> State:
        """The state before the first token, of tensors ``[b, …]``."""

    @abstractmethod
    def step(self, x_bD: Tensor, state: State) -> tuple[Tensor, State]:
        """The next position: its output, and the state after it."""


class RMSNorm(nn.Module):
    """x / √(mean(x²) + ε) · g (Zhang & Sennrich, NeurIPS 2019, arXiv 1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.gain


class GatedFFN(nn.Module):
    """(silu(x·A) ⊙ x·B)·C, the gated feed-forward network (Shazeer, arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(nn.functional.silu(self.gate(x)) * self.up(x))
        return out


class SequenceModel(nn.Module):
    """Embedding, ``layers``, norm, and a linear head.

    Takes ``[b, T]`` token numbers (in any dtype) and predicts ``outputs`` classes: with
    ``predict="every"`` the next token at every position, ``[b, T, C]``; with ``"last"`` once for
    the sequence, ``[b, C]``. ``vocabulary`` None means C.

    Raises :class:`ConfigError` where the samples are no sequences of tokens.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        outputs: int,
        width: int,
        layers: list[SequenceLayer],
        predict: Literal["every", "last"],
        vocabulary: int | None,
    ) -> None:
        super().__init__()
        if len(features) != 1:
            raise ConfigError(
                "/model",
                type(self).__name__,
                f"needs sequences of tokens; the samples are {list(features)}",
            )
        if vocabulary is not None and not 1 <= vocabulary <= MOST_WIDTH:
            valid = (
                f"must be null (as many as outputs) or a number of tokens from 1 to {MOST_WIDTH:,}"
            )
            raise ConfigError("vocabulary", vocabulary, valid)
        self.predict = predict
        self.embed = nn.Embedding(vocabulary or outputs, width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h_bTD = self.embed(x.long())
        for layer in self.layers:
            h_bTD = layer(h_bTD)
        out: Tensor = self.head(self.norm(h_bTD if self.predict == "every" else h_bTD[:, -1]))
        return out

    def over_rows(self, parameters: Views, inputs: Tensor) -> Tensor:
        """``forward`` for B devices: ``[B, b, T]`` to ``[B, b, T, C]`` or ``[B, b, C]``."""
        table_BVD = parameters["embed.weight"]
        h = rows.looked_up(table_BVD, inputs)
        for i, layer in enumerate(self._layers()):
            start = f"layers.{i}."
            own = {n.removeprefix(start): v for n, v in parameters.items() if n.startswith(start)}
            # there are fewer tokens than positions
            if i == 0 and inputs[0].numel() > table_BVD.shape[1]:
                seen = rows.looked_up(layer.seen(own, table_BVD.unsqueeze(2)).squeeze(2), inputs)
            else:
                seen = layer.seen(own, h)
            h = layer.over_rows(own, h, seen)
        h = rows.normed(h.transpose(1, 2) if self.predict == "every" else h[:, -1])
        weight_BCD = parameters["head.weight"] * parameters["norm.gain"].unsqueeze(1)
        # a row for each class, as losses like it
        out = torch.baddbmm(
            parameters["head.bias"].unsqueeze(2), weight_BCD, h.flatten(1, -2).transpose(1, 2)
        )
        return out.transpose(1, 2).view(*h.shape[:-1], -1)

    def empty(self, count: int) -> list[State]:
        """The state of ``count`` sequences of which nothing has been read."""
        like_bD = self.embed.weight.new_zeros(count, self.embed.embedding_dim)
        return [layer.empty(like_bD) for layer in self._layers()]

    def step(self, token_b: Tensor, state: list[State]) -> tuple[Tensor, list[State]]:
        """Read one token of each sequence: the prediction after it ``[b, C]``, and the state."""
        h_bD, after = self.embed(token_b.long()), []
        for layer, before in zip(self._layers(), state, strict=True):
            h_bD, now = layer.step(h_bD, before)
            after.append(now)
        return self.head(self.norm(h_bD)), after

    def _layers(self) -> list[SequenceLayer]:
        return [layer for layer in self.layers if isinstance(layer, SequenceLayer)]


def state_bytes(state: list[State]) -> int:
    """What a device has to keep between two tokens."""
    return sum(part.numel() * part.element_size() for layer in state for part in layer)
