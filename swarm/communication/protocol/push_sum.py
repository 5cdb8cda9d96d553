"""Push-sum: exact averages over directed graphs, by senders that split what they have among their
receivers; with learning it is stochastic gradient push (SGP).

Kempe, Dobra & Gehrke, *Gossip-based computation of aggregate information*, FOCS 2003; Assran,
Loizou, Ballas & Rabbat, *Stochastic gradient push for distributed deep learning*, ICML 2019 (arXiv
1811.10792).
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.communication.protocol.base import Links, Protocol, Requirements, Rows, State


class PushSum(Protocol):
    """Push-sum: S⁺ = P(S − D), w⁺ = Pw, Z = S/w, where the columns of P sum to one, w₀ = 1, and D
    is start − end of the local steps from Z.

    The rows of devices are Z, the de-biased values, which learn and are evaluated; S is Z·w. The
    sums of S and w over devices are conserved on any directed graph, also if messages are late, or
    are lost and the sender keeps their share.
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
    """Push-sum without learning, as first published; Z converges to the mean of the first rows."""

    phases = ("mix",)
