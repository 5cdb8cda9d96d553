"""Random assignments that several partitions share: over all samples, or class by class."""

from __future__ import annotations

import numpy as np

from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, Ints


def even(samples: int, devices: int, keys: Keys) -> Ints:
    """The device of each sample, ``[samples]``, at random; device sizes differ by at most one."""
    return shuffled(np.arange(samples) * devices // samples, keys)


def shuffled(device_S: Ints, keys: Keys) -> Ints:
    """The entries of ``device_S`` in random order: each device keeps its number of samples."""
    mixed_S = np.empty_like(device_S)
    mixed_S[keys.generator(0).permutation(len(device_S))] = device_S
    return mixed_S


def by_class(label_S: Ints, count_CN: Ints, keys: Keys) -> DeviceSplit:
    """The split in which device i has ``count_CN[c, i]`` random samples of class c."""
    mixed = keys.generator(0).permutation(len(label_S))
    sorted_S = mixed[np.argsort(label_S[mixed], kind="stable")]
    classes, devices = count_CN.shape
    device_S = np.empty(len(label_S), np.int64)
    device_S[sorted_S] = np.repeat(np.tile(np.arange(devices), classes), count_CN.reshape(-1))
    return DeviceSplit.group(device_S, devices)
