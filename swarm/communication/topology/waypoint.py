"""The random waypoint model: devices move, and are linked to those in radio range.

Johnson & Maltz, *Dynamic source routing in ad hoc wireless networks*, 1996.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.communication.topology.base import Topology, check_devices, check_links
from swarm.communication.topology.graph import Floats, Graph, Ints
from swarm.communication.topology.structured import within, within_reach

CROSSINGS = 10.0
"""The most times that a device may cross the area in one round, since each leg takes time to
compute.
"""


@dataclass(frozen=True)
class Legs:
    """The leg that each device is on: its number, when and where it begins, where and when it
    ends.
    """

    number_N: Ints
    left_N: Floats
    from_N2: Floats
    to_N2: Floats
    there_N: Floats


class Waypoint(Topology):
    """Random waypoint mobility: every device goes straight to a random point of a square at a
    random speed, pauses, and goes on to the next; devices that are near each other are linked.

    Goals are uniform in the square of ``side`` metres, and speeds uniform between ``speed_min`` and
    ``speed_max`` m/s, both drawn for every leg; after each leg a device pauses for ``pause``
    seconds. Devices are linked if they are at most ``radius`` metres apart at the start of a round,
    and a round lasts ``window`` virtual seconds. Initial positions are uniform, and crowd towards
    the middle in the first legs. Graphs are often not connected, which gives no warning.

    Positions are a function of (seed, device, round): legs are drawn by their number and added up
    in their order, from a cached state of an earlier round or from the start. Two states are
    cached.

    Raises ``ConfigError`` for lengths, times or speeds that are not positive and finite (a pause
    may be 0), for a minimum speed above the maximum, and for too many links or legs. The minimum
    speed must be above 0, since else ever more devices would come to rest.
    """

    period = None

    window: float

    def __init__(
        self,
        devices: int,
        seed: int,
        side: float = 1000.0,
        radius: float = 150.0,
        speed_min: float = 1.0,
        speed_max: float = 10.0,
        pause: float = 10.0,
        window: float = 10.0,
    ) -> None:
        check_devices(devices)
        positive = {
            "side": side,
            "radius": radius,
            "speed_min": speed_min,
            "speed_max": speed_max,
            "window": window,
        }
        for key, value in positive.items():
            if not 0.0 < value < 1e12:
                raise ConfigError(key, value, "must be above 0 and below 1e12")
        if not 0.0 <= pause < 1e12:
            raise ConfigError("pause", pause, "must be at least 0 and below 1e12, in seconds")
        if speed_min > speed_max:
            raise ConfigError("speed_min", speed_min, f"must be at most speed_max={speed_max:g}")
        if speed_max * window > CROSSINGS * side:
            fastest = CROSSINGS * side / window
            sides = f"{CROSSINGS:g} sides a round of window={window:g} seconds"
            raise ConfigError("speed_max", speed_max, f"must be at most {fastest:g}, {sides}")
        check_links(
            "radius", radius, within_reach(min(radius / side, 1.0)) * devices * (devices - 1) / 2
        )
        self.devices, self.keys = devices, Keys(seed, "topology/waypoint")
        self.side, self.radius, self.pause, self.window = side, radius, pause, window
        self.speed_min, self.speed_max = speed_min, speed_max
        self._known: dict[int, Legs] = {}

    def graph(self, phase: int) -> Graph:
        pos_N2 = self.positions(phase)
        near_E2 = within(self.radius, pos_N2)
        return Graph.from_edges(self.devices, near_E2, pos_N2=pos_N2).measured()

    def positions(self, round: int) -> Floats:
        """Return the positions at the start of ``round`` (0, 1, …) in metres, ``[N, 2]``."""
        time, legs = round * self.window, self._legs(round)
        gone_N = (time - legs.left_N) / (legs.there_N - legs.left_N)
        return legs.from_N2 + np.minimum(gone_N, 1.0)[:, None] * (legs.to_N2 - legs.from_N2)

    def _legs(self, round: int) -> Legs:
        """Each device's leg at the start of a round; the pause after a leg is part of it."""
        before = max((r for r in self._known if r <= round), default=None)
        legs = self._known[before] if before is not None else self._first()
        time = round * self.window
        late = np.flatnonzero(legs.there_N + self.pause <= time)
        if len(late):
            number_N, left_N, there_N = (
                legs.number_N.copy(),
                legs.left_N.copy(),
                legs.there_N.copy(),
            )
            from_N2, to_N2 = legs.from_N2.copy(), legs.to_N2.copy()
            while len(late):
                number_N[late] += 1
                left_N[late] = there_N[late] + self.pause
                from_N2[late] = to_N2[late]
                to_N2[late], there_N[late] = self._leg(
                    late, number_N[late], left_N[late], from_N2[late]
                )
                late = late[there_N[late] + self.pause <= time]
            legs = Legs(number_N, left_N, from_N2, to_N2, there_N)
        self._known[round] = legs
        while len(self._known) > 2:
            self._known.pop(next(iter(self._known)))  # the oldest entry
        return legs

    def _first(self) -> Legs:
        id_N, zero_N = np.arange(self.devices), np.zeros(self.devices)
        from_N2 = self.side * self.keys.uniform(id_N, 0, 2)
        number_N = np.ones(self.devices, dtype=np.int64)
        return Legs(number_N, zero_N, from_N2, *self._leg(id_N, number_N, zero_N, from_N2))

    def _leg(
        self, device: Ints, number: Ints, left: Floats, start_2: Floats
    ) -> tuple[Floats, Floats]:
        """Where and when the leg ``number`` (1, 2, …) of each device ends."""
        draws_3 = self.keys.uniform(device, number, 3)
        goal_2 = self.side * draws_3[:, :2]
        speed = self.speed_min + (self.speed_max - self.speed_min) * draws_3[:, 2]
        way = np.linalg.norm(goal_2 - start_2, axis=1)
        least = np.nextafter(left, np.inf)  # a leg must take time, as positions divide by it
        return goal_2, np.maximum(left + way / speed, least)
