"""The data of a run: all samples in one array, and who holds which.

:mod:`swarm.data.validation` has the checks that every source's data must pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from swarm.common.names import Maybe, Names, finder
from swarm.common.rng import Keys
from swarm.config.aliases.old_members import OldMembers, old_keywords

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]

# array elements looked at in one go: bounds the temporary memory of checks and scaling
CHUNK = 1 << 22


@dataclass(frozen=True)
class Affine:
    """What was done to numbers: ``scaled = (raw − shift) / span``, so ``raw = shift + span ·
    scaled``.
    """

    shift: Reals  # of each column; a single number where all are scaled alike
    span: Reals


@old_keywords
@dataclass(frozen=True)
class Dataset(OldMembers):
    """S samples and the three disjoint sets of sample ids they fall into; devices only ever hold
    ``train`` samples.
    """

    x: Floats  # [S, *features]
    # [S] labels 0 … classes-1, [S, L] labels of L positions, or [S, T] regression targets
    y: Ints | Floats
    classes: int  # 0 for regression
    # [S] natural owner (person, role, carrier), dense ids 0 … O-1; None if the data know none
    owner: Ints | None
    train: Ints
    validation: Ints
    test: Ints
    # [S] when each sample happened, in any unit; None if the data know no order
    time: Ints | None = None
    # [S] which of several worlds a sample belongs to, 0 … ; None if nothing drifts
    concept: Ints | None = None
    # [S] the labels that devices learn from, −1: none; None if those are the true ones
    observed_labels: Ints | None = None
    # of owners 0 … O-1, canonical (swarm.common.names); None if they are numbers only
    owner_names: Names | None = None
    class_names: Names | None = None  # of classes 0 … C-1, likewise
    columns: tuple[str, ...] = ()  # names of flat features, if they have any
    scaling: Affine | None = None  # what was done to the features; None: nothing
    target: Affine | None = None  # what was done to each target of a regression; None: nothing

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.x.shape[1:]

    def known_labels(self) -> tuple[Ints, int]:
        """What devices take each sample's class to be (−1: nobody said), and how many classes there
        are; data without class labels for whole samples have a single one."""
        if not self.classes or self.y.ndim > 1:
            return np.zeros(len(self.x), np.int64), 1
        return (self.y if self.observed_labels is None else self.observed_labels).astype(
            np.int64
        ), self.classes

    def class_of(self, label: int | str) -> int | None:
        """The class called ``label``; where no class has a number for its name, also the one with
        that number. Else None.
        """
        return finder(self.class_names, self.classes)(label)


class Source(ABC):
    """Where samples come from.

    Constructors may take ``devices`` and ``seed``, which the run fills in.

    An implementation gathers its arrays and ends in :func:`swarm.data.prepare.prepare`: check,
    split, scale.
    """

    @abstractmethod
    def load(self) -> Dataset:
        """The data set: the same bits for the same options and seed.

        ``ConfigError`` for data that cannot be used.
        """


@dataclass(frozen=True)
class DeviceSplit:
    """Which samples each device holds: device *i* has ``sample[ptr_N1[i]:ptr_N1[i + 1]]``."""

    sample: Ints  # sample ids grouped by device
    ptr_N1: Ints  # [N + 1]
    # each device meets its samples as they stand here, not in orders of its own
    ordered: bool = False
    pooled_from: int = 1  # of this many devices, all now on one
    # of a pooled stream: each sample's place in the stream of its own device; ascending
    place: Ints | None = None
    # of the devices, [N]: those of their owners, or of the nodes they sit at
    names: Maybe | None = None
    # whether those are owners' names: each device then has all training samples of one owner
    owned: bool = False

    @classmethod
    def group(cls, device_S: npt.ArrayLike, devices: int) -> DeviceSplit:
        """From the device of every sample (``-1``: nobody's).

        Each device's ids are in ascending order.
        """
        device = np.asarray(device_S, dtype=np.int64)
        order = np.argsort(device, kind="stable")
        sizes_N = np.bincount(device[device >= 0], minlength=devices)
        ptr_N1 = np.concatenate([[0], np.cumsum(sizes_N)]).astype(np.int64)
        return cls(order[len(device) - int(ptr_N1[-1]) :].astype(np.int64), ptr_N1)

    def by_time(self, time_S: Ints) -> DeviceSplit:
        """The same, each device's samples in the order in which they happened (equal times: as they
        stood).
        """
        order = np.lexsort((time_S[self.sample], self.device_S))
        return replace(self, sample=self.sample[order], ordered=True)

    def in_order(self, keys: Keys) -> DeviceSplit:
        """The same, in an order in which each device meets its samples: as it is, or drawn."""
        if self.ordered:
            return self
        order = np.lexsort((keys.generator().permutation(len(self.sample)), self.device_S))
        return replace(self, sample=self.sample[order], ordered=True)

    def named_by_owner(self, data: Dataset) -> DeviceSplit:
        """The same, each device under its owner's name, where each has the samples of one owner
        that no other device has.
        """
        if data.owner is None or data.owner_names is None or not self.sizes_N.all():
            return self
        owner_S = data.owner[self.sample]
        owner_N = owner_S[self.ptr_N1[:-1]]
        if len(np.unique(owner_N)) < self.devices or (owner_S != owner_N[self.device_S]).any():
            return self
        return replace(self, names=tuple(data.owner_names[owner] for owner in owner_N), owned=True)

    def pooled(self, keys: Keys, batch: int | None = None) -> DeviceSplit:
        """Everybody's samples on one device, mixed; where there is an order, everybody's first ones
        first. ``batch`` makes it a stream: of full mini-batches only, as each device meets them,
        and none of them before that device would meet it."""
        if not self.ordered:
            mixed = keys.generator().permutation(np.sort(self.sample))
            return DeviceSplit(mixed, np.array([0, len(mixed)]))
        place = np.arange(len(self.sample)) - self.ptr_N1[self.device_S]
        order = np.lexsort((keys.generator().permutation(len(place)), place))
        if batch is None:
            return DeviceSplit(self.sample[order], np.array([0, len(order)]), ordered=True)
        order = order[(place < (self.sizes_N // batch * batch)[self.device_S])[order]]
        return DeviceSplit(
            self.sample[order], np.array([0, len(order)]), True, self.devices, place[order]
        )

    @property
    def devices(self) -> int:
        """N."""
        return len(self.ptr_N1) - 1

    @property
    def sizes_N(self) -> Ints:
        """Samples held by each device: ``[N]``."""
        return np.diff(self.ptr_N1)

    @property
    def device_S(self) -> Ints:
        """The device that holds ``sample[j]``, for every j."""
        return np.repeat(np.arange(self.devices), self.sizes_N)

    def of(self, device: int) -> Ints:
        """The sample ids of one device."""
        return self.sample[self.ptr_N1[device] : self.ptr_N1[device + 1]]


def label_mix(y: Ints, holdings: DeviceSplit, classes: int) -> Reals:
    """``[N, C]``: the fraction of each label among a device's samples; every row sums to one (to
    zero without samples).

    Own-distribution accuracy weights the global test samples of label c by ``mix[i, c] / (test
    fraction of c)``. ``y`` holds the labels of all samples (or of their positions), indexed by the
    ids in ``holdings``.
    """
    label_SL = y[holdings.sample].reshape(len(holdings.sample), -1)
    cell_SL = holdings.device_S[:, None] * classes + label_SL
    count_NC = np.bincount(cell_SL.reshape(-1), minlength=holdings.devices * classes).reshape(
        holdings.devices, classes
    )
    return np.asarray(count_NC / count_NC.sum(1, keepdims=True).clip(1))


def label_mixes(dataset: Dataset, holdings: DeviceSplit) -> Reals:
    """``[W, N, C]``: :func:`label_mix` of what each device meets of each of W concepts; of one that
    it never meets, that of all its samples."""
    y = dataset.y.astype(np.int64, copy=False)
    everything = label_mix(y, holdings, dataset.classes)
    if dataset.concept is None:
        return everything[None]
    found, device_S = [], holdings.device_S
    for w in range(int(dataset.concept.max()) + 1):
        here_S = dataset.concept[holdings.sample] == w
        sizes_N = np.bincount(device_S[here_S], minlength=holdings.devices)
        own = DeviceSplit(holdings.sample[here_S], np.concatenate([[0], np.cumsum(sizes_N)]))
        found.append(np.where(sizes_N[:, None] > 0, label_mix(y, own, dataset.classes), everything))
    return np.stack(found)


def concept_exposure(concept_S: Ints, holdings: DeviceSplit, met_N: Ints, window_N: Ints) -> Reals:
    """``[N, C]``: the share of each concept among the last ``window_N`` of the ``met_N`` samples
    that each device has met of its stream; of the first one, before it has met any."""
    concept_H = concept_S[holdings.sample]
    count_HC = np.zeros((len(concept_H) + 1, int(concept_S.max()) + 1), np.int64)
    count_HC[np.arange(len(concept_H)) + 1, concept_H] = 1
    np.cumsum(count_HC, axis=0, out=count_HC)
    end_N = holdings.ptr_N1[:-1] + np.clip(met_N, 1, holdings.sizes_N)
    found_NC = count_HC[end_N] - count_HC[end_N - np.clip(window_N, 1, np.maximum(met_N, 1))]
    return np.asarray(found_NC / found_NC.sum(1, keepdims=True))


def chunks(x: npt.NDArray[np.generic]) -> Iterator[slice]:
    """Row ranges of ``x`` small enough that a temporary copy of one does not matter."""
    rows = max(1, CHUNK // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), rows):
        yield slice(start, min(start + rows, len(x)))
