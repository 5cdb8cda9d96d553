"""Half precision: every number rounded to the nearest of IEEE 754's binary16.

|v_i − C(v)_i| ≤ max(2⁻¹¹ |v_i|, 2⁻²⁵) for |v_i| ≤ 65504, the largest of them (of float64 at most
2⁻¹² of that more, for it is rounded to float32 on the way). Numbers beyond it, infinities too,
saturate at ±65504: they arrive too small but finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.communication.compression.base import Compressor, Draw

LARGEST = 65504.0


class Float16(Compressor):
    """C(v)_i = v_i in half precision, saturating."""

    def __init__(self, feedback: bool = False) -> None:
        self.feedback = feedback

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        return v_nM.clamp(-LARGEST, LARGEST).to(torch.float16).to(v_nM.dtype)

    def bits(self, width: int) -> int:
        """16 a number."""
        return 16 * width
