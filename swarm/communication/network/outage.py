"""Outages: links that are down for some time."""

from __future__ import annotations

import math

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.communication.network.base import Bools, Outage
from swarm.communication.topology.events import lengths
from swarm.communication.topology.graph import Graph


class NetworkPartition(Outage):
    """The network is split into ``parts`` of nearly equal size from ``start`` to ``end`` (virtual
    seconds).

    A part is a range of ids, which are neighbours on most topologies, or with ``scattered`` a
    random set of devices. Every message from one part to another that is sent at ``start`` or
    later, but before ``end``, is lost.

    Raises ``ConfigError`` for fewer than 2 parts or more than devices, and for times below 0 or in
    the wrong order.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        tick: float,
        parts: int = 2,
        start: float = 10.0,
        end: float = 30.0,
        scattered: bool = False,
    ) -> None:
        if not 2 <= parts <= devices:
            valid = (
                f"must lie between 2 and devices={devices}"
                if devices > 1
                else "cannot split a single device"
            )
            raise ConfigError("parts", parts, valid)
        number("start", start, 0)
        if not start <= end < math.inf:
            raise ConfigError("end", end, f"must be a finite time not before start={start:g}")
        self.part_N = np.arange(devices) * parts // devices
        if scattered:
            self.part_N = self.part_N[
                Keys(seed, "network.partition").generator().permutation(devices)
            ]
        self.first, self.healed = (math.ceil(lengths(time, tick)) + 1 for time in (start, end))
        self.announced = start

    def up(self, round: int, graph: Graph) -> Bools:
        if not self.first <= round < self.healed:
            return np.ones(len(graph.src_E), bool)
        return np.asarray(self.part_N[graph.src_E] == self.part_N[graph.dst_E])
