"""Exponential graphs, whose hops of 1, 2, 4, 8, … devices reach all devices in ⌈log₂ n⌉ rounds
(Ying et al., arXiv 2110.13363).
"""

from __future__ import annotations

import numpy as np

from swarm.communication.topology.base import Static, Topology, check_devices
from swarm.communication.topology.graph import Graph


def hops(devices: int) -> int:
    """Return τ = ⌈log₂ n⌉, the number of different hops 1, 2, 4, … below n."""
    return (devices - 1).bit_length()


class ExponentialGraph(Static):
    """Directed graph in which device i sends to i + 2^k mod n for every k < τ = ⌈log₂ n⌉.

    In- and out-degree are τ, so uniform weights 1/(τ+1) are doubly stochastic; ρ = (τ - 1)/(τ + 1)
    for even n.
    """

    def __init__(self, devices: int) -> None:
        check_devices(devices)
        id_N = np.arange(devices)
        pairs = [
            np.stack([id_N, (id_N + (1 << k)) % devices], axis=1) for k in range(hops(devices))
        ]
        edges_E2 = np.concatenate([np.empty((0, 2), dtype=np.int64), *pairs])
        super().__init__(Graph.from_edges(devices, edges_E2, directed=True))


class OnePeerExponential(Topology):
    """Directed time-varying graphs: in round k device i sends only to i + 2^(k mod τ) mod n.

    Each device sends one message a round, which is averaged with weight ½. For n = 2^τ the product
    of any τ consecutive rounds is the exact mean (J = 11ᵀ/n); for other n it is only close to it.
    """

    def __init__(self, devices: int) -> None:
        check_devices(devices)
        self.devices = devices
        self.period: int = max(1, hops(devices))

    def graph(self, phase: int) -> Graph:
        if self.devices == 1:
            return Graph(1, np.empty(0, np.int64), np.empty(0, np.int64), directed=True)
        dst_N = np.arange(self.devices)
        return Graph(
            self.devices, (dst_N - (1 << phase % self.period)) % self.devices, dst_N, directed=True
        )
