"""Passing rates of tasks, and how they rise with the size of a model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


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
