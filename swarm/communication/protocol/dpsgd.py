"""D-PSGD: local steps, then (or while) averaging with the neighbours.

Lian et al., *Can decentralized algorithms outperform centralized algorithms?*, NeurIPS 2017 (arXiv
1705.09056).
"""

from __future__ import annotations

from torch import Tensor

from swarm.communication.protocol.base import Protocol, Requirements, Rows, State


class TrainThenAverage(Protocol):
    """D-PSGD that averages after the local steps, X⁺ = W(X − γG(X)); on the complete graph it is
    centralised mini-batch SGD.
    """

    phases = ("learn", "mix")
    requirements = Requirements(equal_models=False)


class AverageThenTrain(Protocol):
    """D-PSGD as published, X⁺ = WX − γG(X): gradients are taken at the rows before averaging, so
    that both can happen at the same time.
    """

    phases = ("mix", "learn")
    requirements = Requirements(equal_models=False)

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.round_buffers["before"], state.x = state.x, received

    def start(self, state: State) -> Tensor:
        return state.round_buffers["before"]

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        state.x[rows] = state.x[rows] + (end_BP - start_BP)


class Averaging(Protocol):
    """Gossip averaging without learning, X⁺ = WX (Xiao & Boyd, *Fast linear iterations for
    distributed averaging*, 2004).
    """

    phases = ("mix",)
    requirements = Requirements(equal_models=False)


class LocalOnly(Protocol):
    """Local learning without communication, X⁺ = X − γG(X)."""

    phases = ("learn",)
    requirements = Requirements(equal_models=False)
