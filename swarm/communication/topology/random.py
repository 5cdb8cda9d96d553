"""Standard random graphs, drawn from the run's seed as arrays of links.

A graph that is not connected is drawn again, and repaired if that does not help; with
``allow_disconnected`` it is kept, with a warning. A single device has no links, whatever the
options. All raise ``ConfigError`` for options that no graph of this size can have.
"""

from __future__ import annotations

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.communication.topology.base import (
    Static,
    check_devices,
    check_links,
    check_mean_degree,
    connected,
    link_at_random,
)
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.random_links import (
    independent_links,
    preferential_links,
    regular_links,
    rewired_ring,
)


class ErdosRenyi(Static):
    """Erdős–Rényi graph: every pair is linked with probability ``p``, or with the p that gives
    ``mean_degree`` (Erdős & Rényi 1959).
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        mean_degree: float = 6.0,
        p: float | None = None,
        allow_disconnected: bool = False,
    ) -> None:
        check_devices(devices)
        if p is not None:
            number("p", p, 0, 1)
            check_links("p", p, p * devices * (devices - 1) / 2)
        elif devices > 1:
            check_mean_degree(mean_degree, devices)
        chance = p if p is not None else mean_degree / max(1, devices - 1)
        # a gap between two links would be longer than an integer can be
        chance = chance if 1.0 - chance < 1.0 else 0.0

        def draw(rng: np.random.Generator) -> Graph:
            return Graph.from_edges(devices, independent_links(devices, chance, rng))

        super().__init__(
            Graph.empty(1)
            if devices == 1
            else connected(draw, link_at_random, seed, allow_disconnected)
        )


class SmallWorld(Static):
    """Small-world graph: a ring in which each device is linked to its ``k`` nearest, and each link
    is moved to a random device with probability ``p``.

    Watts & Strogatz, *Collective dynamics of small-world networks*, Nature 1998. The mean degree is
    k.
    """

    def __init__(
        self, devices: int, seed: int, k: int = 6, p: float = 0.2, allow_disconnected: bool = False
    ) -> None:
        check_devices(devices)
        number("p", p, 0, 1)
        if k < 2 or k % 2 or (devices > 1 and k >= devices):
            best = (devices - 1) // 2 * 2
            fit = "2" if best == 2 else f"2 to {best}"
            would = f"{fit} would do" if best >= 2 else "take ring or complete for so few"
            raise ConfigError(
                "k", k, f"must be even, at least 2 and below devices={devices}; {would}"
            )
        check_links("k", k, devices * k / 2)

        def draw(rng: np.random.Generator) -> Graph:
            return Graph.from_edges(devices, rewired_ring(devices, k, p, rng))

        super().__init__(
            Graph.empty(1)
            if devices == 1
            else connected(draw, link_at_random, seed, allow_disconnected)
        )


class BarabasiAlbert(Static):
    """Preferential attachment: devices are added one by one, each with links to ``m`` others that
    are chosen with a probability proportional to their degree.

    Barabási & Albert, *Emergence of scaling in random networks*, Science 1999. The graph has hubs
    and a mean degree of about 2m, and is always connected.
    """

    def __init__(self, devices: int, seed: int, m: int = 3) -> None:
        check_devices(devices)
        if m < 1 or (devices > 1 and m >= devices):
            raise ConfigError("m", m, f"must lie between 1 and devices - 1 = {devices - 1}")
        check_links("m", m, devices * m)
        if devices == 1:
            super().__init__(Graph.empty(1))
            return
        rng = Keys(seed, "topology").generator(0)
        super().__init__(Graph.from_edges(devices, preferential_links(devices, m, rng)))


class RandomRegular(Static):
    """Random regular graph: every device has exactly ``degree`` links. It is sparse, has no hubs,
    and mixes nearly as fast as possible.
    """

    def __init__(
        self, devices: int, seed: int, degree: int = 4, allow_disconnected: bool = False
    ) -> None:
        check_devices(devices)
        if devices > 1:
            self._check(devices, degree, allow_disconnected)
        elif degree < 0:
            raise ConfigError("degree", degree, "must be at least 0")

        def draw(rng: np.random.Generator) -> Graph:
            return Graph.from_edges(devices, regular_links(devices, degree, rng))

        super().__init__(
            Graph.empty(1)
            if devices == 1
            else connected(draw, _swap_links, seed, allow_disconnected)
        )

    @staticmethod
    def _check(devices: int, degree: int, allow_disconnected: bool) -> None:
        least = 0 if allow_disconnected else (1 if devices == 2 else 2)
        if not least <= degree < devices:
            raise ConfigError(
                "degree", degree, f"must lie between {least} and devices - 1 = {devices - 1}"
            )
        if devices * degree % 2:
            raise ConfigError(
                "degree", degree, f"devices × degree must be even, and devices={devices} is odd"
            )
        check_links("degree", degree, devices * degree / 2)


def _swap_links(graph: Graph, rng: np.random.Generator) -> Graph:
    """Join components without changing a degree: links a-b and c-d of two components become a-c
    and b-d.

    In practice only graphs of degree 2, unions of rings, are disconnected so often that they get
    here.
    """
    while graph.components() > 1:
        links_E2, label_N = graph.links_E2, graph.labels()
        here = np.flatnonzero(label_N[links_E2[:, 0]] == 0)
        there = np.flatnonzero(label_N[links_E2[:, 0]] != 0)
        i, j = rng.choice(here), rng.choice(there)
        (a, b), (c, d) = links_E2[i], links_E2[j]
        swapped = np.concatenate([np.delete(links_E2, [i, j], axis=0), [[a, c], [b, d]]])
        graph = Graph.from_edges(graph.n, swapped)
    return graph
