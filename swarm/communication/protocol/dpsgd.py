"""D-PSGD: local steps, then (or while) averaging with the neighbours.

Lian et al., *Can decentralized algorithms outperform centralized algorithms?*, NeurIPS 2017 (arXiv
1705.09056).
"""

from __future__ import annotations

from torch import Tensor

from swarm.communication.protocol.base import Protocol, Rows, State


class TrainThenAverage(Protocol):
    """X⁺ = W(X − γG(X)): on the complete graph this *is* centralised mini-batch SGD."""

    phases = ("learn", "mix")


class AverageThenTrain(Protocol):
    """X⁺ = WX − γG(X), as published: gradients at the rows before averaging, so both can happen at
    once.
    """

    phases = ("mix", "learn")

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.round_buffers["before"], state.x = state.x, received

    def start(self, state: State) -> Tensor:
        return state.round_buffers["before"]

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        state.x[rows] = state.x[rows] + (end_BP - start_BP)


class Averaging(Protocol):
    """X⁺ = WX: gossip averaging without learning (Xiao & Boyd, *Fast linear iterations for
    distributed averaging*, 2004).
    """

    phases = ("mix",)


class LocalOnly(Protocol):
    """X⁺ = X − γG(X): every device learns for itself."""

    phases = ("learn",)
