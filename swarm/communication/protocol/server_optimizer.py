"""The base of protocols with an outer optimiser, which takes the mean change of the models as a
gradient.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from swarm.communication.protocol.base import Requirements, State
from swarm.communication.protocol.fedavg import FedAvg


class ServerOptimizer(FedAvg):
    """x ← x + step(Δ), where Δ = mean − x is the mean change of the devices' models in their local
    steps from x.
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
        """Return the step of the outer optimiser for the change Δ, ``[N, P]``; it may change
        ``slots``.
        """
