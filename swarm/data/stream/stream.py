"""The order in which a device meets its samples: a pure function of its own step count.

So there is no iterator, and no position that a checkpoint would have to keep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swarm.common.rng import Keys, shuffled
from swarm.data.dataset import DeviceSplit, Ints


@dataclass(frozen=True)
class DrawnSamples:
    """The ids of the samples that B devices meet in their next K steps, ``[B, K, b]``, and whether
    each is met for the first time, ``[B, K, b]``.

    ``there_BKb`` says which places hold a sample, where mini-batches have a random size; None: all.
    """

    sample_BKb: Ints
    first_BKb: npt.NDArray[np.bool_]
    there_BKb: npt.NDArray[np.bool_] | None = None


class Stream:
    """Each device goes through its own samples in mini-batches of ``batch``, in a new order each
    time around.

    Position ``p = step · batch + j`` of device *i* with ``n_i`` samples is entry ``p mod n_i`` of
    the permutation keyed by (seed, i, ⌊p / n_i⌋), so a batch may straddle two passes and is always
    full. If the split is ordered, every pass has the split's order.

    ``batch_N`` gives each device mini-batches of its own size. Those of devices that are drawn
    together have as many places as the largest of them; the places beyond a device's own size
    repeat its last sample, and :meth:`weight` counts them as nothing.
    """

    alone = False
    """Whether the mini-batches of each block are drawn by themselves, as their shape depends on
    what is drawn together."""
    random = False
    """Whether mini-batches have a random size."""
    rate_N: npt.NDArray[np.float64] | None = None
    """The probability with which each sample of a device takes part in a step, ``[N]``, of a stream
    that draws samples so, by themselves; else None."""

    def __init__(
        self, holdings: DeviceSplit, batch: int, keys: Keys, batch_N: Ints | None = None
    ) -> None:
        self.sample, self.ptr_N1 = holdings.sample, holdings.ptr_N1
        self.sizes_N = np.diff(holdings.ptr_N1)
        self.batch, self.keys, self.ordered = batch, keys, holdings.ordered
        self.batch_N = batch_N
        if batch_N is not None:
            self.batch, self.alone = int(batch_N.max()), True
        self._pooled_from, self._place = holdings.pooled_from, holdings.place

    def draw(self, devices_B: Ints, steps_B: Ints, count: int) -> DrawnSamples:
        """The samples of steps ``steps_B … steps_B + count − 1`` of each device."""
        batch = self._places(devices_B)
        if self.batch_N is None:
            position = steps_B[:, None] * batch + np.arange(count * batch)
        else:
            own_B11, place_b = self.batch_N[devices_B][:, None, None], np.arange(batch)
            step_BK1 = steps_B[:, None, None] + np.arange(count)[:, None]
            position = (step_BK1 * own_B11 + np.minimum(place_b, own_B11 - 1)).reshape(
                len(devices_B), count * batch
            )
        size = self.sizes_N[devices_B][:, None]
        epoch, offset = np.divmod(position, size)
        entry = (
            offset if self.ordered else shuffled(offset, size, self.keys, devices_B[:, None], epoch)
        )
        shape = (len(devices_B), count, batch)
        first_BKb = (epoch == 0).reshape(shape)
        if self.batch_N is not None:
            first_BKb &= (np.arange(batch) < self.batch_N[devices_B][:, None])[:, None]
        return DrawnSamples(
            self.sample[self.ptr_N1[devices_B][:, None] + entry].reshape(shape), first_BKb
        )

    @property
    def mean_batch_N(self) -> Ints | npt.NDArray[np.float64] | None:
        """The mean size of each device's mini-batches, ``[N]``; None: ``train.batch`` for all."""
        return self.batch_N

    def weight(self, devices_B: Ints) -> npt.NDArray[np.float64] | None:
        """How much each place of a mini-batch counts in the mean, ``[B, b]``; None: all alike."""
        if self.batch_N is None:
            return None
        own_B1 = self.batch_N[devices_B][:, None]
        return np.asarray((np.arange(self._places(devices_B)) < own_B1) / own_B1)

    def _places(self, devices_B: Ints) -> int:
        """The number of places of a mini-batch of devices that are drawn together."""
        return self.batch if self.batch_N is None else int(self.batch_N[devices_B].max())

    def there(self, devices_B: Ints, samples: Ints) -> Ints:
        """The number of full mini-batches of each device's stream that have arrived by the time a
        device could have met ``samples`` samples: ``[B]``.

        A pooled stream has only the mini-batches that its devices would have met by then; some of
        the devices may have none left.
        """
        whole_B = self.sizes_N[devices_B] // self.batch
        if self._place is None:
            return whole_B
        come = np.searchsorted(self._place, samples // self._pooled_from)
        return np.asarray(np.minimum(whole_B, come // self.batch))

    def steps_of_epochs(self, epochs: float | npt.NDArray[np.float64]) -> Ints:
        """The number of steps that take each device ``epochs`` times through its samples, rounded
        up, at least one: ``[N]``.
        """
        batch = self.batch if self.batch_N is None else self.batch_N
        return np.maximum(1, np.ceil(epochs * self.sizes_N / batch)).astype(np.int64)
