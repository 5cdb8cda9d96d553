"""Where a curve that was measured at some places is at a level."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def falls_to(x: ArrayLike, y: ArrayLike, level: float) -> float:
    """Return the place at which K points ``y`` at the ascending places ``x``, both ``[K]``, are at
    ``level`` or below for the first time.

    It lies on the line between the first such point and the one before, and is the first place
    where that point is the first of all. It is NaN where no point is so low.
    """
    x_K, y_K = np.asarray(x, np.float64), np.asarray(y, np.float64)
    low = np.flatnonzero(y_K <= level)
    if not len(low):
        return math.nan
    two = slice(max(low[0] - 1, 0), low[0] + 1)
    return float(np.interp(-level, -y_K[two], x_K[two]))  # which wants values that ascend
