"""QSGD: stochastic rounding to a few levels, with one norm for each bucket of numbers.

Alistarh, Grubic, Li, Tomioka, Vojnović, *QSGD: communication-efficient SGD via gradient
quantization and encoding*, NeurIPS 2017 (arXiv 1610.02132); here codes have a fixed length, instead
of Elias codes. For a bucket of d numbers and s levels on either side of zero, E C(v) = v and
E‖C(v) − v‖² ≤ ω ‖v‖² with ω = min(d/s², √d/s).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from swarm.common.errors import ConfigError
from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.compression.hash_rng import row_keys, uniform
from swarm.communication.compression.row_blocks import row_blocks

LEVELS = {8: 127, 4: 7, 2: 1}


class QSGD(Compressor):
    """C(v)_i = q_i · ‖v‖/s with q_i = ⌊s · v_i/‖v‖ + u_i⌋ in −s … s, s = 2^(``bits`` − 1) − 1 and
    u_i uniform in [0, 1). The norm is taken over a bucket of ``bucket`` consecutive numbers; None
    means the whole row.

    ``unbiased: false`` divides by 1 + ω, which makes it a contraction: E‖v − C(v)‖² ≤ (1 − 1/(1 +
    ω)) ‖v‖².

    Raises :class:`ConfigError` for other bits, a bucket below 1, and ``unbiased`` with
    ``feedback``.
    """

    def __init__(
        self,
        bits: int = 8,
        bucket: int | None = 512,
        unbiased: bool = True,
        feedback: bool = False,
        number_bits: int = 32,
    ) -> None:
        if bits not in LEVELS:
            raise ConfigError("bits", bits, "must be 8, 4 or 2: the bits of one number")
        if bucket is not None and bucket < 1:
            raise ConfigError(
                "bucket",
                bucket,
                "must be null (one norm a row) or the numbers that share a norm, ≥ 1",
            )
        if unbiased and feedback:
            raise ConfigError(
                "unbiased", True, "must be false with feedback=true, which needs a contraction"
            )
        self.code_bits, self.bucket, self.unbiased = bits, bucket, unbiased
        self.feedback, self.number_bits = feedback, number_bits

    def size(self, width: int) -> int:
        """Return d, the numbers of a full bucket in a row of ``width`` numbers."""
        return width if self.bucket is None else min(self.bucket, width)

    def variance(self, width: int) -> float:
        """Return ω = min(d/s², √d/s), the bound on the relative variance."""
        d, s = self.size(width), LEVELS[self.code_bits]
        return min(d / s**2, math.sqrt(d) / s)

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        width, keys = v_nM.shape[1], row_keys(draw)
        shrink = 1.0 if self.unbiased else 1.0 / (1.0 + self.variance(width))
        out = torch.empty_like(v_nM)
        for rows in row_blocks(v_nM):
            u_nM = torch.from_numpy(uniform(keys[rows], width)).to(v_nM)
            level_nbd, unit_nb1 = self.levels(v_nM[rows], u_nM)
            out[rows] = (level_nbd * (unit_nb1 * shrink)).flatten(1)[:, :width]
        return out

    def levels(self, v_nM: Tensor, u_nM: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes q ``[n, buckets, d]``, where zeros fill up the last bucket, and ‖v‖/s
        ``[n, buckets, 1]``.
        """
        s, v_nbd, u_nbd = LEVELS[self.code_bits], self._buckets(v_nM), self._buckets(u_nM)
        unit_nb1 = v_nbd.square().sum(2, keepdim=True).sqrt_() / s
        safe = torch.where(unit_nb1 == 0, torch.ones_like(unit_nb1), unit_nb1)
        return (v_nbd / safe).add_(u_nbd).floor_().clamp_(-s, s), unit_nb1

    def _buckets(self, v_nM: Tensor) -> Tensor:
        d = self.size(v_nM.shape[1])
        return functional.pad(v_nM, (0, -v_nM.shape[1] % d)).view(len(v_nM), -1, d)

    def bits(self, width: int) -> int:
        """Return the bits of a code for every number and a norm for every bucket."""
        return width * self.code_bits + -(-width // self.size(width)) * self.number_bits
