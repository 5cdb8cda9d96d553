"""Replay memories: a device keeps a bounded number of samples of its stream and learns from them
again later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.plugin import returned, shape_of
from swarm.common.rng import Keys
from swarm.config.aliases.old_members import OldMembers

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Memory(OldMembers):
    """The replay memories of n devices, as rows.

    The simulation keeps ids of samples, where real devices would keep the samples.
    """

    kept_nM: Ints  # sample ids; −1 is an empty place, and empty places come last
    offered_nC: Ints  # how many samples of each class were offered so far
    largest_nC: Ints  # 1 if this class was ever among the largest of a full memory, else 0

    @classmethod
    def empty(cls, devices: int, size: int, classes: int) -> Memory:
        """Return empty memories of ``size`` places for devices that have met no sample yet."""
        nothing = np.zeros((devices, classes), np.int64)
        return cls(np.full((devices, size), -1), nothing, nothing)

    def drawn(self, rows: Ints, uniform_nk: Reals) -> Ints:
        """Draw k kept samples of each of the n devices ``rows``, by uniform numbers in (0, 1).

        The result ``[n, k]`` holds sample ids, −1 where a device keeps nothing.
        """
        kept_nM = self.kept_nM[rows]
        place_nk = (uniform_nk * (kept_nM >= 0).sum(1)[:, None]).astype(np.int64)
        return np.take_along_axis(kept_nM, place_nk, axis=1)


@dataclass(frozen=True)
class Candidates:
    """Samples that are offered to the memories of n devices, one after the other.

    Attributes:
        label_nk: The labels of the k samples offered to each device; −1 stands for no sample.
        label_nM: The labels of the samples that are kept; −1 stands for an empty place.
        draw_nk2: Two uniform random numbers in (0, 1) for each sample.
    """

    label_nk: Ints
    label_nM: Ints
    draw_nk2: Reals

    def before(self, memory: Memory) -> Ints:
        """Return how many samples were offered to a device before each of these, ``[n, k]``."""
        there = self.label_nk >= 0
        return np.asarray(memory.offered_nC.sum(1)[:, None] + np.cumsum(there, axis=1) - there)


class Replay(ABC):
    """A rule for a replay memory of ``size`` samples a device.

    With update=online or frozen, ``ratio`` remembered samples are added to a mini-batch for each
    new one; update=nightly draws all samples of its steps from the memory. Raises
    :class:`ConfigError` unless ``size`` ≥ 1 and 0 ≤ ``ratio`` ≤ 100.
    """

    def __init__(self, size: int, ratio: float = 1.0) -> None:
        if size < 1:
            raise ConfigError(
                "size", size, "must be a number of samples ≥ 1; replay=none keeps nothing"
            )
        if not 0 <= ratio <= 100:
            raise ConfigError(
                "ratio",
                ratio,
                "must be a number of remembered samples for each new one, from 0 to 100",
            )
        self.size, self.ratio = size, ratio

    def drawn(self, new: int) -> int:
        """Return how many remembered samples are added to ``new`` new ones."""
        return round(self.ratio * new) if self.size else 0

    by_class = False
    """Whether the rule depends on the samples' classes, so that the data must have class labels."""

    @abstractmethod
    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        """Return the place of each offered sample, ``[n, k]``, and ``largest_nC`` after that.

        A place is a number from 0 to ``size`` − 1, or −1 for a sample that is not kept. Of two
        samples with the same place the later one is kept.
        """

    def _placed(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        """Call :meth:`places`; raises :class:`ConfigError` if the result is not what it says."""
        found = self.places(memory, offer)
        needed = (
            f"(places {list(offer.label_nk.shape)} of −1 to {self.size - 1}, largest_nC"
            f" {list(memory.largest_nC.shape)})"
        )
        if not isinstance(found, tuple) or len(found) != 2:
            raise returned(
                "replay", self, "places", f"returns {shape_of(found)}", f"{needed} are needed"
            )
        place_nk, largest_nC = (np.asarray(each) for each in found)
        good = (
            place_nk.shape == offer.label_nk.shape and largest_nC.shape == memory.largest_nC.shape
        )
        if (
            not good
            or place_nk.dtype.kind not in "iu"
            or (place_nk < -1).any()
            or (place_nk >= self.size).any()
        ):
            raise returned(
                "replay",
                self,
                "places",
                f"returns {shape_of(place_nk)} and {shape_of(largest_nC)}",
                f"{needed} are needed",
            )
        return found

    def take(
        self, memory: Memory, sample_nk: Ints, label_S: Ints, keys: Keys, device_n: Ints
    ) -> Memory:
        """Return the memories after the samples ``sample_nk`` were offered to n devices.

        Args:
            memory: The memories before.
            sample_nk: Sample ids, −1 for no sample.
            label_S: The label of every sample of the data.
            keys: The random draws of the memories.
            device_n: The ids of the devices.
        """
        label_nk = np.where(sample_nk < 0, -1, label_S[sample_nk])
        there = label_nk >= 0
        offered = memory.offered_nC.sum(1)[:, None] + np.cumsum(there, axis=1)  # counted from 1
        label_nM = np.where(memory.kept_nM < 0, -1, label_S[memory.kept_nM])
        offer = Candidates(label_nk, label_nM, keys.uniform(device_n[:, None], offered, 2))
        place_nk, largest = self._placed(memory, offer)
        kept, seen = memory.kept_nM.copy(), memory.offered_nC.copy()
        row, column = np.nonzero((place_nk >= 0) & there)
        # if two samples have the same place, the assignment keeps the last one
        kept[row, place_nk[row, column]] = sample_nk[row, column]
        row, column = np.nonzero(there)
        np.add.at(seen, (row, label_nk[row, column]), 1)
        return Memory(kept, seen, largest)


class NoReplay(Replay):
    """No replay memory: nothing is kept."""

    def __init__(self) -> None:
        super().__init__(1, 0.0)
        self.size = 0

    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        return np.full(offer.label_nk.shape, -1), memory.largest_nC


class Fifo(Replay):
    """A memory of the last ``size`` samples."""

    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        return offer.before(memory) % self.size, memory.largest_nC


class Reservoir(Replay):
    """A uniform random subset of all samples offered so far: sample t is kept with probability
    size/t, in the place of a random kept one (Vitter, *Random sampling with a reservoir*, ACM TOMS
    11, 1985).
    """

    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        before = offer.before(memory)
        place = np.where(
            before < self.size, before, (offer.draw_nk2[:, :, 0] * (before + 1)).astype(np.int64)
        )
        return np.where(place < self.size, place, -1), memory.largest_nC


class ClassBalanced(Replay):
    """Class-balancing reservoir sampling: equally many samples of every class, as far as possible
    (Chrysakis & Moens, *Online continual learning from imbalanced data*, ICML 2020).

    In a full memory, a sample of a class that was never the largest replaces a random sample of the
    largest class. A sample of any other class c is kept with probability kept_c/offered_c, and
    replaces a random sample of its own class. So the samples of each class are a uniform random
    subset.
    """

    by_class = True

    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        label_nM, seen_nC = offer.label_nM.copy(), memory.offered_nC.copy()
        rows, place_nk = np.arange(len(label_nM)), np.full(offer.label_nk.shape, -1)
        count_nC = np.stack([(label_nM == c).sum(1) for c in range(seen_nC.shape[1])], axis=1)
        largest_nC = memory.largest_nC.astype(bool)
        for j, label_n in enumerate(offer.label_nk.T):
            c_n, there = np.maximum(label_n, 0), label_n >= 0
            used_n = count_nC.sum(1)
            full = used_n == self.size
            largest_nC |= (count_nC == count_nC.max(1, keepdims=True)) & (full & there)[:, None]
            own, seen_nC[rows[there], c_n[there]] = (
                largest_nC[rows, c_n],
                seen_nC[rows, c_n][there] + 1,
            )
            stays = ~own | (offer.draw_nk2[:, j, 0] * seen_nC[rows, c_n] < count_nC[rows, c_n])
            gives_n = np.where(own, c_n, count_nC.argmax(1))
            place_n = np.where(
                full, _random_of(label_nM == gives_n[:, None], offer.draw_nk2[:, j, 1]), used_n
            )
            taken = there & (~full | stays)
            at, where = rows[taken], place_n[taken]
            out = label_nM[at, where]
            count_nC[at[out >= 0], out[out >= 0]] -= 1
            count_nC[at, c_n[taken]] += 1
            label_nM[at, where] = c_n[taken]
            place_nk[at, j] = where
        return place_nk, largest_nC.astype(np.int64)


def _random_of(mask_nM: npt.NDArray[np.bool_], draw_n: Reals) -> Ints:
    """A random one of each row's marked positions, ``[n]``; 0 where none is marked."""
    wanted = np.floor(draw_n * mask_nM.sum(1)).astype(np.int64)
    return np.asarray((np.cumsum(mask_nM, axis=1) > wanted[:, None]).argmax(1))
