"""Training samples that are set aside before the run, in three sets: on some of a device's own
samples its local accuracy is measured, and on others a protocol measures models; public samples are
shared by all devices, which see them without their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys, shuffled
from swarm.data.dataset import Dataset, DeviceSplit

KEY = "local_test"
VALIDATION = "local_validation"
PUBLIC = "public"
_NOTHING: dict[str, tuple[object, ...]] = {KEY: ("auto", 0), VALIDATION: (0,), PUBLIC: (0,)}
AT_ONCE = 1 << 18  # samples drawn in one vectorised call


def asked(section: Mapping[str, Any]) -> tuple[float | Literal["auto"], dict[str, Any]]:
    """What ``data.local_test`` is, and the section ``data`` without the keys of this file, whose
    other keys are the source's. Configurations of earlier versions do not have the key, and hold
    out nothing.

    Raises ``ConfigError`` for a value that is neither ``auto`` nor a fraction.
    """
    share = section.get(KEY, 0.0)
    if share != "auto" and not _is_fraction(share):
        valid = "must be auto or a fraction from 0 up to, not including, 1"
        raise ConfigError(f"data.{KEY}", share, valid)
    return share, {key: value for key, value in section.items() if key not in _NOTHING}


def validation_asked(section: Mapping[str, Any]) -> float:
    """What ``data.local_validation`` is; configurations of earlier versions hold out nothing.

    Raises ``ConfigError`` for a value that is not a fraction.
    """
    share = section.get(VALIDATION, 0.0)
    if not _is_fraction(share):
        valid = "must be a fraction from 0 up to, not including, 1"
        raise ConfigError(f"data.{VALIDATION}", share, valid)
    return float(share)


def public_asked(section: Mapping[str, Any]) -> float:
    """What ``data.public`` is, a fraction or a number of samples; configurations of earlier
    versions share none.

    Raises ``ConfigError`` for a value that is neither.
    """
    share: Any = section.get(PUBLIC, 0)
    count = isinstance(share, int) and not isinstance(share, bool) and share >= 0
    if not count and not _is_fraction(share):
        valid = "must be a fraction from 0 up to, not including, 1, or a whole number of samples"
        raise ConfigError(f"data.{PUBLIC}", share, valid)
    found: float = share
    return found


def shared(data: Dataset, share: float, keys: Keys) -> Dataset:
    """The data set without ``share`` of its training samples, a fraction or a number, which become
    the public ones. A fraction of n samples is ⌈share · n⌉ of them. Which ones are taken follows
    from ``keys`` and n alone: no label is looked at, also not to take as many of each class.

    Raises ``ConfigError`` if no training sample would be left.
    """
    n = len(data.train)
    taken = share if isinstance(share, int) else math.ceil(share * n - 1e-9)
    if taken >= n:
        valid = f"must leave a sample to learn from, of the {n} training samples that there are"
        raise ConfigError(f"data.{PUBLIC}", share, valid)
    public = np.sort(data.train[keys.generator().permutation(n)[:taken]])
    train = np.setdiff1d(data.train, public)
    if data.public is not None:  # the source has brought some
        public = np.union1d(data.public, public)
    return replace(data, train=train, public=public)


def _is_fraction(share: object) -> bool:
    number = isinstance(share, int | float) and not isinstance(share, bool)
    return number and 0 <= share < 1  # type: ignore[operator]


def learnt_from(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``data`` without the keys of this file that take nothing from what devices learn;
    earlier versions did not have them."""
    return {k: v for k, v in section.items() if v not in _NOTHING.get(k, ())}


def of_owners(data: Dataset, split: DeviceSplit) -> DeviceSplit:
    """The same split, where each device's own held-out samples are the test samples of its owner;
    unchanged unless each device holds the samples of one owner that no other device has.

    Data that drift are left alone: their test samples are copied for each concept, and a device
    lives in one or some of these.
    """
    owner_N = None if data.concept is not None else split.owners(data)
    if owner_N is None:
        return split
    assert data.owner is not None  # as owners() has found some
    device_O = np.full(int(data.owner.max()) + 1, -1)
    device_O[owner_N] = np.arange(split.devices)
    found = DeviceSplit.group(device_O[data.owner[data.test]], split.devices)
    if not len(found.sample):
        return split
    return replace(split, local_test=replace(found, sample=data.test[found.sample]))


def taken_out(
    data: Dataset, split: DeviceSplit, share: float, keys: Keys, key: str = KEY
) -> tuple[Dataset, DeviceSplit]:
    """The data set and the split without ``share`` of each device's training samples, which become
    the device's own held-out samples: those of ``DeviceSplit.local_test``, or of the attribute that
    ``key`` names.

    Of n samples, ⌈share · n⌉ are taken, but at most n − 1. Which ones are taken follows from
    ``keys``, the device and n alone. The others keep their order. Raises ``ConfigError`` if every
    device has one sample only.
    """
    device_S, sizes_N = split.device_S, split.sizes_N
    held_N = np.minimum(np.ceil(share * sizes_N - 1e-9).astype(np.int64), sizes_N - 1).clip(0)
    if not held_N.any():
        valid = "takes nothing out: each device has one training sample, and keeps it to learn from"
        raise ConfigError(f"data.{key}", share, valid)
    taken_S = np.empty(len(device_S), bool)
    for start in range(0, len(device_S), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        device_s = device_S[part]
        place_s = np.arange(start, start + len(device_s)) - split.ptr_N1[device_s]
        lands_s = shuffled(place_s, sizes_N[device_s], keys, device_s, 0)
        taken_S[part] = lands_s < held_N[device_s]
    held, kept = (
        replace(split, sample=split.sample[of_S], ptr_N1=np.concatenate([[0], np.cumsum(size_N)]))
        for of_S, size_N in ((taken_S, held_N), (~taken_S, sizes_N - held_N))
    )
    train = np.setdiff1d(data.train, held.sample)
    own = DeviceSplit(held.sample, held.ptr_N1)
    if key == VALIDATION:
        return replace(data, train=train), replace(kept, local_validation=own)
    return replace(data, train=train), replace(kept, local_test=own)
