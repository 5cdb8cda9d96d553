"""Confidence intervals over seeds, and the laws that are fitted to a quantity that grows with size.

The interval is Student's: mean ± t(0.975, n − 1)·s/√n over n seeds (Student 1908). The interval of
a difference is that of the paired differences: two settings under one seed share data, initial
parameters and network, so that their common variation cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
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
    half = float(stats.t.ppf((1 + level) / 2, len(x_N) - 1) * stats.sem(x_N))
    return Interval(mean, mean - half, mean + half)


class PowerLaw(NamedTuple):
    """``y = a·n^−b + c``."""

    a: float
    b: float
    c: float

    def at(self, n: ArrayLike) -> Floats:
        """Return the law's values at the sizes ``n``, an array of the same shape."""
        return self.a * np.asarray(n, np.float64) ** -self.b + self.c


def power_law(n: ArrayLike, y: ArrayLike, floor: bool = True) -> PowerLaw:
    """Fit ``y = a·n^−b + c`` to sizes ``n`` and values ``y``, both ``[K]``, by least squares of
    log ``y``.

    The parameters are bounded: ``a > 0``, ``−3 ≤ b ≤ 3``, and ``0 ≤ c < min y`` or, without
    ``floor``, ``c = 0``. As the error can have several local minima, the best fit of several
    starting points is returned.

    Raises ``ValueError`` for fewer than three different sizes, and for values that are not finite
    and above 0.
    """
    n_K, y_K = np.asarray(n, np.float64), np.asarray(y, np.float64)
    if (
        len(n_K) != len(y_K)
        or len(set(n_K.tolist())) < 3
        or not (y_K > 0).all()
        or not np.isfinite(y_K).all()
    ):
        raise ValueError("a power law needs three sizes or more, and finite values above 0")
    least = float(y_K.min())
    # a is fitted as the value at the middle size: far from it, a and b are hardly told apart
    middle = math.exp(float(np.log(n_K).mean()))

    def off(parameters: Floats) -> Floats:
        scale, b, share = parameters
        return np.asarray(
            np.log(np.exp(scale) * (n_K / middle) ** -b + share * least) - np.log(y_K)
        )

    most = 0.999 if floor else 1e-12
    starts = [
        (math.log(y_K.mean()), b, share * most)
        for b in (-0.5, 0.2, 0.5, 1.0)
        for share in (0.0, 0.5, 0.9)
    ]
    bounds = ([-60.0, -3.0, 0.0], [60.0, 3.0, most])
    found = [optimize.least_squares(off, start, bounds=bounds) for start in starts]
    scale, b, share = min(found, key=lambda each: float(each.cost)).x
    return PowerLaw(float(np.exp(scale) * middle**b), float(b), float(share * least))


class Growth(NamedTuple):
    """How a quantity y grows with n: the slope q of ``y = p + q·ln n``, the exponent q of ``y =
    p·n^q``, and the mean squared error of log y that each of the two fits leaves.
    """

    log_slope: float
    exponent: float
    log_error: float
    power_error: float


def growth(n: ArrayLike, y: ArrayLike) -> Growth:
    """Fit a logarithm and a power to sizes ``n`` and values ``y``, both ``[K]``.

    Both fits minimise the squared error of log y, since the error of a duration is proportional to
    it.

    Raises ``ValueError`` for fewer than three points, and for values that are not finite and above
    0.
    """
    n_K, y_K = np.asarray(n, np.float64), np.asarray(y, np.float64)
    if len(n_K) < 3 or len(n_K) != len(y_K) or not (y_K > 0).all() or not np.isfinite(y_K).all():
        raise ValueError("needs three points or more, finite and above 0")
    logs_K, goal_K = np.log(n_K), np.log(y_K)
    exponent, scale = np.polyfit(logs_K, goal_K, 1)
    # a logarithm can be zero or negative, which has no log: this stands for it, and fits badly
    least = 1e-6 * float(y_K.min())

    def off(parameters: Floats) -> Floats:
        start, slope = parameters
        return np.asarray(np.log(np.maximum(start + slope * logs_K, least)) - goal_K)

    slope, start = np.polyfit(logs_K, y_K, 1)
    starts = [
        (start, slope),
        (float(y_K.mean()), 0.0),
        (float(y_K[0]), (y_K[-1] - y_K[0]) / np.ptp(logs_K)),
    ]
    found = min(
        (optimize.least_squares(off, each) for each in starts), key=lambda each: float(each.cost)
    )
    power_error = float(np.square(scale + exponent * logs_K - goal_K).mean())
    return Growth(
        float(found.x[1]), float(exponent), 2.0 * float(found.cost) / len(n_K), power_error
    )


