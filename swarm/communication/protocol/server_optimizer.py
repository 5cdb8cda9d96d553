"""The base of protocols with an outer optimiser, which takes the mean change of the models as a
gradient.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from swarm.common.rows import Layout, ParameterSpec
from swarm.communication.protocol.base import Requirements, State
from swarm.communication.protocol.fedavg import FedAvg


class ServerOptimizer(FedAvg):
    """x ← x + step(Δ), where Δ = mean − x is the mean change of the devices' models in their local
    steps from x.

    Running statistics, such as those of BatchNorm, are no parameters: they become the mean as in
    FedAvg, without a step of the optimiser.
    """

    requirements = Requirements(common_init=True, equal_models=False)

    _statistics: tuple[ParameterSpec, ...] = ()

    def bind(self, layout: Layout) -> None:
        self._statistics = layout.statistics

    def start(self, state: State) -> Tensor:
        state.round_buffers["outer"] = outer = state.x
        state.x = outer.clone()  # the local steps overwrite it
        return outer

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        outer = state.round_buffers["outer"]
        state.x = outer + self.step(state.slots, received - outer)
        for entry in self._statistics:
            columns = slice(entry.start, entry.stop)
            state.x[:, columns] = received[:, columns]

    @abstractmethod
    def step(self, slots: dict[str, Tensor], delta_NP: Tensor) -> Tensor:
        """Return the step of the outer optimiser for the change Δ, ``[N, P]``; it may change
        ``slots``.
        """
