"""Sharing of updates: devices tell one another what they learnt in a round, not what they know.

The update is federated averaging's (McMahan et al., AISTATS 2017, arXiv 1602.05629, there summed by
a server) and the message of compressed SGD (Alistarh et al., QSGD, NeurIPS 2017, arXiv 1610.02132),
over the links of a graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.communication.protocol.base import Protocol, Requirements, Rows, State


class DeltaSharing(Protocol):
    """X⁺ = X + W Q(Δ), Δ the local steps' end − start and Q the compressor, applied to a device's
    own update as well.

    With W = 11ᵀ/n and a common start it is federated averaging, and all devices stay equal to the
    bit. On any other graph nothing brings the rows together again: what differs, differs for good.
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