def aic_difference(fits: Sequence[Growth], points: int) -> float:
    """Return Akaike's criterion of the logarithm minus that of the power (Akaike 1974).

    ``fits`` holds one fit for each seed, each to ``points`` points. Both models have equally many
    parameters and one error variance, so the difference is m·ln(Σ log_error / Σ power_error) with
    m = points · len(fits). Above 0 the power is the better fit; NaN means that nothing was fitted.
    """
    log, power = sum(fit.log_error for fit in fits), sum(fit.power_error for fit in fits)
    return points * len(fits) * math.log(log / power) if log > 0 and power > 0 else math.nan


LAWS = ("linear", "power", "exponential")
"""The laws that :func:`growth_aicc` compares."""


def growth_aicc(n: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """Return the corrected Akaike criterion of y = a·n, y = a·n^b and y = a·e^(bn), in this order,
    for sizes ``n`` and values ``y``, both ``[K]``; the least is best.

    Each law is fitted by least squares of log ``y``. With m parameters, the error variance among
    them, it is K·ln(RSS / K) + 2m + 2m(m + 1) / (K − m − 1) (Hurvich & Tsai, Biometrika 1989).

    Raises ``ValueError`` for fewer than five points, and for values that are not finite and above
    0.
    """
    n_K, y_K = np.asarray(n, np.float64), np.asarray(y, np.float64)
    if len(n_K) < 5 or len(n_K) != len(y_K) or not (y_K > 0).all() or not np.isfinite(y_K).all():
        raise ValueError("needs five points or more, finite and above 0")
    logs_K, goal_K, points = np.log(n_K), np.log(y_K), len(n_K)
    off = {
        "linear": goal_K - logs_K - (goal_K - logs_K).mean(),
        "power": goal_K - np.polyval(np.polyfit(logs_K, goal_K, 1), logs_K),
        "exponential": goal_K - np.polyval(np.polyfit(n_K, goal_K, 1), n_K),
    }
    found = {}
    for law, parameters in zip(LAWS, (2, 3, 3), strict=True):
        # where a law fits exactly, what is left is rounding, in which laws must not be compared
        error = max(float(np.square(off[law]).mean()), 1e-20)
        correction = 2 * parameters * (parameters + 1) / (points - parameters - 1)
        found[law] = points * math.log(error) + 2 * parameters + correction
    return found


def passing_rate(passes: ArrayLike, attempts: ArrayLike, until: int) -> Floats:
    """Return the unbiased estimate of a passing rate after ``attempts`` that were made until
    ``until`` ≥ 2 of them had passed, or until there were a certain number of them, of which
    ``passes`` had passed; any shape, the same for both.

    It is (r − 1)/(K − 1) for K attempts of which the last was the r-th to pass, r = ``until``, and
    r/K where the attempts ended before. Both are the share of the ways to come to this end that
    begin with a pass, which is the unbiased estimate of any such plan (Girshick, Mosteller &
    Savage, Ann. Math. Stat. 1946; the first is PassUntil's, arXiv 2310.03262, whose r/K is too
    large on average).
    """
    r, k = np.asarray(passes, np.float64), np.asarray(attempts, np.float64)
    full = (r >= until).astype(np.float64)
    return np.asarray((r - full) / (k - full))


class PassingLaw(NamedTuple):
    """How a passing rate rises with size: ``exp(−c·n^−α)`` (arXiv 2310.03262)."""

    c: float
    alpha: float

    def at(self, n: ArrayLike) -> Floats:
        """Return the law's passing rates at the sizes ``n``, an array of the same shape."""
        return np.exp(-self.c * np.asarray(n, np.float64) ** -self.alpha)


def passing_law(n: ArrayLike, rate: ArrayLike) -> PassingLaw:
    """Fit ``exp(−c·n^−α)`` to sizes ``n`` and passing rates ``rate``, both ``[K]``: a straight line
    of log(−log rate) in log n, by least squares.

    Raises ``ValueError`` for fewer than two different sizes, and for rates that are not between 0
    and 1.
    """
    n_K, rate_K = np.asarray(n, np.float64), np.asarray(rate, np.float64)
    if (
        len(n_K) != len(rate_K)
        or len(set(n_K.tolist())) < 2
        or not ((rate_K > 0) & (rate_K < 1)).all()
    ):
        raise ValueError("a passing law needs two sizes or more, and rates between 0 and 1")
    slope, start = np.polyfit(np.log(n_K), np.log(-np.log(rate_K)), 1)
    return PassingLaw(float(np.exp(start)), float(-slope))
