"""Numbers in fixed point, as whole numbers modulo 2^32."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint32]
MOST = 2**31 - 1


@dataclass(frozen=True)
class FixedPoint:
    """x becomes the whole number round(x · 2^``places``) modulo 2^32, of which those from 2^31 on
    stand for numbers below 0."""

    places: int

    @classmethod
    def for_sum(cls, largest: float, weight: float, terms: int) -> FixedPoint:
        """The finest one in which no sum of ``terms`` encoded numbers w_i·x_i can wrap around,
        where |x_i| ≤ ``largest`` and Σ |w_i| ≤ ``weight``: rounding adds up to 1/2 each, so
        ``largest`` · ``weight`` · 2^places + ``terms``/2 must be below 2^31."""
        return cls(math.floor(math.log2((MOST - terms / 2) / (largest * weight))))

    def encoded(self, x_M: Floats) -> Words:
        """The words of some numbers."""
        return np.rint(np.ldexp(x_M, self.places)).astype(np.int64).astype(np.uint32)

    def decoded(self, total_M: Words) -> Floats:
        """The numbers of some words."""
        return np.ldexp(total_M.view(np.int32).astype(np.float64), -self.places)
