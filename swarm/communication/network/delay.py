"""Delays: how long messages take, besides the time to transmit their bits."""

from __future__ import annotations

import math

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.communication.network.base import Delay, Floats, Ints
from swarm.communication.topology.graph import Graph


class ConstantDelay(Delay):
    """Every message takes ``seconds`` virtual seconds.

    Raises ``ConfigError`` for a number below 0.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        number("seconds", seconds, 0)
        self.longest = seconds

    def seconds(self, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
        return np.full_like(draw_S, self.longest)


class UniformDelay(Delay):
    """Every message takes a time drawn uniformly between ``low`` and ``high`` virtual seconds.

    Raises ``ConfigError`` unless 0 ≤ ``low`` ≤ ``high`` < ∞.
    """

    def __init__(self, low: float = 0.0, high: float = 2.0) -> None:
        number("low", low, 0)
        if not low <= high < math.inf:
            raise ConfigError("high", high, f"must be a finite number of at least low={low:g}")
        self.low, self.longest = low, high

    def seconds(self, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
        return self.low + (self.longest - self.low) * draw_S


class ExponentialDelay(Delay):
    """Every message takes ``least`` virtual seconds, and an exponentially distributed time with the
    mean ``mean`` in addition: least − mean · ln u.

    Raises ``ConfigError`` for numbers below 0.
    """

    longest = math.inf

    def __init__(self, mean: float = 1.0, least: float = 0.0) -> None:
        number("mean", mean, 0)
        number("least", least, 0)
        self.mean, self.least = mean, least

    def seconds(self, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
        return self.least - self.mean * np.log(draw_S)


class Distance(Delay):
    """A message takes ``per_unit`` virtual seconds for each unit of its edge's length.

    Raises ``ConfigError`` if the topology's edges have no lengths.
    """

    by_length = True

    def __init__(self, longest_edge: float | None, per_unit: float = 10.0) -> None:
        number("per_unit", per_unit, 0)
        if longest_edge is None:
            raise ConfigError(
                "/delay",
                "distance",
                "needs a topology whose edges have lengths, such as topology=geometric",
            )
        self.per_unit, self.longest = per_unit, per_unit * longest_edge

    def seconds(self, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
        if graph.length_E is None:
            raise ConfigError(
                "/delay",
                "distance",
                "needs a topology whose edges have lengths in every round, and one round has none",
            )
        return self.per_unit * graph.length_E[edge_S]
