"""What protocols with an outer optimiser share: the mean change of the models is a gradient in the
eyes of the server.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from swarm.communication.protocol.base import Requirements, State
from swarm.communication.protocol.fedavg import FedAvg


class ServerOptimizer(FedAvg):
    """x ← x + step(Δ), where Δ = mean − x is the mean over what the devices made of x in their
    local steps.
    """

    requirements = Requirements(common_init=True)

    def start(self, state: State) -> Tensor:
        state.round_buffers["outer"] = outer = state.x
        state.x = outer.clone()  # the local steps overwrite it
        return outer

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        outer = state.round_buffers["outer"]
        state.x = outer + self.step(state.slots, received - outer)

    @abstractmethod
    def step(self, slots: dict[str, Tensor], delta_NP: Tensor) -> Tensor:
        """How far the outer optimiser goes, ``[N, P]``; ``slots`` may be changed."""
