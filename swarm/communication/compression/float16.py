"""Half precision: every number is rounded to the nearest one of IEEE 754's binary16.

For |v_i| ≤ 65504, the largest number of binary16, |v_i − C(v)_i| ≤ max(2⁻¹¹ |v_i|, 2⁻²⁵). For
float64 rows the bound is larger by a factor of 1 + 2⁻¹², since they are rounded to float32 first.
Numbers beyond 65504 in size, infinities too, become ±65504.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.communication.compression.base import Compressor, Draw

LARGEST = 65504.0


class Float16(Compressor):
    """C(v)_i is v_i in half precision, clamped to ±65504."""

    def __init__(self, feedback: bool = False) -> None:
        self.feedback = feedback

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        return v_nM.clamp(-LARGEST, LARGEST).to(torch.float16).to(v_nM.dtype)

    def bits(self, width: int) -> int:
        """Return 16 bits for each number."""
        return 16 * width
