"""A small causal Transformer (Vaswani et al., NeurIPS 2017, arXiv 1706.03762), pre-norm, with a
cache of keys and values.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.learning.models import rows
from swarm.learning.models.base import HasParts, check_sizes
from swarm.learning.models.sequence import (
    EMBEDDING_STD,
    GatedFFN,
    RMSNorm,
    SequenceLayer,
    SequenceModel,
    State,
    Views,
)

NEWEST = 128  # tokens whose keys and values are copied with each token; older ones are not


class Attention(SequenceLayer, HasParts):
    """Causal attention of ``heads`` heads, then a gated feed-forward network.

    Rotary embeddings (Su et al., arXiv 2104.09864) rotate queries and keys by their position, so
    sequences may have any length. The state grows by 2·D numbers a token: the keys and values of
    old tokens, and those of the up to ``NEWEST`` newest ones.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.ffn_norm = RMSNorm(width), RMSNorm(width)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.ffn = GatedFFN(width, hidden)

    def forward(self, x_bTD: Tensor) -> Tensor:
        t = torch.arange(x_bTD.shape[1], device=x_bTD.device)
        return self._rest(x_bTD, _attended(*self._heads(x_bTD, t)).transpose(1, 2).flatten(-2))

    def parts(self) -> dict[str, dict[int, int]]:
        """See :meth:`HasParts.parts`: both halves of each head, whose numbers rotary embeddings
        pair, for queries, keys and values."""
        return {"project.weight": {0: 6 * self.heads}, "out.weight": {1: 2 * self.heads}}

    def seen(self, own: Views, x: Tensor) -> Tensor:
        return rows.linear(rows.normed(x), own["project.weight"] * own["norm.gain"].unsqueeze(1))

    def over_rows(self, own: Views, x: Tensor, seen: Tensor) -> Tensor:
        t = torch.arange(x.shape[1], device=x.device)
        parts = seen.view(*x.shape[:3], 3, self.heads, -1).permute(3, 0, 2, 4, 1, 5)
        turned = rows.rotated(parts[:2], _angles(t, x.dtype, parts.shape[-1] // 2))
        # [B · b, heads, T, D/heads]
        (q, k), v = turned.flatten(1, 2), parts[2].flatten(0, 1)
        y = _attended(q, k, v).view(parts.shape[1:]).permute(0, 3, 1, 2, 4)
        return rows.fed_forward(own, rows.plus_linear(x, y.flatten(-2), own["out.weight"]))

    def empty(self, like_bD: Tensor) -> State:
        nothing = like_bD.new_zeros(len(like_bD), self.heads, 0, like_bD.shape[1] // self.heads)
        return nothing, nothing, nothing, nothing

    def step(self, x_bD: Tensor, state: State) -> tuple[Tensor, State]:
        old_k, old_v, new_k, new_v = state
        old = old_k.shape[2]
        t = torch.tensor([old + new_k.shape[2]], device=x_bD.device)
        q, k, v = self._heads(x_bD[:, None], t)
        # a state stays what it was, so that one can go on from it twice: nothing is written into it
        new_k, new_v = torch.cat([new_k, k], 2), torch.cat([new_v, v], 2)
        scores = torch.cat([q @ old_k.transpose(-1, -2), q @ new_k.transpose(-1, -2)], -1)
        share = torch.softmax(scores * q.shape[-1] ** -0.5, -1)
        y = share[..., :old] @ old_v + share[..., old:] @ new_v
        if new_k.shape[2] == NEWEST:
            old_k, old_v = torch.cat([old_k, new_k], 2), torch.cat([old_v, new_v], 2)
            new_k, new_v = new_k[:, :, :0], new_v[:, :, :0]
        return self._rest(x_bD, y[:, :, 0].flatten(1)), (old_k, old_v, new_k, new_v)

    def _heads(self, x_bTD: Tensor, t_T: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (
            self.project(self.norm(x_bTD)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        return _rotated(q, t_T), _rotated(k, t_T), v

    def _rest(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.out(y)
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def _angles(t_T: Tensor, dtype: torch.dtype, half: int) -> Tensor:
    """The angles of rotary embeddings at the positions ``t_T``: ``[T, half]``."""
    speed = 10000.0 ** (-torch.arange(half, device=t_T.device, dtype=dtype) / half)
    return t_T.to(dtype)[:, None] * speed


def _rotated(x_bHTd: Tensor, t_T: Tensor) -> Tensor:
    angle = _angles(t_T, x_bHTd.dtype, x_bHTd.shape[-1] // 2)
    a, b = x_bHTd.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class Transformer(SequenceModel):
    """A sequence model of ``depth`` :class:`Attention` layers of ``width`` units and ``heads``
    heads, with feed-forward networks of ``hidden`` units.

    Raises :class:`ConfigError` unless ``width`` is a multiple of 2 · ``heads``.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        outputs: int,
        width: int,
        heads: int,
        depth: int,
        hidden: int,
        predict: Literal["every", "last"] = "every",
        vocabulary: int | None = None,
        embedding_std: float = EMBEDDING_STD,
    ) -> None:
        check_sizes(width=width, heads=heads, depth=depth, hidden=hidden)
        if width % (2 * heads):
            raise ConfigError(
                "heads",
                heads,
                f"must be so that width={width} is a multiple of 2 · heads, as rotary embeddings"
                " rotate pairs of numbers",
            )
        layers: list[SequenceLayer] = [Attention(width, heads, hidden) for _ in range(depth)]
        super().__init__(features, outputs, width, layers, predict, vocabulary, embedding_std)
