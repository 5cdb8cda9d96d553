"""Devices that come and go: at random, by a trace, for good, or late."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np

from swarm.common.errors import ConfigError, of_the
from swarm.common.names import Maybe, choices, finder
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.communication.network.base import Bools, Churn, Floats, Ints
from swarm.communication.topology.events import first_rounds, lengths, read_events, seconds_of

TRUTH = {"1": True, "0": False, "true": True, "false": False}


class MarkovChurn(Churn):
    """Every device goes offline at the rate ``leave_rate`` and comes back at ``return_rate``, both
    per virtual second.

    This is the Markov chain in continuous time with two states, observed once a tick. With a + b
    the sum of the rates, P(t) = e^{−(a+b)t} · I + (1 − e^{−(a+b)t}) · 1π: in a tick a device keeps
    its state with probability e^{−(a+b)·tick}, and otherwise draws a new one from the stationary
    distribution π = (return, leave)/(a + b), from which its first state is drawn as well. A
    fraction leave/(leave + return) of the devices is offline, and the mean time offline is
    1/return.

    Raises ``ConfigError`` for negative rates, and for devices that leave and never return (that is
    ``churn=crash``).
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        tick: float,
        leave_rate: float = 0.025,
        return_rate: float = 0.1,
    ) -> None:
        number("leave_rate", leave_rate, 0)
        number("return_rate", return_rate, 0)
        if leave_rate > 0 and return_rate == 0:
            raise ConfigError(
                "return_rate",
                return_rate,
                "must be above 0; churn=crash has devices that never return",
            )
        total = leave_rate + return_rate
        self.redrawn = -math.expm1(-total * tick)
        self.there = return_rate / total if total else 1.0
        self.devices, self.keys = devices, Keys(seed, "network.churn")
        self._last: tuple[int, Bools] = (0, np.ones(devices, bool))

    def online(self, round: int) -> Bools:
        known, state = self._last
        if not self.redrawn:
            return np.ones(self.devices, bool)
        if round > 1 and known == round - 1:
            draw_N2 = self.keys.uniform(np.arange(self.devices), round, 2)
            state = np.where(draw_N2[:, 0] < self.redrawn, draw_N2[:, 1] < self.there, state)
        else:
            state = self._found(round)
        self._last = round, state
        return state.copy()

    def _found(self, round: int) -> Bools:
        """The state in any round: the last one that each device drew, searched backwards."""
        state, open_M = np.zeros(self.devices, bool), np.arange(self.devices)
        while len(open_M):
            draw_M2 = self.keys.uniform(open_M, round, 2)
            drawn = (draw_M2[:, 0] < self.redrawn) | (round <= 1)
            state[open_M[drawn]] = draw_M2[drawn, 1] < self.there
            open_M, round = open_M[~drawn], round - 1
        return state


class Trace(Churn):
    """Devices are online as a CSV file says, with the columns ``time`` (virtual seconds),
    ``device`` and ``online`` (1 or 0).

    A line holds from the first round that begins at its time or later until the device's next line;
    of two lines with the same time, the later one in the file counts. Before its first line a
    device is online if ``before`` is true. ``device`` is a device's name, or its number if no
    device's name is a number.

    Raises ``ConfigError`` for a file that is missing, malformed or too large, for an unknown or
    missing column, and for a device that does not exist.
    """

    def __init__(
        self,
        devices: int,
        tick: float,
        path: str | None = None,
        before: bool = True,
        max_mib: float = 64.0,
        max_rows: int = 5_000_000,
        device_names: Maybe | None = None,
    ) -> None:
        self.devices, self.before = devices, before
        self._find = cache(finder(device_names, devices))
        self._valid = partial(choices, device_names, devices)
        columns, cap = ("time", "device", "online"), ("max_rows", max_rows)
        found = read_events(path, "a trace", columns, self._line, max_mib, cap)
        time_A, device_A, online_A = (np.array(each) for each in zip(*found, strict=True))
        first_A = first_rounds(time_A, tick)
        self.announced = float(time_A.min())
        order = np.lexsort((np.arange(len(time_A)), time_A, device_A))
        self.online_A = online_A[order]
        self.key_A = device_A[order] << 41 | first_A[order]

    def _line(self, time: str, device: str, online: str) -> tuple[float, int, bool]:
        seconds = seconds_of(time, "time")
        found = self._find(device)
        if found is None:
            raise ValueError(
                f"unknown device {device[:40]!r}; the devices are {self._valid(device)}"
            )
        if online.lower() not in TRUTH:
            raise ValueError(f"online {online[:40]!r} must be 1 or 0")
        return seconds, found, TRUTH[online.lower()]

    def online(self, round: int) -> Bools:
        device_N = np.arange(self.devices)
        at_N = np.searchsorted(self.key_A, device_N << 41 | round, side="right") - 1
        known = at_N >= np.searchsorted(self.key_A, device_N << 41)
        return np.where(known, self.online_A[at_N], self.before)


class PermanentFailure(Churn):
    """A random ``fraction`` of the devices fails for good at the time ``at`` (virtual seconds).

    With ``hub`` only the device with the most links in the first round fails; of several, the one
    with the lowest id.

    Raises ``ConfigError`` for a time below 0, and for a fraction outside [0, 1] or one that leaves
    no device.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        tick: float,
        degree_N: Ints,
        fraction: float = 0.1,
        at: float = 50.0,
        hub: bool = False,
    ) -> None:
        number("fraction", fraction, 0, 1)
        number("at", at, 0)
        order = Keys(seed, "network.crash").generator().permutation(devices)
        gone = np.array([int(degree_N.argmax())]) if hub else order[: round(fraction * devices)]
        if len(gone) == devices:
            key, value = ("hub", hub) if hub else ("fraction", fraction)
            raise ConfigError(key, value, f"must leave at least {of_the(devices, 'device', 'one')}")
        self.left = np.ones(devices, bool)
        self.left[gone] = False
        self.first, self.announced = math.ceil(lengths(at, tick)) + 1, at

    def online(self, round: int) -> Bools:
        return self.left.copy() if round >= self.first else np.ones(len(self.left), bool)

    def members(self, round: int) -> Bools:
        return self.online(round)


class LateJoin(Churn):
    """A random ``fraction`` of the devices joins late, each at a time drawn uniformly between
    ``start`` and ``end`` (virtual seconds). A device that joins has its initial parameters.

    Raises ``ConfigError`` for times below 0 or in the wrong order, and for a fraction that leaves
    no device at the start.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        tick: float,
        fraction: float = 0.5,
        start: float = 0.0,
        end: float = 50.0,
    ) -> None:
        number("fraction", fraction, 0, 1)
        number("start", start, 0)
        if not start <= end < math.inf:
            raise ConfigError("end", end, f"must be a finite time not before start={start:g}")
        late = (
            Keys(seed, "network.joining")
            .generator()
            .permutation(devices)[: round(fraction * devices)]
        )
        if len(late) == devices:
            raise ConfigError(
                "fraction",
                fraction,
                f"must leave at least {of_the(devices, 'device', 'one')} at the start",
            )
        time_N: Floats = np.zeros(devices)
        draw_M = Keys(seed, "network.joining").uniform(late, 0, 1)[:, 0]
        time_N[late] = start + (end - start) * draw_M
        self.first_N = first_rounds(time_N, tick)
        self.announced = float(time_N.max())

    def online(self, round: int) -> Bools:
        return np.asarray(self.first_N <= round)

    def members(self, round: int) -> Bools:
        return self.online(round)
