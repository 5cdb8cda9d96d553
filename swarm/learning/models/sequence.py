"""The base of the sequence models, which take tokens and predict at every position, or at the last
one.

A model has two forms that compute the same numbers: ``forward`` takes whole sequences, for
learning; ``step`` takes one token at a time and a state, as in inference on a device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.learning.models import rows
from swarm.learning.models.base import MOST_WIDTH, Wrapped

Views = dict[str, Tensor]  # each parameter of B devices as ``[B, *shape]``
State = tuple[Tensor, ...]
EMBEDDING_STD = 0.02  # standard deviation of an embedding's first numbers


class SequenceLayer(nn.Module, ABC):
    """One layer of a sequence model over vectors of D numbers.

    It is causal: the output at a position does not depend on later positions.
    """

    @abstractmethod
    def forward(self, x_bTD: Tensor) -> Tensor:
        """Return the outputs ``[b, T, D]`` for the inputs ``[b, T, D]``."""

    @abstractmethod
    def seen(self, own: Views, x: Tensor) -> Tensor:
        """Return the part of the layer that looks at each position alone, for B devices with the
        parameters ``own``: ``[B, T, b, D]`` becomes ``[B, T, b, …]``.
        """

    @abstractmethod
    def over_rows(self, own: Views, x: Tensor, seen: Tensor) -> Tensor:
        """Return ``forward`` for B devices, ``[B, T, b, D]``, given the result of :meth:`seen`."""

    @abstractmethod
    def empty(self, like_bD: Tensor) -> State:
        """Return the state before the first token, tensors ``[b, …]``."""

    @abstractmethod
    def step(self, x_bD: Tensor, state: State) -> tuple[Tensor, State]:
        """Take the input ``[b, D]`` of the next position; return its output ``[b, D]`` and the
        state after it.
        """


class RMSNorm(nn.Module):
    """Root mean square norm, x / √(mean(x²) + ε) · g (Zhang & Sennrich, NeurIPS 2019, arXiv
    1910.07467).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.gain


class GatedFFN(nn.Module):
    """Gated feed-forward network, (silu(x·A) ⊙ x·B)·C (Shazeer, arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(nn.functional.silu(self.gate(x)) * self.up(x))
        return out


class SequenceModel(nn.Module):
    """A model of an embedding, ``layers``, a norm, and a linear head.

    It takes token numbers ``[b, T]`` of any dtype and predicts ``outputs`` = C classes: with
    ``predict="every"`` the next token at every position, ``[b, T, C]``; with ``"last"`` one class
    for the sequence, ``[b, C]``. The embedding has ``vocabulary`` tokens (None means C), and its
    first numbers the standard deviation ``embedding_std``.

    Raises :class:`ConfigError` if the samples are not sequences of tokens, and for a vocabulary or
    a deviation that is out of its range.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        outputs: int,
        width: int,
        layers: list[SequenceLayer],
        predict: Literal["every", "last"],
        vocabulary: int | None,
        embedding_std: float = EMBEDDING_STD,
    ) -> None:
        super().__init__()
        number("embedding_std", embedding_std, 0, 1e3, open_low=True)
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
        nn.init.normal_(self.embed.weight, std=embedding_std)
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
        """Return ``forward`` for B devices: ``[B, b, T]`` to ``[B, b, T, C]`` or ``[B, b, C]``."""
        table_BVD = parameters["embed.weight"]
        h = rows.looked_up(table_BVD, inputs)
        for i, layer in enumerate(self._layers()):
            start = f"layers.{i}."
            own = {n.removeprefix(start): v for n, v in parameters.items() if n.startswith(start)}
            # with fewer tokens than positions, the first layer looks at each token once
            if i == 0 and inputs[0].numel() > table_BVD.shape[1]:
                seen = rows.looked_up(layer.seen(own, table_BVD.unsqueeze(2)).squeeze(2), inputs)
            else:
                seen = layer.seen(own, h)
            h = layer.over_rows(own, h, seen)
        h = rows.normed(h.transpose(1, 2) if self.predict == "every" else h[:, -1])
        weight_BCD = parameters["head.weight"] * parameters["norm.gain"].unsqueeze(1)
        # the class axis comes before the positions in memory, as the losses need it
        out = torch.baddbmm(
            parameters["head.bias"].unsqueeze(2), weight_BCD, h.flatten(1, -2).transpose(1, 2)
        )
        return out.transpose(1, 2).view(*h.shape[:-1], -1)

    def empty(self, count: int) -> list[State]:
        """Return the state of ``count`` sequences before their first token."""
        like_bD = self.embed.weight.new_zeros(count, self.embed.embedding_dim)
        return [layer.empty(like_bD) for layer in self._layers()]

    def step(self, token_b: Tensor, state: list[State]) -> tuple[Tensor, list[State]]:
        """Read one token of each sequence; return the prediction after it, ``[b, C]``, and the
        state.
        """
        h_bD, after = self.embed(token_b.long()), []
        for layer, before in zip(self._layers(), state, strict=True):
            h_bD, now = layer.step(h_bD, before)
            after.append(now)
        return self.head(self.norm(h_bD)), after

    def _layers(self) -> list[SequenceLayer]:
        return [layer for layer in self.layers if isinstance(layer, SequenceLayer)]


def sequence_model_in(module: nn.Module) -> SequenceModel | None:
    """Return the sequence model that a module is, or predicts by; None if there is none."""
    if isinstance(module, Wrapped):
        return sequence_model_in(module.base)
    return module if isinstance(module, SequenceModel) else None


def state_bytes(state: list[State]) -> int:
    """Return the bytes of a state, which a device has to keep between two tokens."""
    return sum(part.numel() * part.element_size() for layer in state for part in layer)
