"""Clocks: when devices wake to learn and send. In between they only listen.

This is asynchronous gossip (Boyd, Ghosh, Prabhakar & Shah, *Randomized gossip algorithms*, IEEE
Trans. Inf. Theory 2006).
"""

from __future__ import annotations

import math

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.communication.network.base import Bools, Clock, Floats

MOST = 0.2  # wakings a tick: with more, a device would often wake twice in one tick


class Poisson(Clock):
    """Every device wakes at the times of a Poisson process of ``rate`` wakings a virtual second,
    and so in a tick with probability 1 − e^{−rate·tick}. A second waking in the same tick is lost,
    which happens to a fraction of about rate·tick/2 of the wakings.

    Raises ``ConfigError`` for a rate that is not above 0, and for more than 0.2 wakings a tick.
    """

    def __init__(self, devices: int, seed: int, tick: float, rate: float = 0.1) -> None:
        number("rate", rate, 0, open_low=True)
        if rate * tick > MOST * (1 + 1e-9):
            raise ConfigError(
                "rate",
                rate,
                f"would often wake a device twice in a tick of {tick:g} virtual seconds; "
                f"network.round_seconds={_below(MOST / rate):g} would do",
            )
        self.share = -math.expm1(-rate * tick)
        self.devices, self.keys = devices, Keys(seed, "network.clock")

    def wakes(self, round: int) -> Bools:
        return np.asarray(self.keys.uniform(np.arange(self.devices), round, 1)[:, 0] < self.share)


class _EachPeriod(Clock):
    """Each device wakes every ``period_N`` seconds, for the first time at a random time within its
    first period.
    """

    def __init__(self, devices: int, seed: int, tick: float, period_N: Floats) -> None:
        self.tick, self.period_N = tick, period_N
        self.phase_N = Keys(seed, "network.clock").uniform(np.arange(devices), 0, 1)[:, 0]
        self.share = float((tick / period_N).mean())

    def wakes(self, round: int) -> Bools:
        before, after = (
            np.floor(r * self.tick / self.period_N + self.phase_N) for r in (round - 1, round)
        )
        return np.asarray(after > before)


class Periodic(_EachPeriod):
    """Every device wakes once in ``period`` virtual seconds, each at a phase of its own that is
    drawn from the seed.

    Raises ``ConfigError`` for a period shorter than a tick.
    """

    def __init__(self, devices: int, seed: int, tick: float, period: float = 10.0) -> None:
        number("period", period, 0, open_low=True)
        if period < tick:
            raise ConfigError(
                "period",
                period,
                f"must be at least the tick of {tick:g} virtual seconds; "
                f"network.round_seconds={_below(period):g} would do",
            )
        super().__init__(devices, seed, tick, np.full(devices, period))


class Speed(_EachPeriod):
    """A device wakes as often as its hardware allows: its period is the time that a round of local
    steps takes on it by the fleet, divided by ``load``, the fraction of its time that it learns.

    Raises ``ConfigError`` without a fleet, for a load outside (0, 1], and for a device whose period
    would be shorter than a tick.
    """

    by_speed = True

    def __init__(
        self, devices: int, seed: int, tick: float, compute_N: Floats | None, load: float = 1.0
    ) -> None:
        if not 0 < load <= 1:
            raise ConfigError("load", load, "must be above 0 and at most 1")
        if compute_N is None:
            raise ConfigError(
                "/clock",
                "speed",
                "needs a fleet, which gives the devices' speed, such as fleet=terminals, and a"
                " network.round_seconds that is no longer than their local steps of a round",
            )
        fastest = float(compute_N.min()) / load
        if fastest < tick:
            valid = (
                f"the fastest device needs {fastest:.3g} virtual seconds for a round of local"
                " steps, less than a tick"
            )
            raise ConfigError(
                "/network.round_seconds",
                tick,
                f"{valid}; network.round_seconds={_below(fastest):g} "
                f"or clock.load={_below(min(load, load * fastest / tick)):g} would do",
            )
        super().__init__(devices, seed, tick, compute_N / load)


def _below(value: float) -> float:
    """The largest number of two significant digits that is not above ``value``."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.floor(value / unit * (1 + 1e-9)) * unit
