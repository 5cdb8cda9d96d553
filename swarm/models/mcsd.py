"""MCSD: a multi-channel slope and decay model, our reading of it.

Yang et al., *MCSD: An efficient language model with diverse fusion*, arXiv 2406.12230. The paper gives the structure (channels
with a predefined slope for near and a predefined decay for far context, each with a projection and an aggregation branch,
concatenated; recurrent inference in constant memory) but not all matrices. Ours:

    h_t = λ_c h_{t−1} + v_t,   y_t = u_t ⊙ h_t,   with u = x·U_c and v = x·V_c in each of C channels of D/C numbers,
    slope: λ_c = exp(−2^{−8c/C}), c = 1 … C;   decay: λ_c = 1 − 2^{−5−c}, c = 0 … C − 1;
    out = concat(y_slope, y_decay)·W,   in x + out(norm(x)), followed by x + FFN(norm(x)) with a gated FFN.

In parallel form Y_c = U_c ⊙ (M_c V_c) with M[t, s] = λ_c^{t−s} for s ≤ t.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from swarm.errors import ConfigError
from swarm.models.sequence import GatedFFN, Layer, RMSNorm, SequenceModel, State, check_sizes


class SlopeDecay(Layer):
    """One layer: both sections, then the feed-forward network. Its state is 2·D numbers, however much was read."""

    def __init__(self, width: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        each = width // channels
        self.norm, self.ffn_norm = RMSNorm(width), RMSNorm(width)
        self.project = nn.Parameter(torch.randn(2 * channels, each, 2 * each) * each**-0.5)  # U and V of both sections
        self.out = nn.Linear(2 * width, width, bias=False)
        self.ffn = GatedFFN(width, hidden)
        slope = [math.exp(-(2.0 ** (-8 * c / channels))) for c in range(1, channels + 1)]
        self.rates = [*slope, *(1 - 2.0 ** (-5 - c) for c in range(channels))]  # λ of each channel

    def forward(self, x_bTD: Tensor) -> Tensor:
        u, v = self._branches(self.norm(x_bTD))  # [b, T, 2C, D/C]
        t = torch.arange(x_bTD.shape[1], device=x_bTD.device)
        gap_TT = (t[:, None] - t).to(x_bTD.dtype)
        fade_CTT = torch.where(gap_TT >= 0, x_bTD.new_tensor(self.rates)[:, None, None] ** gap_TT.clamp_min(0), 0.0)
        h = (fade_CTT @ v.transpose(1, 2)).transpose(1, 2)
        return self._rest(x_bTD, u * h)

    def empty(self, like_bD: Tensor) -> State:
        return (like_bD.new_zeros(len(like_bD), 2 * self.channels, like_bD.shape[1] // self.channels),)

    def step(self, x_bD: Tensor, state: State) -> tuple[Tensor, State]:
        u, v = self._branches(self.norm(x_bD))
        h = x_bD.new_tensor(self.rates)[:, None] * state[0] + v
        return self._rest(x_bD, u * h), (h,)

    def _branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u and v of both sections' channels, ``[…, 2C, D/C]`` each."""
        parts = x.reshape(*x.shape[:-1], self.channels, -1)
        both = torch.cat([parts, parts], -2).unsqueeze(-2) @ self.project
        u, v = both.squeeze(-2).chunk(2, -1)
        return u, v

    def _rest(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.out(y.flatten(-2))
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out


class MCSD(SequenceModel):
    """``depth`` layers of ``width`` numbers in ``channels`` channels; ``hidden`` numbers in the feed-forward network."""

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
    ) -> None:
        check_sizes(width=width, channels=channels, depth=depth, hidden=hidden)
        if width % channels:
            raise ConfigError(
                "channels", channels, f"must divide width={width}: a channel has width / channels numbers"
            )
        layers: list[Layer] = [SlopeDecay(width, channels, hidden) for _ in range(depth)]
        super().__init__(features, outputs, width, layers, predict, vocabulary)
