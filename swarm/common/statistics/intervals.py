"""Confidence intervals over seeds.

The interval is Student's: mean ± t(0.975, n − 1)·s/√n over n seeds (Student 1908). The interval of
a difference is that of the paired differences: two settings under one seed share data, initial
parameters and network, so that their common variation cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean and the ends of its 95% confidence interval; the ends of fewer than two values are
    NaN.
    """

    mean: float
    low: float
    high: float

    def above(self, threshold: float) -> bool | None:
        """Whether the whole interval lies above ``threshold`` (True) or below it (False); None if
        the interval contains ``threshold`` or has no ends.
        """
        if self.low > threshold:
            return True
        return False if self.high < threshold else None

    def below(self, threshold: float) -> bool | None:
        """Whether the whole interval lies below ``threshold`` (True) or above it (False); None if
        the interval contains ``threshold`` or has no ends.
        """
        found = self.above(threshold)
        return None if found is None else not found

    def text(self, digits: int = 3, times: float = 1.0, unit: str = "") -> str:
        """Write the interval as ``0.950 [0.941, 0.959]``.

        Numbers are multiplied by ``times`` and rounded to ``digits`` digits, and the mean is
        followed by ``unit``: shares are shown as percentages by ``times=100, unit="%"``.
        """
        mean, low, high = (f"{times * value:z.{digits}f}" for value in self)  # z: no -0.0
        return (
            f"{mean}{unit} [{low}, {high}]"
            if math.isfinite(self.low)
            else f"{mean}{unit} (no interval)"
        )


def interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Return the mean of the finite ``values`` ``[n]`` and the ends of its interval, which covers
    the mean of all seeds with the probability ``level``."""
    x_N = np.asarray(values, dtype=np.float64)
    x_N = x_N[np.isfinite(x_N)]
    if not len(x_N):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(x_N.mean())
    if len(x_N) < 2:
        return Interval(mean, math.nan, math.nan)
    # scipy's sem, without its 0.2 ms of checks: a large sweep has an interval for each number
    error = np.std(x_N, ddof=1) / np.sqrt(len(x_N))
    half = float(_quantile(level, len(x_N) - 1) * error)
    return Interval(mean, mean - half, mean + half)


@cache
def _quantile(level: float, freedom: int) -> np.float64:
    """The end of the interval of Student's t that has the probability ``level``."""
    return np.float64(stats.t.ppf((1 + level) / 2, freedom))


class Bound(NamedTuple):
    """An interval and the limits that a rule holds it against: the mean has to lie above one limit,
    below the other, or between both.
    """

    value: Interval
    above: float = -math.inf
    below: float = math.inf

    @property
    def holds(self) -> bool | None:
        """Whether the whole interval lies within the limits (True) or beyond one of them (False);
        None if it contains one or has no ends."""
        if self.value.low > self.above and self.value.high < self.below:
            return True
        return False if self.value.high < self.above or self.value.low > self.below else None

    @property
    def likely(self) -> bool:
        """Whether the mean lies within the limits, whatever the interval says."""
        return self.above < self.value.mean < self.below

    def seeds(self, now: int, level: float = LEVEL) -> float:
        """How many seeds leave an interval without a limit in it, if the mean and the standard
        deviation s of the ``now`` seeds that it was made from stay as they are: the least n with
        t((1 + level)/2, n − 1)·s/√n < the distance from the mean to the nearest limit. It is
        infinite where the mean lies on a limit, and NaN where there is no interval.
        """
        mean, half = self.value.mean, self.value.high - self.value.mean
        near = min(abs(mean - limit) for limit in (self.above, self.below))
        if not math.isfinite(half) or now < 2:
            return math.nan
        if not half:
            return float(now) if near else math.inf
        if near < 1e-3 * half:  # would take a million times as many
            return math.inf
        s = half * math.sqrt(now) / stats.t.ppf((1 + level) / 2, now - 1)
        n = max(2, math.ceil((stats.norm.ppf((1 + level) / 2) * s / near) ** 2))
        while stats.t.ppf((1 + level) / 2, n - 1) * s / math.sqrt(n) >= near:
            n += max(1, n // 1000)
        return float(n)


def geometric(ratios: ArrayLike, level: float = LEVEL) -> Interval:
    """Return the geometric mean of the finite ``ratios`` ``[n]``, which are above 0, and the ends
    of the interval of their logarithms: that of a ratio is then that of its inverse, inverted."""
    return Interval(*(math.exp(end) for end in interval(np.log(ratios), level)))


def holds_if_all(parts: Iterable[bool | None]) -> bool | None:
    """Whether a hypothesis of several parts holds: True if all do, False if one does not, otherwise
    None, as where there is no part."""
    found = list(parts)
    if False in found:
        return False
    return True if found and all(found) else None


def bonferroni(many: int, level: float = LEVEL) -> float:
    """Return the level of each of ``many`` intervals that hold their means all at once with a
    probability of at least ``level``: 1 − (1 − level)/many (Dunn, J. Am. Stat. Assoc. 1961)."""
    return 1 - (1 - level) / many


@dataclass(frozen=True)
class Cases:
    """The ``values`` of a quantity by seed, each ``[n]``, in K cases by name; its mean has to lie
    ``above`` a threshold in every one of them."""

    values: Mapping[str, ArrayLike]
    above: float

    def holds(self, level: float = LEVEL) -> bool | None:
        """Whether the mean lies above the threshold in every case.

        True if it does with the interval of ``level`` in each, for which no correction is needed
        (Berger, Technometrics 1982). False if it is below with the interval of
        :func:`bonferroni` in one of them, as one of several is easily below by chance. Otherwise
        None.
        """
        if all(interval(each, level).above(self.above) for each in self.values.values()):
            return True
        return False if any(bound.holds is False for bound in self.bounds.values()) else None

    @property
    def bounds(self) -> dict[str, Bound]:
        """The bound of each case by the interval of :func:`bonferroni`, by which it refutes."""
        level = bonferroni(len(self.values))
        each = {case: interval(values, level) for case, values in self.values.items()}
        return {case: Bound(found, above=self.above) for case, found in each.items()}

    @property
    def worst(self) -> tuple[str, Interval]:
        """The case with the smallest mean, and that mean with its 95% interval."""
        each = ((case, interval(values)) for case, values in self.values.items())
        return min(each, key=lambda one: one[1].mean)
