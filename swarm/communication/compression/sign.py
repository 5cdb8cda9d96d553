"""Sign compression: the sign of every number, and one scale for each row.

Karimireddy, Rebjock, Stich, Jaggi, *Error feedback fixes SignSGD and other gradient compression
schemes*, ICML 2019 (arXiv 1901.09847). It is biased, and a contraction: ‖v − C(v)‖² = ‖v‖² −
‖v‖₁²/M = (1 − φ(v)) ‖v‖² with the density φ(v) = ‖v‖₁²/(M ‖v‖²).
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.communication.compression.base import Compressor, Draw


class Sign(Compressor):
    """C(v) = (‖v‖₁/M) · sign(v); a zero has the sign of its floating-point bits, so that one bit a
    number is enough.
    """

    def __init__(self, feedback: bool = True, number_bits: int = 32) -> None:
        self.feedback, self.number_bits = feedback, number_bits

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        scale_n1 = v_nM.abs().sum(1, keepdim=True) / v_nM.shape[1]
        return torch.copysign(scale_n1, v_nM)

    def bits(self, width: int) -> int:
        """Return one bit for every number, and the bits of the scale."""
        return width + self.number_bits
