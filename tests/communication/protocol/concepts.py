"""Plug-ins for the tests: owners of two concepts with opposite labels, and a protocol that measures
models without saying so.
"""

from __future__ import annotations

import numpy as np

from swarm.common.rng import Keys
from swarm.communication.protocol.base import Protocol, State
from swarm.data.dataset import Dataset, Source


class Opposite(Source):
    """x is normal in three dimensions, and its class whether x_0 > 0; owners of odd number call it
    the other way round. Each has ``each`` training samples, the first one has ``first``; three
    more of each owner are for validation, and 15 for the test."""

    def __init__(self, devices: int, seed: int, each: int = 40, first: int = 40) -> None:
        self.devices, self.seed, self.each, self.first = devices, seed, each, first

    def load(self) -> Dataset:
        sizes_N = np.full(self.devices, self.each)
        sizes_N[0] = self.first
        owners = np.arange(self.devices)
        parts = [owners.repeat(sizes_N), owners.repeat(3), owners.repeat(15)]
        owner = np.concatenate(parts)
        x = Keys(self.seed, "opposite").generator().standard_normal((len(owner), 3))
        y = ((x[:, 0] > 0) ^ (owner % 2 == 1)).astype(np.int64)
        ends = np.cumsum([len(part) for part in parts])
        ids = np.split(np.arange(len(owner)), ends[:2])
        return Dataset(x.astype(np.float32), y, 2, owner, *ids)


class Undeclared(Protocol):
    """D-PSGD that asks how well its models do, and has not declared that it will."""

    def start(self, state: State) -> object:  # type: ignore[override]
        return state.x + state.local.loss(state.x).to(state.x)[:, None]
