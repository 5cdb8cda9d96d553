"""Makes a data set of the arrays that a source has gathered, in the same three steps for every
source: check, split, scale.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.names import Names, listed
from swarm.common.rng import Keys
from swarm.data.dataset import Affine, Dataset, Floats, Ints
from swarm.data.largest_remainder import largest_remainder
from swarm.data.missing import filled
from swarm.data.scaling import Numbers, Scale, TargetScale, lost_columns, rescaled
from swarm.data.validation import UNNAMED, check_arrays, validate

# The largest deviation of a target: errors are reported squared, and may be a thousand times it.
_LARGEST_UNIT = 1e15


@dataclass(frozen=True)
class Samples:
    """What a source has read or drawn, before any check."""

    # [S, *features], or blocks [S, f] to be set side by side, each of its own type
    x: Numbers | Sequence[Numbers]
    y: npt.NDArray[np.generic]  # [S] labels, [S, L] labels of L positions, or [S, T] targets
    classes: int  # 0 for regression
    owner: Ints | None = None  # [S]
    time: Ints | None = None  # [S]
    concept: Ints | None = None  # [S]
    test: Ints | None = None  # ids of a test set that comes with the data; None: split one off
    validation: Ints | None = None
    columns: tuple[str, ...] = ()  # names of flat features, for messages
    # every feature is the same quantity (a grey level), so all are scaled alike
    one_scale: bool = False
    scaled: int | None = None  # how many leading blocks are scaled; None: all
    origin: tuple[str, object] = UNNAMED  # the key and value an error should name
    # the key and value that an error about a regression's targets should name
    target: tuple[str, object] = UNNAMED
    owner_names: Names | None = None  # of owners 0 … O-1
    class_names: Names | None = None  # of classes 0 … C-1
    fill_missing: bool = False  # whether NaN among the features becomes the training samples' mean

    @property
    def blocks(self) -> Sequence[Numbers]:
        """The features, block by block."""
        return (self.x,) if isinstance(self.x, np.ndarray) else self.x


def _check(samples: Samples) -> None:
    """Refuse, block by block, samples that nothing can learn from. The check comes before any cast,
    which could change the numbers; where missing values are to be filled in, it waits for that.
    """
    if samples.fill_missing:
        return
    first = 0
    for block in samples.blocks:
        width = math.prod(block.shape[1:])
        names = samples.columns[first : first + width]
        check_arrays(block, samples.y, samples.classes, samples.origin, names)
        first += width


def split(
    strata: npt.NDArray[np.generic] | None, rest: Ints, keys: Keys, test: float, validation: float
) -> tuple[Ints, Ints, Ints]:
    """Split the ids ``rest`` into ``(train, validation, test)``: disjoint, ascending, and a pure
    function of ``keys``.

    Test and validation have ``ceil(fraction · samples)`` samples. With ``strata`` (labels or
    owners, indexed by the ids) the split is stratified: each stratum gives its proportional share,
    rounded by largest remainder, and keeps at least one training sample. Where that is impossible
    (as many strata as samples) the strata are ignored.

    Raises ``ConfigError`` for fractions that leave nothing to train on.
    """
    _check_shares(test, validation)
    take = math.ceil(test * len(rest) - 1e-9), math.ceil(validation * len(rest) - 1e-9)
    if sum(take) >= len(rest):
        raise ConfigError(
            "test", test, f"{len(rest)} samples cannot be split into train, validation and test"
        )
    shuffled = rest[keys.generator().permutation(len(rest))]
    group = (
        np.zeros(len(rest), np.int64)
        if strata is None
        else np.unique(strata[shuffled], return_inverse=True)[1]
    )
    size_K = np.bincount(group)
    if sum(take) > int((size_K - 1).sum()):
        group = np.zeros(len(rest), np.int64)
        size_K = np.bincount(group)
    test_K = largest_remainder(size_K, take[0], high=size_K - 1)
    validation_K = largest_remainder(size_K, take[1], high=size_K - 1 - test_K)
    order = np.argsort(group, kind="stable")
    group = group[order]
    # each sample's position within its stratum
    place = np.arange(len(rest)) - (np.cumsum(size_K) - size_K)[group]
    part = (place < test_K[group]).astype(np.int64) * 2
    part[(part == 0) & (place < (test_K + validation_K)[group])] = 1
    train_ids, validation_ids, test_ids = (np.sort(shuffled[order[part == p]]) for p in range(3))
    return train_ids, validation_ids, test_ids


def _check_shares(test: float, validation: float) -> None:
    for name, fraction in (("test", test), ("validation", validation)):
        if not 0 <= fraction < 1:
            raise ConfigError(name, fraction, "must be a fraction from 0 up to, not including, 1")
    if test + validation >= 1:
        valid = (
            f"must be a fraction that, with data.validation={validation:g}, leaves something to"
            " train on"
        )
        raise ConfigError("test", test, valid)


def prepare(
    samples: Samples,
    seed: int,
    *,
    test: float = 0.2,
    validation: float = 0.1,
    scale: Scale = "none",
    target_scale: TargetScale = "none",
    limit: int | None = None,
) -> Dataset:
    """Check the samples, split off the sets that they lack, keep ``limit`` training samples (None:
    all), and scale the features.

    The split of a classification is stratified by label, and that of data with owners by owner, so
    that none loses all training samples. :func:`rescaled` says what ``scale`` and ``target_scale``
    do; :attr:`Dataset.scaling` and :attr:`Dataset.target` keep the result. Raises ``ConfigError``
    for samples that cannot be used, or that fractions or limit do not fit.
    """
    _check(samples)
    keys = Keys(seed, "split")
    labelled = bool(samples.classes) and samples.y.ndim == 1
    strata = samples.owner if samples.owner is not None else samples.y if labelled else None
    train_ids, validation_ids, test_ids = _sets(samples, strata, keys, test, validation)
    train_ids = _limited(train_ids, limit, strata, keys)
    if not len(train_ids):
        raise ConfigError(*samples.origin, "no train samples; at least one is needed")
    samples = _filled(samples, train_ids)
    _warn_of_lost(samples, train_ids, scale, target_scale)
    x, scaling = _floats(samples, train_ids, scale)
    y, target = _targets(samples, train_ids, target_scale)
    dataset = Dataset(
        x=on_cache_lines(x),
        y=y,
        classes=samples.classes,
        owner=samples.owner,
        train=train_ids,
        validation=validation_ids,
        test=test_ids,
        time=samples.time,
        concept=samples.concept,
        owner_names=samples.owner_names,
        class_names=samples.class_names,
        scaling=None if scale == "none" else scaling,
        target=target,
        columns=samples.columns,
    )
    validate(dataset, samples.origin, samples.columns)
    if labelled:
        _all_taught(dataset, samples, limit)
    return dataset


def _filled(samples: Samples, train: Ints) -> Samples:
    """The samples with missing features filled in, if they are to be, and then checked."""
    if not samples.fill_missing:
        return samples
    full = filled(samples.blocks, train, samples.origin, samples.columns)
    samples = replace(samples, x=full if len(full) > 1 else full[0], fill_missing=False)
    _check(samples)
    return samples


def _sets(
    samples: Samples,
    strata: npt.NDArray[np.generic] | None,
    keys: Keys,
    test: float,
    validation: float,
) -> tuple[Ints, Ints, Ints]:
    """Ids ``(train, validation, test)``: a set that comes with the data stays as it is, the others
    are split off the rest.
    """
    rest = np.ones(len(samples.y), dtype=np.bool_)
    for fixed in (samples.test, samples.validation):
        if fixed is not None:
            rest[fixed] = False
    cut = (
        0.0 if samples.test is not None else test,
        0.0 if samples.validation is not None else validation,
    )
    train_ids, validation_ids, test_ids = split(strata, np.flatnonzero(rest), keys, *cut)
    if samples.test is None and not len(test_ids):
        raise ConfigError(
            "test", test, "leaves no test samples; must be a fraction above 0 and below 1"
        )
    return (
        train_ids,
        validation_ids if samples.validation is None else np.sort(samples.validation),
        test_ids if samples.test is None else np.sort(samples.test),
    )


def _all_taught(dataset: Dataset, samples: Samples, limit: int | None) -> None:
    """Look for classes of the test set that no training sample has: a test set that comes with the
    data is refused then, and one that was split off is warned about.
    """
    seen_C, asked_C = (
        np.bincount(dataset.y[ids], minlength=dataset.classes)
        for ids in (dataset.train, dataset.test)
    )  # type: ignore[arg-type]
    never = np.flatnonzero((seen_C == 0) & (asked_C > 0))
    if not len(never):
        return
    names = [samples.class_names[c] if samples.class_names else str(c) for c in never]
    found = f"class {listed(names)} is among the test samples but in no training sample"
    if samples.test is not None:
        kept = "" if limit is None else f" of the data.limit={limit} that are kept"
        raise ConfigError(*samples.origin, f"{found}{kept}; every class needs some to learn from")
    warnings.warn(f"{found}: nobody can learn it", stacklevel=3)


def _empty(shape: tuple[int, ...]) -> Floats:
    """An uninitialised float32 array whose memory begins on a cache line."""
    size = math.prod(shape)
    memory = np.empty(4 * size + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    found: Floats = memory[begin : begin + 4 * size].view(np.float32).reshape(shape)
    return found


def on_cache_lines(x: Floats) -> Floats:
    """``x``, copied if need be to memory that begins on a cache line.

    NumPy's large arrays begin 16 bytes behind a cache line. Fetching a sample then touches one
    line more, which made a round of 100 small devices take up to a tenth longer.
    """
    if x.ctypes.data % 64 == 0:
        return x
    copy = _empty(x.shape)
    copy[...] = x
    return copy


def _limited(
    train: Ints, limit: int | None, strata: npt.NDArray[np.generic] | None, keys: Keys
) -> Ints:
    """``limit`` of the training samples (None: all), stratified as the sets are."""
    if limit is None:
        return train
    if not 1 <= limit <= len(train):
        raise ConfigError(
            "limit",
            limit,
            f"must be 1 to {len(train)}, the training samples there are, or null for all",
        )
    if limit == len(train):
        return train
    return split(strata, train, Keys(keys.seed, "limit"), 0.0, 1 - limit / len(train))[0]


def _floats(samples: Samples, train: Ints, scale: Scale) -> tuple[Floats, Affine]:
    """All features side by side as float32, each block scaled by its own statistics."""
    blocks = samples.blocks
    if len(blocks) == 1:
        of_all: Scale = "none" if samples.scaled == 0 else scale
        return rescaled(blocks[0], train, of_all, samples.one_scale, into=_empty(blocks[0].shape))
    ends = np.cumsum([0, *(block.shape[1] for block in blocks)])
    x = _empty((len(blocks[0]), int(ends[-1])))
    parts = []
    for number, block in enumerate(blocks):
        of_block: Scale = scale if samples.scaled is None or number < samples.scaled else "none"
        into = x[:, ends[number] : ends[number + 1]]
        parts.append(rescaled(block, train, of_block, samples.one_scale, into=into)[1])
    return x, Affine(
        np.concatenate([part.shift for part in parts]),
        np.concatenate([part.span for part in parts]),
    )


def _warn_of_lost(samples: Samples, train: Ints, scale: Scale, target_scale: TargetScale) -> None:
    """Warn of each column and target that is not scaled and loses digits in the cast to float32."""
    said = "what varies in it is lost, as float32 holds seven digits"
    if scale == "none" and not samples.one_scale:
        first = 0
        for block in samples.blocks:
            for column in lost_columns(block, train):
                place = first + column
                name = repr(samples.columns[place]) if samples.columns else str(place)
                hint = "data.scale=standard or unit keeps it"
                warnings.warn(
                    f"column {name} is large and varies little: {said}; {hint}", stacklevel=3
                )
            first += math.prod(block.shape[1:])
    if not samples.classes and target_scale == "none" and lost_columns(samples.y, train):
        hint = "data.target_scale=standard keeps it"
        warnings.warn(f"the target is large and varies little: {said}; {hint}", stacklevel=3)


def _targets(
    samples: Samples, train: Ints, target_scale: TargetScale
) -> tuple[Ints | Floats, Affine | None]:
    """The labels of a classification as they are, or the targets of a regression as float32 with
    their scaling (None if they were not scaled).
    """
    if samples.classes:
        return np.ascontiguousarray(samples.y, np.int64), None
    y, affine = rescaled(samples.y, train, target_scale, key="target_scale")
    if target_scale == "none":
        return y, None
    if affine.span.max() > _LARGEST_UNIT:
        found = f"the targets vary by {affine.span.max():.3g}, whose square cannot be reported"
        wanted = f"they must vary by at most {_LARGEST_UNIT:g}; give them in a larger unit"
        raise ConfigError(*samples.target, f"{found}; {wanted}")
    return y, affine


def latest(owner: Ints | None, time: Ints, test: float, validation: float) -> tuple[Ints, Ints]:
    """Ids ``(validation, test)`` of the latest samples: of each owner's n samples the last
    ``⌊test · n⌋`` are for test, and those just before them for validation.

    Samples of equal times keep their order. Raises ``ConfigError`` for fractions that leave nothing
    to train on.
    """
    _check_shares(test, validation)
    who = (
        np.zeros(len(time), np.int64) if owner is None else np.unique(owner, return_inverse=True)[1]
    )
    order = np.lexsort((time, who))
    size_O = np.bincount(who)
    # how many samples of the same owner come later
    behind = (np.cumsum(size_O)[who[order]] - 1) - np.arange(len(order))
    test_O, both_O = (
        np.floor(share * size_O + 1e-9).astype(np.int64)[who[order]]
        for share in (test, test + validation)
    )
    return order[(behind >= test_O) & (behind < both_O)], order[behind < test_O]
