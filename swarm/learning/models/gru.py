"""Gated recurrent units (Cho et al., EMNLP 2014, arXiv 1406.1078) in PyTorch's variant.

All operations can be batched over devices, while ``nn.GRU`` itself runs device by device.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from swarm.learning.models import rows
from swarm.learning.models.base import HasParts, check_sizes
from swarm.learning.models.sequence import (
    EMBEDDING_STD,
    SequenceLayer,
    SequenceModel,
    State,
    Views,
)


class GRULayer(SequenceLayer, HasParts):
    """r = σ(W_r x + U_r h), z = σ(W_z x + U_z h), n = tanh(W_n x + r ⊙ U_n h), h⁺ = (1 − z) ⊙ n + z
    ⊙ h.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input = nn.Linear(width, 3 * width)
        self.hidden = nn.Linear(width, 3 * width)

    def forward(self, x_bTD: Tensor) -> Tensor:
        from_input, h, out = self.input(x_bTD), torch.zeros_like(x_bTD[:, 0]), []
        for given in from_input.unbind(1):
            h = self._next(given, h)
            out.append(h)
        return torch.stack(out, 1)

    def parts(self) -> dict[str, dict[int, int]]:
        """See :meth:`HasParts.parts`: the three gates."""
        names = [f"{layer}.{kind}" for layer in ("input", "hidden") for kind in ("weight", "bias")]
        return {name: {0: 3} for name in names}

    def seen(self, own: Views, x: Tensor) -> Tensor:
        # rows.recurrent expects the gates in the order n, r, z
        weight, bias = (own[name].roll(x.shape[-1], 1) for name in ("input.weight", "input.bias"))
        return rows.linear(x, weight, bias)

    def over_rows(self, own: Views, x: Tensor, seen: Tensor) -> Tensor:
        return rows.recurrent(seen, own["hidden.weight"], own["hidden.bias"])

    def empty(self, like_bD: Tensor) -> State:
        return (torch.zeros_like(like_bD),)

    def step(self, x_bD: Tensor, state: State) -> tuple[Tensor, State]:
        h = self._next(self.input(x_bD), state[0])
        return h, (h,)

    def _next(self, given: Tensor, h: Tensor) -> Tensor:
        r_in, z_in, n_in = given.chunk(3, -1)
        r_own, z_own, n_own = self.hidden(h).chunk(3, -1)
        z = torch.sigmoid(z_in + z_own)
        n = torch.tanh(n_in + torch.sigmoid(r_in + r_own) * n_own)
        return n + z * (h - n)


class GRU(SequenceModel):
    """A sequence model of ``depth`` :class:`GRULayer` of ``width`` units."""

    def __init__(
        self,
        features: tuple[int, ...],
        outputs: int,
        width: int,
        depth: int,
        predict: Literal["every", "last"] = "every",
        vocabulary: int | None = None,
        embedding_std: float = EMBEDDING_STD,
    ) -> None:
        check_sizes(width=width, depth=depth)
        layers: list[SequenceLayer] = [GRULayer(width) for _ in range(depth)]
        super().__init__(features, outputs, width, layers, predict, vocabulary, embedding_std)
