"""Sharing of updates: devices send the change of their parameters in a round, not the parameters.

The update is that of federated averaging (McMahan et al., AISTATS 2017, arXiv 1602.05629), where a
server adds it up. The message is that of compressed SGD (Alistarh et al., QSGD, NeurIPS 2017, arXiv
1610.02132). Here both go over the links of a graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.communication.protocol.base import Protocol, Requirements, Rows, State


class DeltaSharing(Protocol):
    """X⁺ = X + W Q(Δ), where Δ is end − start of the local steps and Q the compressor, which is
    applied to a device's own update as well.

    With W = 11ᵀ/n and common initial parameters it is federated averaging, and all devices stay
    equal to the bit. On any other graph rows that differ are never averaged, so their difference
    stays.
    """

    requirements = Requirements(own_packet=True)

    def start(self, state: State) -> Tensor:
        state.round_buffers["update"] = torch.zeros_like(state.x)
        return state.x

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        state.round_buffers["update"][rows] = end_BP - start_BP

    def send(self, phase: int, state: State) -> Tensor:
        return state.round_buffers["update"]

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.x = state.x + received
