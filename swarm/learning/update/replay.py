"""What a device remembers of its stream: a bounded number of samples, replayed later."""

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
    """The memories of n devices, as rows.

    The simulation keeps the numbers of samples; the devices would keep the samples.
    """

    kept_nM: Ints  # sample ids, −1: nothing; the places that are used come first
    offered_nC: Ints  # how many samples of each class were offered so far
    largest_nC: Ints  # 1: this class has been among the largest of a full memory

    @classmethod
    def empty(cls, devices: int, size: int, classes: int) -> Memory:
        """Of devices that have met nothing yet."""
        nothing = np.zeros((devices, classes), np.int64)
        return cls(np.full((devices, size), -1), nothing, nothing)

    def drawn(self, rows: Ints, uniform_nk: Reals) -> Ints:
        """A random kept sample of these rows for each of these numbers in (0, 1), −1 where nothing
        is kept: ``[n, k]``.
        """
        kept_nM = self.kept_nM[rows]
        place_nk = (uniform_nk * (kept_nM >= 0).sum(1)[:, None]).astype(np.int64)
        return np.take_along_axis(kept_nM, place_nk, axis=1)


@dataclass(frozen=True)
class Candidates:
    """Samples offered to n devices, one after the other: labels ``[n, k]`` (−1: no sample there),
    the labels of what is kept ``[n, size]`` (−1: an empty place), and two uniform numbers in (0, 1)
    for each, ``[n, k, 2]``."""

    label_nk: Ints
    label_nM: Ints
    draw_nk2: Reals

    def before(self, memory: Memory) -> Ints:
        """How many samples were offered before each of these."""
        there = self.label_nk >= 0
        return np.asarray(memory.offered_nC.sum(1)[:, None] + np.cumsum(there, axis=1) - there)


class Replay(ABC):
    """A memory of ``size`` samples a device.

    ``ratio`` remembered samples go with each new one into a mini-batch that is learnt from at once
    (update=online, frozen); update=nightly draws all of its samples from the memory."""

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
        """How many remembered samples go with so many new ones."""
        return round(self.ratio * new) if self.size else 0

    by_class = False
    """Whether it goes by classes, so that the data need some."""

    @abstractmethod
    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        """Where each offered sample goes, ``[n, k]``: a place of the memory, or −1 for nowhere (of
        two with the same place the later one stays); and ``largest_nC`` after that."""

    def _placed(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        """:meth:`places`. Raises :class:`ConfigError` for what is no answer to an offer."""
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
        """The memories after samples (−1: none) were offered."""
        label_nk = np.where(sample_nk < 0, -1, label_S[sample_nk])
        there = label_nk >= 0
        offered = memory.offered_nC.sum(1)[:, None] + np.cumsum(there, axis=1)  # counted from 1
        label_nM = np.where(memory.kept_nM < 0, -1, label_S[memory.kept_nM])
        offer = Candidates(label_nk, label_nM, keys.uniform(device_n[:, None], offered, 2))
        place_nk, largest = self._placed(memory, offer)
        kept, seen = memory.kept_nM.copy(), memory.offered_nC.copy()
        row, column = np.nonzero((place_nk >= 0) & there)
        # of equal places the last one wins
        kept[row, place_nk[row, column]] = sample_nk[row, column]
        row, column = np.nonzero(there)
        np.add.at(seen, (row, label_nk[row, column]), 1)
        return Memory(kept, seen, largest)


class NoReplay(Replay):
    """Nothing is remembered."""

    def __init__(self) -> None:
        super().__init__(1, 0.0)
        self.size = 0

    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        return np.full(offer.label_nk.shape, -1), memory.largest_nC


class Fifo(Replay):
    """The last ``size`` samples."""

    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        return offer.before(memory) % self.size, memory.largest_nC


class Reservoir(Replay):
    """A uniform sample of all that was offered: sample t stays with probability size/t, in the
    place of a random one (Vitter, *Random sampling with a reservoir*, ACM TOMS 11, 1985)."""

    def places(self, memory: Memory, offer: Candidates) -> tuple[Ints, Ints]:
        before = offer.before(memory)
        place = np.where(
            before < self.size, before, (offer.draw_nk2[:, :, 0] * (before + 1)).astype(np.int64)
        )
        return np.where(place < self.size, place, -1), memory.largest_nC


class ClassBalanced(Replay):
    """As many samples of every class as there can be, each class a uniform sample of its own: in a
    full memory a sample of a class that was never the largest takes the place of a random one of
    the largest; any other stays with probability kept_c/offered_c, in the place of one of its own
    (Chrysakis & Moens, *Online continual learning from imbalanced data*, ICML 2020)."""

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
    """The position of a random one of each row's marked places (0 where there is none)."""
    wanted = np.floor(draw_n * mask_nM.sum(1)).astype(np.int64)
    return np.asarray((np.cumsum(mask_nM, axis=1) > wanted[:, None]).argmax(1))
