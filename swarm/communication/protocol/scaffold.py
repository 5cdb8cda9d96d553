"""SCAFFOLD: federated averaging without client drift, by control variates.

Karimireddy et al., *SCAFFOLD: Stochastic controlled averaging for federated learning*, ICML 2020
(arXiv 1910.06378).
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.communication.protocol.base import Links, Requirements, Rows, State
from swarm.communication.protocol.fedavg import FedAvg


class Scaffold(FedAvg):
    """SCAFFOLD: K local steps y ← y − γ(∇f_i(y) − c_i + c) from the server's x, then (option II,
    for plain SGD)

        c_i⁺ = c_i − c + (x − y)/(Kγ),   x ← mean of y over S,   c ← c + (1/N) Σ_{i∈S} (c_i⁺ − c_i).

    c_i estimates the gradient of device i, and c the mean gradient of all devices. If both are
    exact, every local step follows the mean gradient. A message holds the model and a control
    variate, 2P numbers.
    """

    requirements = Requirements(plain_sgd=True, linear_mixing=True)

    def __init__(self, fraction: float = 1.0) -> None:
        super().__init__("equal", fraction)

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"own": torch.zeros_like(x_NP), "server": torch.zeros_like(x_NP)}

    def width(self, phase: int, parameters: int) -> int:
        return 2 * parameters

    def start(self, state: State) -> Tensor:
        state.round_buffers["change"] = torch.zeros_like(state.x)
        return state.x

    def gradient_correction(self, state: State) -> GradientCorrection | None:
        return GradientCorrection(state.slots["server"] - state.slots["own"])

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        steps = torch.as_tensor(state.now.steps_n, device=end_BP.device)[rows, None].to(end_BP)
        if state.now.lr:  # a rate of 0, as after the end of a cosine schedule, gives no gradient
            change = (start_BP - end_BP) / (steps * state.now.lr) - state.slots["server"][rows]
        else:
            change = torch.zeros_like(end_BP)
        state.slots["own"][rows] += change
        state.round_buffers["change"][rows] = change
        state.x[rows] = end_BP

    def send(self, phase: int, state: State) -> Tensor:
        return torch.cat([state.x, state.round_buffers["change"]], 1)

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.x, change = (part.contiguous() for part in received.chunk(2, 1))
        state.slots["server"] = state.slots["server"] + state.now.share * change
