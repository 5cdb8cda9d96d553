"""Exact diffusion: adapt, correct, combine. The correction removes the bias of diffusion (D-PSGD)
with one subtraction.

Yuan, Ying, Zhao & Sayed, *Exact diffusion for distributed optimization and learning*, IEEE Trans.
Signal Process. 2019 (arXiv 1702.05122).
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from swarm.communication.mixing import Mixing
from swarm.communication.protocol.base import State
from swarm.communication.protocol.d2 import D2, require_symmetric


class ExactDiffusion(D2):
    """Exact diffusion: ψ = X − D; φ = ψ + X − ψ⁻ with ψ⁻ = X⁰ at first; X⁺ = ((I + W)/2)φ.

    It is D² with (I + W)/2 in place of W. The eigenvalues of (I + W)/2 are never negative, so any
    symmetric W can be used.
    """

    requirements = replace(D2.requirements, static_graph=False)

    def check(self, mixing: Mixing) -> None:
        require_symmetric(self, mixing)

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.x = (state.x + received) / 2
