"""Plug-ins for the tests: protocols without their learning, and devices that come and go."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.communication.network.base import Churn
from swarm.communication.protocol.base import Links, State
from swarm.communication.protocol.power_gossip import PowerGossip
from swarm.communication.protocol.relay_sgd import RelaySGD


class StillRelay(RelaySGD):
    """Models never change; what a device makes of what it heard is kept as ``estimate``."""

    phases = ("per_edge",)

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {**super().init(x_NP, links), "estimate": x_NP.clone()}

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.slots |= {"heard": received, "estimate": self.estimate(state.x, received)}


class GrowingRelay(StillRelay):
    """In round t every model is t times its first one."""

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {**super().init(x_NP, links), "first": x_NP.clone()}

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        super().receive(phase, state, received)
        state.x = state.x + state.slots["first"]


class StillPower(PowerGossip):
    """PowerGossip without learning."""

    phases = ("per_edge", "per_edge")


class InTurn(Churn):
    """A third of the devices is away, another one in each round."""

    def __init__(self, devices: int) -> None:
        self.devices = devices

    def online(self, round: int) -> npt.NDArray[np.bool_]:
        return (np.arange(self.devices) * 2 + round) % 3 > 0
