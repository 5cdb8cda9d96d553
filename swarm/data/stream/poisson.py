"""Poisson sampling: every sample of a device takes part in a step by itself, with the same
probability.

It is the sampling for which the accounting of DP-SGD holds (Abadi et al., *Deep learning with
differential privacy*, CCS 2016, arXiv 1607.00133). Mini-batches have a random size.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, counted
from swarm.common.rng import Keys
from swarm.data.dataset import DeviceSplit, Ints
from swarm.data.stream.stream import DrawnSamples, Stream

PLACES = 4  # the number of places of a mini-batch is a multiple of this, so that few shapes occur


class PoissonStream(Stream):
    """In each step, device *i* learns from each of its n_i samples with probability q_i.

    Where ``rate`` is None, q_i = batch_i / n_i, so that a mini-batch has ``batch_i`` samples on
    average. Mini-batches that are drawn together have as many places as the largest of them;
    ``there_BKb`` says which places hold a sample. No sample counts as met for the first time.

    Attributes:
        rate_N: The probabilities q_i.
        mean_N: The mean size of a mini-batch, q_i · n_i.
    """

    alone = random = True
    rate_N: npt.NDArray[np.float64]

    def __init__(
        self,
        holdings: DeviceSplit,
        batch: int,
        keys: Keys,
        batch_N: Ints | None = None,
        rate: float | None = None,
    ) -> None:
        super().__init__(holdings, batch, keys, batch_N)
        wanted_N = np.full(len(self.sizes_N), batch) if batch_N is None else batch_N
        if rate is None and (wanted_N > self.sizes_N).any():
            device = int((self.sizes_N - wanted_N).argmin())
            size = int(self.sizes_N[device])
            valid = (
                f"is more than the {counted(size, 'sample')} of device {device}, each of"
                " which would take part"
                f" in a step with a probability above 1; at most {size} would do, another"
                " partition, or a privacy.rate"
            )
            raise ConfigError("train.batch", int(wanted_N[device]), valid)
        self.rate_N = np.full(len(self.sizes_N), rate) if rate else wanted_N / self.sizes_N
        self.mean_N = self.rate_N * self.sizes_N
        self._one_rate = rate is not None
        largest_N = self.mean_N + 6 * np.sqrt(self.mean_N * (1 - self.rate_N)) + PLACES
        # what memory is counted by: a larger mini-batch hardly ever occurs
        self.batch = int(largest_N.max())

    @property
    def mean_batch_N(self) -> Ints | npt.NDArray[np.float64] | None:
        """See :attr:`Stream.mean_batch_N`: q_i · n_i where a rate is given."""
        return self.mean_N if self._one_rate else self.batch_N

    def draw(self, devices_B: Ints, steps_B: Ints, count: int) -> DrawnSamples:
        """The samples of steps ``steps_B … steps_B + count − 1`` of each device.

        The gaps between the samples that take part are drawn, not each sample: they are geometric,
        ⌊ln u / ln(1 − q)⌋ for a uniform u.
        """
        size_B11, rate_B11 = (
            each[devices_B][:, None, None] for each in (self.sizes_N, self.rate_N)
        )
        step_BK = steps_B[:, None] + np.arange(count)
        with np.errstate(divide="ignore"):  # of a rate of 1, whose gaps are 0
            scale_B11 = 1 / np.log1p(-rate_B11)
        mean_B, places = self.mean_N[devices_B], PLACES
        if len(devices_B):
            places += int((mean_B + 4 * np.sqrt(mean_B)).max())
        while True:
            u_BKb = self.keys.uniform(devices_B[:, None], step_BK, places)
            gap_BKb = np.minimum(np.log(u_BKb) * scale_B11, size_B11).astype(np.int64)
            place_BKb = np.cumsum(gap_BKb + 1, 2) - 1
            if (place_BKb[:, :, -1:] >= size_B11).all():
                break
            places *= 2
        there_BKb = place_BKb < size_B11
        most = int(there_BKb.sum(2).max(initial=1))
        most = min(-(-most // PLACES) * PLACES, places)
        there_BKb, place_BKb = there_BKb[:, :, :most], place_BKb[:, :, :most]
        entry_BKb = np.where(there_BKb, place_BKb, 0)
        sample_BKb = self.sample[self.ptr_N1[devices_B][:, None, None] + entry_BKb]
        return DrawnSamples(sample_BKb, np.zeros(sample_BKb.shape, bool), there_BKb)

    def weight(self, devices_B: Ints) -> npt.NDArray[np.float64]:
        """How much a sample counts in a step, ``[B, 1]``: 1 over the mean size of a mini-batch."""
        return 1 / self.mean_N[devices_B][:, None]

    def there(self, devices_B: Ints, samples: Ints) -> NoReturn:
        """Samples that come one after the other are not drawn by Poisson sampling."""
        raise NotImplementedError

    def steps_of_epochs(self, epochs: float | npt.NDArray[np.float64]) -> Ints:
        """The number of steps in which each device learns ``epochs`` times from a sample on
        average, rounded up, at least one: ``[N]``."""
        return np.maximum(1, np.ceil(epochs / self.rate_N)).astype(np.int64)
