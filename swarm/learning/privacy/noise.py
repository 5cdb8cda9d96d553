"""The least noise with which a plan of releases spends no more than a target ε."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.learning.privacy.accountant import Accountant
from swarm.learning.privacy.mechanism import LEAST_NOISE, MOST_NOISE, SampleLevel

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DIGITS = 1000  # noise multipliers are found to three decimals


@dataclass(frozen=True)
class Plan:
    """What N devices are going to release: for each phase, one of its rounds and how often each
    device releases something in all of its rounds, ``[N]``."""

    phases: tuple[tuple[int, Ints], ...]

    @classmethod
    def of(cls, accountant: Accountant, rounds: Iterable[tuple[int, Ints]]) -> Plan:
        """The plan of ``rounds``: the number of each, and the steps of each device in it,
        ``[N]``."""
        found: dict[int, tuple[int, Ints]] = {}
        for round, steps_N in rounds:
            made_N = accountant.made(steps_N)
            first, before_N = found.get(accountant.phase(round), (round, np.zeros_like(made_N)))
            found[accountant.phase(round)] = first, before_N + made_N
        return cls(tuple(found.values()))

    def releases_N(self, accountant: Accountant) -> Ints:
        """What devices release in all rounds, as ``accountant`` counts it, ``[N]``."""
        devices = len(accountant.rate_N)
        parts = (count_N * accountant.price_N(round) for round, count_N in self.phases)
        return np.asarray(sum(parts, np.zeros(devices, np.int64)))


@dataclass(frozen=True)
class LeastNoise:
    """The least noise multiplier that keeps a target, and the device that needs so much.

    Attributes:
        noise_multiplier: σ, a number of three decimals.
        device: The device that spends most with it.
        releases: What that device releases according to the plan.
        epsilon: What it spends.
        target: What it may spend.
    """

    noise_multiplier: float
    device: int
    releases: int
    epsilon: float
    target: float


def least_noise(accountant: Accountant, plan: Plan, epsilon: float, counted_N: Bools) -> LeastNoise:
    """The least noise multiplier, rounded up to three decimals, with which none of the devices
    ``counted_N`` spends more than ``epsilon`` in ``plan``.

    Which device needs the most noise follows from its rate and its number of releases together. So
    the noise is found for one device, and then for whichever needs more, until none does: what one
    rate spends takes long to compute, and there may be one for each device.

    Raises :class:`ConfigError` where the largest noise multiplier that can be counted is too small,
    and where nothing is released.
    """

    def spent_N(thousandths: int, of_N: Bools) -> Floats:
        trial = accountant.with_noise(thousandths / DIGITS)
        return trial.epsilon_N(np.where(of_N, plan.releases_N(trial), 0))

    releases_N = np.where(counted_N, plan.releases_N(accountant), 0)
    if not releases_N.any():
        valid = "must be a number where no device learns, so that none spends anything"
        raise ConfigError("noise_multiplier", "auto", valid)
    device = int((accountant.rate_N * np.sqrt(releases_N)).argmax())  # the first guess
    found, high, spent = round(DIGITS * LEAST_NOISE) - 1, round(DIGITS * MOST_NOISE), np.inf
    while spent > epsilon:
        alone_N = np.arange(len(releases_N)) == device
        if (most := spent_N(high, alone_N)[device]) > epsilon:
            valid = f"cannot be kept with a noise_multiplier of at most {MOST_NOISE:g}, with which"
            raise ConfigError("epsilon", epsilon, f"{valid} {most:.3g} would be spent")

        def fits(thousandths: int, alone_N: Bools = alone_N) -> bool:
            return bool(spent_N(thousandths, alone_N).max() <= epsilon)

        found = _least(fits, found, high)
        each_N = spent_N(found, counted_N)
        device, spent = int(each_N.argmax()), float(each_N.max())
    sigma = found / DIGITS
    releases = int(plan.releases_N(accountant.with_noise(sigma))[device])
    return LeastNoise(sigma, device, releases, spent, epsilon)


def _least(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The least whole number above ``low`` that ``fits``; ``high`` does, and so does every number
    above one that does. Steps away from ``low`` grow, and then a bisection follows."""
    step = DIGITS // 2
    while low + step < high:
        if fits(low + step):
            high = low + step
            break
        low, step = low + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def noise_for(epsilon: float, delta: float, rate: float, releases: int) -> float:
    """The least noise multiplier, rounded up to three decimals, with which ``releases`` samples
    with this ``rate`` spend at most ``epsilon``.

    Raises :class:`ConfigError` where none is in the range of the accountant.
    """
    alone = Accountant(SampleLevel(1.0, 1.0, delta), np.array([rate]))
    plan = Plan(((1, np.array([releases], np.int64)),))
    return least_noise(alone, plan, epsilon, np.ones(1, bool)).noise_multiplier
