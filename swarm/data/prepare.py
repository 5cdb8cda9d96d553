"""From the arrays a source has gathered to a data set: check, split, scale. The same three steps for every source."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from swarm.data.apportion import apportion
from swarm.data.dataset import CHUNK, Dataset, Floats, Ints, check_arrays, chunks, validate
from swarm.errors import ConfigError
from swarm.rng import Keys

Scale = Literal["none", "standard", "unit"]
Statistic = npt.NDArray[np.float64]  # one number, or one per feature


@dataclass(frozen=True)
class Samples:
    """What a source has read or drawn, before any check."""

    x: npt.NDArray[np.generic]  # [S, *features]
    y: npt.NDArray[np.generic]  # [S] labels, [S, L] labels of L positions, or [S, T] targets
    classes: int  # 0 for regression
    owner: Ints | None = None  # [S]
    time: Ints | None = None  # [S]
    concept: Ints | None = None  # [S]
    test: Ints | None = None  # ids of a test set that comes with the data; None: split one off
    validation: Ints | None = None
    columns: tuple[str, ...] = ()  # names of flat features, for messages
    one_scale: bool = False  # every feature is the same quantity (a grey level), so all are scaled alike
    scaled: int | None = None  # so many leading features are scaled; None: all
    origin: tuple[str, object] = ("/data", "samples")  # the key and value an error should name


def split(
    strata: npt.NDArray[np.generic] | None, rest: Ints, keys: Keys, test: float, validation: float
) -> tuple[Ints, Ints, Ints]:
    """Ids ``(train, validation, test)`` out of ``rest``, disjoint, ascending, a pure function of ``keys``.

    The parts have ``ceil(fraction · samples)`` samples. Stratified: with ``strata`` (labels, or owners; indexed by the
    ids), each stratum gives its proportional share, rounded by largest remainder, and keeps at least one training
    sample. Where that is impossible (as many strata as samples) the draw is plain.
    """
    _check_shares(test, validation)
    take = math.ceil(test * len(rest) - 1e-9), math.ceil(validation * len(rest) - 1e-9)
    if sum(take) >= len(rest):
        raise ConfigError("test", test, f"{len(rest)} samples cannot be split into train, validation and test")
    shuffled = rest[keys.generator().permutation(len(rest))]
    group = np.zeros(len(rest), np.int64) if strata is None else np.unique(strata[shuffled], return_inverse=True)[1]
    size_K = np.bincount(group)
    if sum(take) > int((size_K - 1).sum()):
        group = np.zeros(len(rest), np.int64)
        size_K = np.bincount(group)
    test_K = apportion(size_K, take[0], high=size_K - 1)
    validation_K = apportion(size_K, take[1], high=size_K - 1 - test_K)
    order = np.argsort(group, kind="stable")
    group = group[order]
    place = np.arange(len(rest)) - (np.cumsum(size_K) - size_K)[group]  # position within its stratum
    part = (place < test_K[group]).astype(np.int64) * 2
    part[(part == 0) & (place < (test_K + validation_K)[group])] = 1
    train_ids, validation_ids, test_ids = (np.sort(shuffled[order[part == p]]) for p in range(3))
    return train_ids, validation_ids, test_ids


def _check_shares(test: float, validation: float) -> None:
    for name, fraction in (("test", test), ("validation", validation)):
        if not 0 <= fraction < 1:
            raise ConfigError(name, fraction, "must be a fraction from 0 up to, not including, 1")
    if test + validation >= 1:
        valid = f"must be a fraction that, with data.validation={validation:g}, leaves something to train on"
        raise ConfigError("test", test, valid)


def prepare(
    samples: Samples,
    seed: int,
    *,
    test: float = 0.2,
    validation: float = 0.1,
    scale: Scale = "none",
    limit: int | None = None,
) -> Dataset:
    """Check the samples, split what is not split yet, keep ``limit`` training samples (None: all), scale the features.

    Classification is stratified by label; data with owners are split within each owner instead, so that nobody loses
    all of their training samples. ``scale``: *standard* subtracts the mean and divides by the standard deviation,
    *unit* maps the range to [0, 1]; the statistics come from the training samples only, per column, or one for all
    grey levels.
    """
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which the check then names
        x = np.ascontiguousarray(samples.x, dtype=np.float32)
    check_arrays(x, samples.y, samples.classes, samples.origin, samples.columns)
    keys = Keys(seed, "split")
    labelled = bool(samples.classes) and samples.y.ndim == 1
    strata = samples.owner if samples.owner is not None else samples.y if labelled else None
    rest = np.ones(len(samples.x), dtype=np.bool_)
    for fixed in (samples.test, samples.validation):
        if fixed is not None:
            rest[fixed] = False
    cut = 0.0 if samples.test is not None else test, 0.0 if samples.validation is not None else validation
    train_ids, validation_ids, test_ids = split(strata, np.flatnonzero(rest), keys, *cut)
    if samples.test is None and not len(test_ids):
        raise ConfigError("test", test, "leaves no test samples; must be a fraction above 0 and below 1")
    if limit is not None:
        train_ids = _limited(train_ids, limit, strata, keys)
    dataset = Dataset(
        x=on_cache_lines(_scaled(x, train_ids, scale, samples)),
        y=samples.y.astype(np.int64) if samples.classes else samples.y.astype(np.float32),
        classes=samples.classes,
        owner=samples.owner,
        train=train_ids,
        validation=validation_ids if samples.validation is None else np.sort(samples.validation),
        test=test_ids if samples.test is None else np.sort(samples.test),
        time=samples.time,
        concept=samples.concept,
    )
    validate(dataset, samples.origin, samples.columns)
    if labelled:
        _all_taught(dataset, samples, limit)
    return dataset


def _all_taught(dataset: Dataset, samples: Samples, limit: int | None) -> None:
    """Refuse a test set that comes with the data, and warn of one split off, if nothing could learn one of its classes."""
    seen_C, asked_C = (np.bincount(dataset.y[ids], minlength=dataset.classes) for ids in (dataset.train, dataset.test))  # type: ignore[arg-type]
    never = np.flatnonzero((seen_C == 0) & (asked_C > 0))
    if not len(never):
        return
    found = f"class {', '.join(map(str, never[:10]))} is among the test samples but in no training sample"
    if samples.test is not None:
        kept = "" if limit is None else f" of the data.limit={limit} that are kept"
        raise ConfigError(*samples.origin, f"{found}{kept}; every class needs some to learn from")
    warnings.warn(f"{found}: nobody can learn it", stacklevel=3)


def on_cache_lines(x: Floats) -> Floats:
    """``x``, copied if need be to memory that begins on a cache line.

    NumPy's large arrays begin 16 bytes behind one: fetching a sample then touches a line more, which made a round of 100
    small devices up to a tenth longer.
    """
    if x.ctypes.data % 64 == 0:
        return x
    memory = np.empty(x.nbytes + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    copy: Floats = memory[begin : begin + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def _limited(train: Ints, limit: int, strata: npt.NDArray[np.generic] | None, keys: Keys) -> Ints:
    if not 1 <= limit <= len(train):
        raise ConfigError("limit", limit, f"must be 1 to {len(train)}, the training samples there are, or null for all")
    if limit == len(train):
        return train
    return split(strata, train, Keys(keys.seed, "limit"), 0.0, 1 - limit / len(train))[0]


def _scaled(x: Floats, train: Ints, scale: Scale, samples: Samples) -> Floats:
    if samples.scaled is None:
        return rescale(x, train, scale, samples.one_scale)
    leading = np.ascontiguousarray(x[:, : samples.scaled])
    return np.concatenate([rescale(leading, train, scale, samples.one_scale), x[:, samples.scaled :]], axis=1)


def latest(owner: Ints | None, time: Ints, test: float, validation: float) -> tuple[Ints, Ints]:
    """Ids ``(validation, test)``: of each owner's n samples the last ``⌊test · n⌋``, and those just before them.

    Equal times stay in the order in which they stand.
    """
    _check_shares(test, validation)
    who = np.zeros(len(time), np.int64) if owner is None else np.unique(owner, return_inverse=True)[1]
    order = np.lexsort((time, who))
    size_O = np.bincount(who)
    behind = (np.cumsum(size_O)[who[order]] - 1) - np.arange(len(order))  # how many of the owner's come after
    test_O, both_O = (
        np.floor(share * size_O + 1e-9).astype(np.int64)[who[order]] for share in (test, test + validation)
    )
    return order[(behind >= test_O) & (behind < both_O)], order[behind < test_O]


def rescale(x: Floats, train: Ints, scale: Scale, one_scale: bool) -> Floats:
    """``x`` shifted and divided by training statistics, in float64 and chunk by chunk; a new array unless *none*.

    A column that never varies in the training samples is only shifted: there is nothing to divide by.
    """
    if scale == "none":
        return x
    if scale not in ("standard", "unit"):
        raise ConfigError("scale", scale, "must be none, standard or unit")
    shift, span = _range(x, train, one_scale) if scale == "unit" else _moments(x, train, one_scale)
    span = np.where(span > 1e-7 * np.abs(shift), span, 1.0)  # below float32's resolution: a constant
    result = np.empty_like(x)
    for rows in chunks(x):
        result[rows] = (x[rows].astype(np.float64) - shift) / span
    return result


def _range(x: Floats, train: Ints, one_scale: bool) -> tuple[Statistic, Statistic]:
    axis = None if one_scale else 0
    low, high = x[train[0]].min(axis=axis if one_scale else ()), x[train[0]].max(axis=axis if one_scale else ())
    for rows in _train_chunks(x, train):
        low, high = np.minimum(low, x[rows].min(axis=axis)), np.maximum(high, x[rows].max(axis=axis))
    return np.asarray(low, np.float64), np.asarray(high, np.float64) - np.asarray(low, np.float64)


def _moments(x: Floats, train: Ints, one_scale: bool) -> tuple[Statistic, Statistic]:
    axis = None if one_scale else 0
    values = len(train) * (math.prod(x.shape[1:]) if one_scale else 1)
    mean = sum(x[rows].sum(axis=axis, dtype=np.float64) for rows in _train_chunks(x, train)) / values
    # about the mean, in a second pass: a difference of large sums of squares would lose a small variance
    square = sum(np.square(x[rows].astype(np.float64) - mean).sum(axis=axis) for rows in _train_chunks(x, train))
    return mean, np.sqrt(square / values)


def _train_chunks(x: Floats, train: Ints) -> list[Ints]:
    rows = max(1, CHUNK // max(1, math.prod(x.shape[1:])))
    return [train[start : start + rows] for start in range(0, len(train), rows)]
