"""The laws that are fitted to a quantity that grows or falls with size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from swarm.common.statistics.intervals import Interval, interval

Floats = NDArray[np.float64]


class PowerLaw(NamedTuple):
    """``y = a·n^−b + c``."""

    a: float
    b: float
    c: float

    def at(self, n: ArrayLike) -> Floats:
        """Return the law's values at the sizes ``n``, an array of the same shape."""
        return self.a * np.asarray(n, np.float64) ** -self.b + self.c

    def size(self, y: ArrayLike) -> Floats:
        """Return the sizes at which the law has the values ``y``, an array of the same shape: the
        inverse of :meth:`at`. It is NaN where no size has the value, which is at ``c`` and below,
        and everywhere for a law that does not fall (``b`` of 0 or less)."""
        above = np.asarray(y, np.float64) - self.c
        found = np.full(above.shape, np.nan)
        has = above > 0 if self.b > 0 and self.a > 0 else np.zeros(above.shape, bool)
        found[has] = (above[has] / self.a) ** (-1 / self.b)
        return found


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


def growth_law(n: ArrayLike, y_SK: Floats) -> str | None:
    """Return which of :data:`LAWS` has the least :func:`growth_aicc`, mean over S seeds, for sizes
    ``n`` ``[K]`` and values ``y_SK``; None where there is no seed."""
    if not len(y_SK):
        return None
    each = [list(growth_aicc(n, y_K).values()) for y_K in y_SK]
    return LAWS[int(np.argmin(np.mean(each, axis=0)))]


def slope(x: ArrayLike, y_SK: Floats) -> Interval:
    """Return the slope of the line through K points by least squares, mean over S seeds with its
    95% interval: ``x`` ``[K]`` is the same for all seeds, and ``y_SK`` has a row for each.

    Of logarithms it is an exponent: of n in ``y = a·n^b``, say.
    """
    return interval([np.polyfit(np.asarray(x, np.float64), y_K, 1)[0] for y_K in y_SK])
