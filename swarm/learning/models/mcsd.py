"""MCSD, a multi-channel slope and decay model.

Yang et al., *MCSD: An efficient language model with diverse fusion*, arXiv 2406.12230. The paper
gives the structure (channels with a predefined slope for near and a predefined decay for far
context, each with a projection and an aggregation branch, concatenated; recurrent inference in
constant memory) but not all matrices. This implementation computes:

    h_t = λ_c h_{t−1} + v_t,   y_t = u_t ⊙ h_t,
        with u = x·U_c and v = x·V_c in each of C channels of D/C numbers,
    slope: λ_c = exp(−2^{−8c/C}), c = 1 … C;   decay: λ_c = 1 − 2^{−5−c}, c = 0 … C − 1;
    out = concat(y_slope, y_decay)·W,
        in x + out(norm(x)), followed by x + FFN(norm(x)) with a gated FFN.

In parallel form Y_c = U_c ⊙ (M_c V_c) with M[t, s] = λ_c^{t−s} for s ≤ t.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.learning.models import rows
from swarm.learning.models.base import HasParts, check_sizes
from swarm.learning.models.rows import CHUNK
from swarm.learning.models.sequence import (
    EMBEDDING_STD,
    GatedFFN,
    RMSNorm,
    SequenceLayer,
    SequenceModel,
    State,
    Views,
)


class SlopeDecay(SequenceLayer, HasParts):
    """One layer of MCSD: the slope section and the decay section, then the feed-forward network.

    Its state has 2·D numbers, however many tokens were read.
    """

    def __init__(self, width: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        each = width // channels
        self.norm, self.ffn_norm = RMSNorm(width), RMSNorm(width)
        # U and V of both sections
        self.project = nn.Parameter(torch.empty(2 * channels, each, 2 * each))
        nn.init.normal_(self.project, std=each**-0.5)
        self.out = nn.Linear(2 * width, width, bias=False)
        self.ffn = GatedFFN(width, hidden)
        slope = [math.exp(-(2.0 ** (-8 * c / channels))) for c in range(1, channels + 1)]
        self.rates = [*slope, *(1 - 2.0 ** (-5 - c) for c in range(channels))]  # λ of each channel

    def forward(self, x_bTD: Tensor) -> Tensor:
        u, v = self._branches(self.norm(x_bTD))  # [b, T, 2C, D/C]
        h = fade(v, x_bTD.new_tensor(self.rates))
        return self._rest(x_bTD, u * h)

    def parts(self) -> dict[str, dict[int, int]]:
        """See :meth:`HasParts.parts`: the channels, u and v, and both sections."""
        by_first = ("norm.gain", "ffn_norm.gain", "ffn.down.weight")
        by_second = ("ffn.gate.weight", "ffn.up.weight")
        return {
            **{name: {0: self.channels} for name in by_first},
            **{name: {1: self.channels} for name in by_second},
            "project": {2: 2},
            "out.weight": {0: self.channels, 1: 2 * self.channels},
        }

    def seen(self, own: Views, x: Tensor) -> Tensor:
        return _within(self.channels, rows.normed(x), own["project"], own["norm.gain"])

    def over_rows(self, own: Views, x: Tensor, seen: Tensor) -> Tensor:
        rate_D = x.new_tensor(self.rates).repeat_interleave(x.shape[-1] // self.channels)
        return rows.fed_forward(
            own, rows.plus_linear(x, rows.faded(seen, rate_D), own["out.weight"])
        )

    def empty(self, like_bD: Tensor) -> State:
        return (
            like_bD.new_zeros(len(like_bD), 2 * self.channels, like_bD.shape[1] // self.channels),
        )

    def step(self, x_bD: Tensor, state: State) -> tuple[Tensor, State]:
        u, v = self._branches(self.norm(x_bD))
        h = x_bD.new_tensor(self.rates)[:, None] * state[0] + v
        return self._rest(x_bD, u * h), (h,)

    def _branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u and v of the channels of both sections, ``[…, 2C, D/C]`` each."""
        each = x.shape[-1] // self.channels
        from_CSd = x.reshape(-1, self.channels, each).transpose(0, 1)
        # [C, d, 4d]
        weight = self.project.view(2, self.channels, each, -1).permute(1, 2, 0, 3).flatten(2)
        to = (
            torch.bmm(from_CSd, weight)
            .view(self.channels, *x.shape[:-1], 2, 2 * each)
            .movedim(0, -2)
        )
        u, v = to.flatten(-3, -2).chunk(2, -1)
        return u, v

    def _rest(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.out(y.flatten(-2))
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out


def _within(channels: int, x: Tensor, project: Tensor, gain_BD: Tensor) -> Tensor:
    """u, then v, of both sections for B devices, ``[B, T, b, 4D]``, by one product for each channel
    of each device.
    """
    block, each = x.shape[0], x.shape[-1] // channels
    from_bCSd = (
        x.view(block, -1, channels, each).transpose(1, 2).reshape(block * channels, -1, each)
    )
    by_channel = project.view(block, 2, channels, each, 2, each).permute(0, 2, 3, 4, 1, 5)
    weight = by_channel.reshape(block * channels, each, -1)
    to = torch.bmm(from_bCSd, weight * gain_BD.reshape(-1, each, 1)).view(
        block, channels, -1, 4, each
    )
    return to.permute(0, 2, 3, 1, 4).reshape(*x.shape[:-1], -1)


def fade(v_bTCd: Tensor, rate_C: Tensor) -> Tensor:
    """Compute h_t = rate ⊙ h_{t−1} + v_t for all T positions at once, ``[b, T, C, d]``.

    Within a chunk of CHUNK positions it is a product with M. The last h of each chunk is carried to
    the next chunk by the same recursion over chunks. Time and memory grow linearly with T.
    """
    count, length, channels, each = v_bTCd.shape
    if length > CHUNK:
        v = nn.functional.pad(v_bTCd, (0, 0, 0, 0, 0, -length % CHUNK))
        h = fade(v.reshape(-1, CHUNK, channels, each), rate_C).view(
            count, -1, CHUNK, channels, each
        )
        left = nn.functional.pad(fade(h[:, :-1, -1], rate_C**CHUNK), (0, 0, 0, 0, 1, 0))
        faded_TC1 = (rate_C ** torch.arange(1, CHUNK + 1, device=rate_C.device)[:, None])[..., None]
        return torch.addcmul(h, left.unsqueeze(2), faded_TC1).flatten(1, 2)[:, :length]
    t = torch.arange(length, device=v_bTCd.device)
    gap_TT = t[:, None] - t
    m_CTT = torch.where(gap_TT >= 0, rate_C[:, None, None] ** gap_TT.clamp_min(0), 0.0)
    h_CTbd = torch.bmm(m_CTT, v_bTCd.permute(2, 1, 0, 3).reshape(channels, length, -1))
    return h_CTbd.view(channels, length, count, each).permute(2, 1, 0, 3)


class MCSD(SequenceModel, HasParts):
    """A sequence model of ``depth`` :class:`SlopeDecay` layers of ``width`` units in ``channels``
    channels, with feed-forward networks of ``hidden`` units.

    Raises :class:`ConfigError` unless ``channels`` divides ``width``.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        outputs: int,
        width: int,
        channels: int,
        depth: int,
        hidden: int,
        predict: Literal["every", "last"] = "every",
        vocabulary: int | None = None,
        embedding_std: float = EMBEDDING_STD,
    ) -> None:
        check_sizes(width=width, channels=channels, depth=depth, hidden=hidden)
        if width % channels:
            raise ConfigError(
                "channels",
                channels,
                f"must divide width={width}: a channel has width / channels numbers",
            )
        layers: list[SequenceLayer] = [SlopeDecay(width, channels, hidden) for _ in range(depth)]
        super().__init__(features, outputs, width, layers, predict, vocabulary, embedding_std)
        self.channels = channels

    def parts(self) -> dict[str, dict[int, int]]:
        """See :meth:`HasParts.parts`: the channels that the width is cut into."""
        by_channel = {1: self.channels}
        return {
            "embed.weight": by_channel,
            "norm.gain": {0: self.channels},
            "head.weight": by_channel,
        }
