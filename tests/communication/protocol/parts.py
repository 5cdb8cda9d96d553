"""Plug-ins for the tests: a compressor, a clock, a delay and a directed graph, each as small as can
be.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from swarm.common.rng import Keys
from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.network.base import Bools, Clock, Delay, Floats, Ints
from swarm.communication.topology.base import Static
from swarm.communication.topology.graph import Graph


class Anywhere(nn.Module):
    """One parameter, drawn: out = w · feature."""

    def __init__(self, features: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.w


class TopK(Compressor):
    """The ``count`` largest numbers of a row, zeros for the others."""

    def __init__(self, count: int, feedback: bool = False) -> None:
        self.count, self.feedback = count, feedback

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        index = v_nM.abs().topk(self.count, 1).indices
        return v_nM.new_zeros(v_nM.shape).scatter(1, index, v_nM.gather(1, index))

    def bits(self, width: int) -> int:
        return 64 * self.count


class SomeAwake(Clock):
    """Each device wakes in a round with probability ``share``."""

    def __init__(self, devices: int, seed: int, share: float = 0.8) -> None:
        self.devices, self.share, self.keys = devices, share, Keys(seed, "test.clock")

    def wakes(self, round: int) -> Bools:
        return self.keys.uniform(np.arange(self.devices), round, 1)[:, 0] < self.share


class SlowMail(Delay):
    """Up to four rounds."""

    longest = 3.9

    def seconds(self, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
        return draw_S * self.longest


class OneWay(Static):
    """A ring in one direction with chords: strongly connected, and no two devices need have the
    same degrees.
    """

    def __init__(self, devices: int) -> None:
        ring = [(i, (i + 1) % devices) for i in range(devices)]
        super().__init__(
            Graph.from_edges(
                devices, [*ring, (0, 3), (0, 5), (2, 0), (6, 1), (6, 3)], directed=True
            )
        )
