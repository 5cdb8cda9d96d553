"""Scaling by statistics of the training samples, which is computed in float64 from the original
numbers and cast to float32 only then.

float32 holds seven digits. A column of northings around 5,812,345 m that vary by 0.3 m would lose
all its variation if it were cast first; after subtracting its mean it keeps every digit.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from swarm.common.arrays import CHUNK, chunks
from swarm.common.errors import ConfigError
from swarm.data.dataset import Affine, Floats, Ints, Reals

Scale = Literal["none", "standard", "unit"]
TargetScale = Literal["none", "standard"]
Numbers = npt.NDArray[np.generic]

_EXACT = 1 << 53  # float64 holds every whole number up to here
_ASIDE = 96  # bytes for each sample's label, owner and place in the splits
# If the cast to float32 errs by more than this share of a column's deviation, a warning says so.
_LOST = 0.01


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
    [0, 1]. Each column has statistics of its own, or with ``one_scale`` all share one. A column
    that has one value in all training rows is only shifted, as its deviation is zero. The result
    has the shape of ``x`` and is written into ``into`` if given; the ``Affine`` says how to undo
    the scaling.

    Raises ``ConfigError`` about ``key`` if ``scale`` is not *none*, *standard* or *unit*.
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
    # The deviation of numbers so small that their squares are zero would be zero.
    span = np.where(span > 0, span, high - low)
    constant = low == high
    shift, span = np.where(constant, low, shift), np.where(constant, 1.0, span)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite; refused later
        for rows in chunks(x):
            part = x[rows].astype(np.float64)
            part -= shift  # in place, as this is the largest array beside the samples themselves
            part /= span
            result[rows] = part
    return result, Affine(np.reshape(shift + base, -1), np.reshape(span, -1))


def while_scaled(read: int, samples: int, numbers: int) -> int:
    """The most bytes in memory while ``samples`` with ``numbers`` features in all, which were read
    into ``read`` bytes, are checked, split and scaled.

    The numbers become float32. Two arrays of :data:`CHUNK` numbers in float64 are there for a
    moment, and some whole numbers for each sample: its label, and its place in the splits."""
    return read + 4 * numbers + 2 * 8 * min(numbers, CHUNK) + _ASIDE * samples


def while_generated(samples: int, numbers: int, each: int = 4) -> int:
    """The most bytes in memory while ``samples`` with ``numbers`` features of ``each`` bytes are
    generated, block by block, and then prepared as by :func:`while_scaled`."""
    block = 5 * 8 * min(numbers, CHUNK)  # what is drawn for a block, and what is made of it
    return max(each * numbers + block, while_scaled(each * numbers, samples, numbers))


def lost_columns(x: Numbers, train: Ints) -> list[int]:
    """The flat columns of ``x`` whose variation over the training rows would be lost by a cast to
    float32 without scaling.
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
    """``x`` and what was subtracted from it: whole numbers that float64 cannot hold are reduced by
    their column's smallest, all other numbers stay as they are.
    """
    axis = None if one_scale else 0
    nothing = np.zeros(())
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or not len(x):
        return x, nothing
    low = x.min(axis=axis)
    if int(x.min()) >= -_EXACT and int(x.max()) <= _EXACT:
        return x, nothing
    # The differences are at most 2⁶⁴ − 1, so computing them modulo 2⁶⁴ is exact, whatever the sign.
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

    def about(of: Reals, rows: Ints) -> Reals:
        part = x[rows].astype(np.float64, copy=False)  # a copy already, as it is indexed by ids
        part -= of
        return part

    def total(of: Reals | None) -> Reals:
        parts = (x[rows] if of is None else about(of, rows) for rows in _train_chunks(x, train))
        return np.asarray(sum(part.sum(axis=axis, dtype=np.float64) for part in parts) / values)

    mean = total(None)
    if x.dtype.itemsize > 4:
        # A second pass: rounding in the sum of large numbers that vary little would shift the mean.
        mean = mean + total(mean)
    # The squares are taken about the mean, in another pass: a difference of large sums of squares
    # would lose a small variance.
    parts = (about(mean, rows) for rows in _train_chunks(x, train))
    square = sum(np.square(part, out=part).sum(axis=axis) for part in parts)
    return mean, np.asarray(np.sqrt(square / values))


def _train_chunks(x: Numbers, train: Ints) -> list[Ints]:
    rows = max(1, CHUNK // max(1, math.prod(x.shape[1:])))
    return [train[start : start + rows] for start in range(0, len(train), rows)]
