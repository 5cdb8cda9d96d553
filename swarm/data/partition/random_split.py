"""What the rules have in common: devices drawn at random, for samples or for the samples of each
class.
"""

from __future__ import annotations

import numpy as np

from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, Ints


def even(samples: int, devices: int, keys: Keys) -> Ints:
    """The device of each of so many samples: a random deal in which sizes differ by at most one."""
    return shuffled(np.arange(samples) * devices // samples, keys)


def shuffled(device_S: Ints, keys: Keys) -> Ints:
    """The same devices as often, for samples drawn without regard to anything."""
    mixed_S = np.empty_like(device_S)
    mixed_S[keys.generator(0).permutation(len(device_S))] = device_S
    return mixed_S


def by_class(label_S: Ints, count_CN: Ints, keys: Keys) -> DeviceSplit:
    """Samples of each class drawn at random, ``count_CN[c, i]`` of class c for device i."""
    mixed = keys.generator(0).permutation(len(label_S))
    sorted_S = mixed[np.argsort(label_S[mixed], kind="stable")]
    classes, devices = count_CN.shape
    device_S = np.empty(len(label_S), np.int64)
    device_S[sorted_S] = np.repeat(np.tile(np.arange(devices), classes), count_CN.reshape(-1))
    return DeviceSplit.group(device_S, devices)
