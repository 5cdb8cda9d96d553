"""Topologies in which each device has a position or a rank: random geometric graph, clusters,
two-level hierarchy.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.communication.topology.base import (
    Static,
    check_choice,
    check_devices,
    check_links,
    check_mean_degree,
    connected,
    link_nearest,
    warn_if_disconnected,
)
from swarm.communication.topology.graph import Floats, Graph, Ints
from swarm.communication.topology.regular import circle, ring_links


def within_reach(radius: float) -> float:
    """Return the probability that two uniform points of the unit square are at most r = ``radius``
    ≤ 1 apart, πr² - 8r³/3 + r⁴/2.
    """
    return float(np.pi * radius**2 - 8.0 * radius**3 / 3.0 + radius**4 / 2.0)


def within(radius: float, pos_N2: Floats) -> Ints:
    """Return the pairs of devices that are at most ``radius`` apart, ``[E, 2]``."""
    near_E2 = cKDTree(pos_N2).query_pairs(radius, output_type="ndarray")
    return np.asarray(near_E2, np.int64)


class Geometric(Static):
    """Random geometric graph: devices at random points of the unit square are linked if they are at
    most ``radius`` apart, as if by radio.

    Without ``radius`` it is chosen so that the expected mean degree, with the effect of the
    borders, is ``mean_degree``. A graph in pieces is drawn again, then joined by the shortest
    possible links. Edges have lengths, in sides of the square. Raises ``ConfigError`` for a radius
    or a mean degree out of range.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        mean_degree: float = 6.0,
        radius: float | None = None,
        allow_disconnected: bool = False,
    ) -> None:
        check_devices(devices)
        reach = radius if radius is not None else self._radius(mean_degree, devices)
        if not 0.0 <= reach <= 1.5:
            raise ConfigError(
                "radius", radius, "must lie between 0 and 1.5, in sides of the square"
            )
        check_links("radius", reach, within_reach(min(reach, 1.0)) * devices * (devices - 1) / 2)

        def draw(rng: np.random.Generator) -> Graph:
            pos_N2 = rng.random((devices, 2))
            return Graph.from_edges(devices, within(reach, pos_N2), pos_N2=pos_N2)

        super().__init__(connected(draw, link_nearest, seed, allow_disconnected).measured())

    @staticmethod
    def _radius(mean_degree: float, devices: int) -> float:
        if devices == 1:
            return 0.0
        check_mean_degree(mean_degree, devices)
        chance = mean_degree / (devices - 1)
        return (
            1.5
            if chance >= within_reach(1.0)
            else float(brentq(lambda r: within_reach(r) - chance, 0.0, 1.0))
        )


class Clusters(Static):
    """Devices in ``clusters`` clusters of the unit square, each linked to its ``k`` nearest.

    Clusters have random centres and a standard deviation of ``spread``, in sides of the square;
    device i belongs to cluster i mod ``clusters``. Two devices are linked if either is among the k
    nearest of the other. Clusters that are not connected are joined by the shortest possible links,
    which are bottlenecks on purpose. Edges have lengths, in sides of the square. Raises
    ``ConfigError`` for options out of range.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        clusters: int = 5,
        k: int = 4,
        spread: float = 0.05,
        allow_disconnected: bool = False,
    ) -> None:
        check_devices(devices)
        if clusters < 1 or (devices > 1 and clusters > devices):
            raise ConfigError("clusters", clusters, f"must lie between 1 and devices={devices}")
        if k < 1 or (devices > 1 and k >= devices):
            raise ConfigError("k", k, f"must lie between 1 and devices - 1 = {devices - 1}")
        if not 0.0 < spread <= 10.0:
            raise ConfigError(
                "spread", spread, "must be above 0 and at most 10 (side lengths of the square)"
            )
        check_links("k", k, devices * k)
        rng = Keys(seed, "topology").generator(0)
        heap_N = np.arange(devices) % clusters
        pos_N2 = rng.random((clusters, 2))[heap_N] + spread * rng.standard_normal((devices, 2))
        near_NK = cKDTree(pos_N2).query(pos_N2, k=min(k + 1, devices))[1].reshape(devices, -1)
        pairs_E2 = np.stack(
            [np.repeat(np.arange(devices), near_NK.shape[1]), near_NK.ravel()], axis=1
        )
        graph = Graph.from_edges(devices, pairs_E2, pos_N2=pos_N2)
        if allow_disconnected or graph.components() == 1:
            super().__init__(warn_if_disconnected(graph).measured())
        else:
            super().__init__(link_nearest(graph, rng).measured())


Heads = Literal["ring", "complete"]
Members = Literal["star", "complete"]


class Hierarchy(Static):
    """Two-level hierarchy: ``groups`` groups of nearly equal size, each with a head (its first
    device), and links among the heads.

    ``heads`` says how the heads are linked (ring, complete), and ``members`` how the devices of a
    group are (star around the head, complete). Without ``groups`` there are about √devices groups.
    Raises ``ConfigError`` for more groups than devices.
    """

    def __init__(
        self,
        devices: int,
        groups: int | None = None,
        heads: Heads = "ring",
        members: Members = "star",
    ) -> None:
        check_devices(devices)
        check_choice("heads", heads, get_args(Heads))
        check_choice("members", members, get_args(Members))
        count = max(1, round(devices**0.5)) if groups is None else groups
        if not 1 <= count <= devices:
            raise ConfigError("groups", groups, f"must lie between 1 and devices={devices}")
        size_G = np.full(count, devices // count) + (np.arange(count) < devices % count)
        start_G = np.cumsum(size_G) - size_G
        inside = (
            float((size_G * (size_G - 1)).sum() / 2) if members == "complete" else float(devices)
        )
        across = count * (count - 1) / 2 if heads == "complete" else float(count)
        check_links("groups", count, inside + across)
        among = (
            ring_links(count) if heads == "ring" else np.stack(np.triu_indices(count, 1), axis=1)
        )
        pairs = [start_G[among]]
        head_N = np.repeat(start_G, size_G)
        place_N = np.arange(devices) - head_N
        if members == "star":
            pairs.append(np.stack([head_N, np.arange(devices)], axis=1))
        else:
            pairs += _all_pairs(start_G, size_G)
        # the head in the middle of the others
        angle_N = 2.0 * np.pi * (place_N - 1) / np.maximum(1, np.repeat(size_G, size_G) - 1)
        around_N2 = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1) * (place_N > 0)[:, None]
        centre_N2 = np.repeat(circle(count), size_G, axis=0)
        pos_N2 = centre_N2 + 1.5 / count * around_N2
        super().__init__(Graph.from_edges(devices, np.concatenate(pairs), pos_N2=pos_N2))


def _all_pairs(start_G: Ints, size_G: Ints) -> list[Ints]:
    """All pairs of devices of each group; the groups of one size together."""
    found = []
    for size in np.unique(size_G):
        inside = np.stack(np.triu_indices(size, 1), axis=1)
        found.append((start_G[size_G == size, None, None] + inside).reshape(-1, 2))
    return found
