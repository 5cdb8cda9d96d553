"""Devices differ in how common each class is among their samples."""

from __future__ import annotations

import heapq

import numpy as np

from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, Ints
from swarm.data.partition.base import Labels, Partition
from swarm.data.partition.random_split import by_class


class Dirichlet(Partition):
    """Label skew: the samples of each class c are shared out in proportions ``p_c ~ Dirichlet(alpha
    · 1_N)``.

    With a small ``alpha`` each class sits on few devices; with a large one every device has every
    class, as in iid. This is the usual form (Yurochkin et al., arXiv 1905.12022; Li et al., arXiv
    2102.02079) of the skew of Hsu, Qi, Brown (arXiv 1909.06335), whose devices all have equally
    many samples; here sizes vary too. Proportions are rounded by systematic sampling: device i has
    an expected ``p_ci · n_c`` samples and gets that number rounded up or down.

    A draw that leaves a device below ``min_samples`` is thrown away. After ``tries`` such draws the
    last one is repaired: samples move from the devices with the most, out of their commonest class.
    With many devices this is the rule, as hardly any draw gives all of them enough.
    """

    def __init__(
        self, devices: int, alpha: float = 0.3, min_samples: int = 2, tries: int = 10
    ) -> None:
        super().__init__(devices)
        number("alpha", alpha, 1e-4, 1e6)
        number("min_samples", min_samples, 1)
        number("tries", tries, 1, 1000)
        self.alpha, self.min_samples, self.tries = alpha, min_samples, tries

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        label_S, classes = self.labels(y_S, owner_S)
        self.need(len(label_S), self.min_samples)
        size_C = np.bincount(label_S, minlength=classes)
        for attempt in range(self.tries):
            count_CN = self._draw(size_C, keys.generator(1, attempt))
            if int(count_CN.sum(axis=0).min()) >= self.min_samples:
                break
        else:
            _repair(count_CN, self.min_samples)
        return by_class(label_S, count_CN, keys)

    def _draw(self, size_C: Ints, draw: np.random.Generator) -> Ints:
        count_CN = np.empty((len(size_C), self.devices), np.int64)
        for c, size in enumerate(size_C):
            # in a random order: else the same devices would be neighbours in every class's rounding
            order = draw.permutation(self.devices)
            edge = np.minimum(np.cumsum(draw.dirichlet(np.full(self.devices, self.alpha))), 1.0)
            edge[-1] = 1.0
            count_CN[c, order] = np.diff(
                np.floor(edge * size + draw.random()).astype(np.int64), prepend=0
            )
        return count_CN


def _repair(count_CN: Ints, least: int) -> None:
    """Raise every device to ``least`` samples, in place; each move takes from the commonest class
    of the device that is largest then.

    The loop is over the devices in need only. Of equally large devices the lower id gives; a giver
    never falls below ``least``.
    """
    size_N = count_CN.sum(axis=0)
    needy = np.flatnonzero(size_N < least)
    richest = [(-int(size_N[i]), int(i)) for i in np.flatnonzero(size_N > least)]
    heapq.heapify(richest)
    for device in needy:
        missing = least - int(size_N[device])
        while missing:
            size, giver = heapq.heappop(richest)
            commonest = int(np.argmax(count_CN[:, giver]))
            moved = min(missing, int(count_CN[commonest, giver]), -size - least)
            count_CN[commonest, giver] -= moved
            count_CN[commonest, device] += moved
            missing -= moved
            if -size - moved > least:
                heapq.heappush(richest, (size + moved, giver))
