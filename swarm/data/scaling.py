"""Scaling by training statistics: computed in float64 from the numbers as they came, and only then
cast to float32.

float32 holds seven digits. A column of northings around 5,812,345 m that vary by 0.3 m loses all
that varies if it is cast first; less its mean it keeps every digit.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.data.dataset import CHUNK, Affine, Floats, Ints, Reals, chunks

Scale = Literal["none", "standard", "unit"]
TargetScale = Literal["none", "standard"]
Numbers = npt.NDArray[np.generic]

_EXACT = 1 << 53  # float64 holds every whole number up to here
_LOST = 0.01  # of a column's deviation: a larger error of the cast to float32 is worth a word


def rescaled(
    x: Numbers,
    train: Ints,
    scale: Scale,
    one_scale: bool = False,
    key: str = "scale",
    into: Floats | None = None,
) -> tuple[Floats, Affine]:
    """``x`` as float32, shifted and divided by statistics of the training rows, chunk by chunk.

    *standard* subtracts the mean and divides by the standard deviation, *unit* maps the range to
    [0, 1]; per column, or alike for all (``one_scale``). A column that has one value in all
    training rows is only shifted: there is nothing to divide by. The result is written into
    ``into`` if given.

    Raises ``ConfigError`` about ``key`` for another ``scale``.
    """
    if scale not in ("none", "standard", "unit"):
        raise ConfigError(key, scale, "must be none, standard or unit")
    result = np.empty(x.shape, np.float32) if into is None else into
    columns = (1,) if one_scale else x.shape[1:]
    if scale == "none":
        result[...] = x
        return result, Affine(np.zeros(columns).reshape(-1), np.ones(columns).reshape(-1))
    x, base = _small(x, one_scale)
    low, high = _range(x, train, one_scale)
    shift, span = (low, high - low) if scale == "unit" else _moments(x, train, one_scale)
    span = np.where(span > 0, span, high - low)  # of numbers so small that their squares are zero
    constant = low == high
    shift, span = np.where(constant, low, shift), np.where(constant, 1.0, span)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is refused later
        for rows in chunks(x):
            result[rows] = (x[rows].astype(np.float64) - shift) / span
    return result, Affine(np.reshape(shift + base, -1), np.reshape(span, -1))


def lost_columns(x: Numbers, train: Ints) -> list[int]:
    """The (flat) columns of which a cast to float32 as they are would lose what varies in the
    training rows.
    """
    if x.dtype.kind == "b" or x.dtype.itemsize < (8 if x.dtype.kind == "f" else 4):
        return []
    low, high = (value.reshape(-1) for value in _range(x, train, one_scale=False))
    if max(np.abs(low).max(), np.abs(high).max()) < 1 << 24 and x.dtype.kind != "f":
        return []
    error = np.zeros(len(low))
    for rows in _train_chunks(x, train):
        values = x[rows].astype(np.float64)
        error = np.maximum(
            error, np.abs(values - values.astype(np.float32)).max(axis=0).reshape(-1)
        )
    deviation = _moments(x, train, one_scale=False)[1].reshape(-1)
    return [int(i) for i in np.flatnonzero((low < high) & (error > _LOST * deviation))]


def _small(x: Numbers, one_scale: bool) -> tuple[Numbers, Reals]:
    """Whole numbers that float64 cannot hold, less each column's least one; and what was taken
    away.
    """
    axis = None if one_scale else 0
    nothing = np.zeros(())
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or not len(x):
        return x, nothing
    low = x.min(axis=axis)
    if int(x.min()) >= -_EXACT and int(x.max()) <= _EXACT:
        return x, nothing
    # differences of at most 2⁶⁴ − 1, whatever the sign: modulo 2⁶⁴ they are right
    return x.astype(np.uint64) - np.asarray(low).astype(np.uint64), np.asarray(low, np.float64)


def _range(x: Numbers, train: Ints, one_scale: bool) -> tuple[Reals, Reals]:
    axis = None if one_scale else 0
    low = high = np.zeros(())
    for number, rows in enumerate(_train_chunks(x, train)):
        least, most = x[rows].min(axis=axis), x[rows].max(axis=axis)
        low, high = (np.minimum(low, least), np.maximum(high, most)) if number else (least, most)
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


def _moments(x: Numbers, train: Ints, one_scale: bool) -> tuple[Reals, Reals]:
    axis = None if one_scale else 0
    values = len(train) * (math.prod(x.shape[1:]) if one_scale else 1)

    def total(of: Reals | None) -> Reals:
        parts = (
            x[rows] if of is None else x[rows].astype(np.float64) - of
            for rows in _train_chunks(x, train)
        )
        return np.asarray(sum(part.sum(axis=axis, dtype=np.float64) for part in parts) / values)

    mean = total(None)
    if x.dtype.itemsize > 4:
        # rounding in a sum of n large numbers would move the mean of narrow ones
        mean = mean + total(mean)
    # about the mean, in a second pass: a difference of large sums of squares would lose a small
    # variance
    square = sum(
        np.square(x[rows].astype(np.float64) - mean).sum(axis=axis)
        for rows in _train_chunks(x, train)
    )
    return mean, np.asarray(np.sqrt(square / values))


def _train_chunks(x: Numbers, train: Ints) -> list[Ints]:
    rows = max(1, CHUNK // max(1, math.prod(x.shape[1:])))
    return [train[start : start + rows] for start in range(0, len(train), rows)]
