"""Push-sum: exact averages over directed graphs, from senders who only split what they have; with
learning, SGP.

Kempe, Dobra & Gehrke, *Gossip-based computation of aggregate information*, FOCS 2003; Assran,
Loizou, Ballas & Rabbat, *Stochastic gradient push for distributed deep learning*, ICML 2019 (arXiv
1811.10792).
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.communication.protocol.base import Links, Protocol, Requirements, Rows, State


class PushSum(Protocol):
    """S⁺ = P(S − D), w⁺ = Pw, Z = S/w with the columns of P summing to one; w₀ = 1.

    D is what the local steps from Z subtract.

    The rows of the swarm are Z, the de-biased values: they are what is learnt from and evaluated,
    and S is Z·w. Both sums are conserved on any directed graph, also where messages are late, or
    lost and the sender keeps its share.
    """

    requirements = Requirements(conserves="column", no_compression=True)

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"weight": x_NP.new_ones(len(x_NP), 1)}

    def width(self, phase: int, parameters: int) -> int:
        return parameters + 1

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        state.x[rows] = start_BP + (end_BP - start_BP) / state.slots["weight"][rows]

    def send(self, phase: int, state: State) -> Tensor:
        weight = state.slots["weight"]
        return torch.cat([state.x * weight, weight], 1)

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        weight = received[:, -1:].clone()
        state.slots["weight"], state.x = weight, received[:, :-1] / weight


class PushSumAveraging(PushSum):
    """Push-sum without learning, as published first: Z goes to the mean of the first rows."""

    phases = ("mix",)
