"""The data of a run: all samples in one array, and which device holds which of them.

:mod:`swarm.data.validation` has the checks that every source's data must pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from swarm.common.arrays import FixedArrays, arrays_of, fixed
from swarm.common.names import Maybe, Names, finder
from swarm.common.rng import Keys
from swarm.config.aliases.old_members import OldMembers, old_keywords
from swarm.data.device_table import DeviceTable
from swarm.data.tokens.base import Tokens

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """How numbers were scaled: ``scaled = (raw − shift) / span``, so ``raw = shift + span ·
    scaled``.
    """

    shift: Reals  # one number for each column; a single one where all columns are scaled alike
    span: Reals  # likewise


@old_keywords
@dataclass(frozen=True)
class Dataset(OldMembers):
    """S samples and the disjoint sets of sample ids they fall into; devices only ever hold
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
    # [S] which concept a sample belongs to, 0 … W-1; None if nothing drifts
    concept: Ints | None = None
    # [S] the labels that devices learn from (−1: no label); None if those are the true ones
    observed_labels: Ints | None = None
    # canonical names (swarm.common.names) of owners 0 … O-1; None if owners are numbers only
    owner_names: Names | None = None
    class_names: Names | None = None  # of classes 0 … C-1, likewise
    tokens: Tokens | None = None  # of text: what the classes stand for
    columns: tuple[str, ...] = ()  # names of flat features, if they have any
    scaling: Affine | None = None  # how the features were scaled; None if they were not
    target: Affine | None = None  # how a regression's targets were scaled; None if they were not
    # samples that all devices share, without their labels; None if there are none
    public: Ints | None = None

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.x.shape[1:]

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        return sum(each.nbytes for _, each in arrays_of(self))

    def read_only(self) -> Dataset:
        """The same data set, on the same memory, with arrays that nobody can write to."""
        found: Any = {name: fixed(each) for name, each in arrays_of(self) if each.flags.writeable}
        return replace(self, **found) if found else self

    def known_labels(self) -> tuple[Ints, int]:
        """The class that devices take each sample to have (``[S]``, −1: no label), and the number
        of classes. Data without class labels for whole samples count as one class."""
        if not self.classes or self.y.ndim > 1:
            return np.zeros(len(self.x), np.int64), 1
        return (self.y if self.observed_labels is None else self.observed_labels).astype(
            np.int64
        ), self.classes

    def __getstate__(self) -> tuple[dict[str, Any], list[str]]:
        """The fields, and the names of those that nobody can write to."""
        return vars(self), [name for name, each in arrays_of(self) if not each.flags.writeable]

    def __setstate__(self, state: tuple[dict[str, Any], list[str]]) -> None:
        held, names = state
        self.__dict__.update(held | {name: fixed(held[name]) for name in names})

    def class_of(self, label: int | str) -> int | None:
        """The class called ``label``, or None if there is none. Where no class has a number for
        its name, ``label`` may also be the number of a class.
        """
        return finder(self.class_names, self.classes)(label)


class Source(ABC):
    """Where samples come from.

    Constructors may take ``devices`` and ``seed``, which the run fills in.

    An implementation gathers its arrays and hands them to :func:`swarm.data.prepare.prepare`, which
    checks, splits and scales them.
    """

    file_options: ClassVar[tuple[str, ...]] = ("path",)
    """The parameters that name a file: a run goes on only while each holds what it did."""

    @abstractmethod
    def load(self) -> Dataset:
        """Read or generate the data set; equal options and seeds give equal bits.

        Raises ``ConfigError`` for data that cannot be used.
        """

    def loading(self) -> int | None:
        """The most bytes that :meth:`load` takes, its result among them, as far as headers and the
        sizes of files tell before anything is loaded; None where they do not.

        The run is refused before it loads anything if so much is not free, and states the memory
        that it takes with it. It may raise what :meth:`load` raises.
        """
        return None


@dataclass(frozen=True)
class DeviceSplit(FixedArrays):
    """Which samples each device holds: device *i* has ``sample[ptr_N1[i]:ptr_N1[i + 1]]``.

    Nobody can write to its arrays.
    """

    sample: Ints  # sample ids grouped by device
    ptr_N1: Ints  # [N + 1]
    # True: each device meets its samples as they stand here; False: in an order drawn for it
    ordered: bool = False
    pooled_from: int = 1  # how many devices' samples were pooled on the one device of this split
    # of a pooled stream: each sample's place in the stream of its own device; ascending
    place: Ints | None = None
    # [N] names of the devices: those of their owners, or of the nodes they sit at
    names: Maybe | None = None
    # whether the names are owners' names: each device then has all training samples of one owner
    owned: bool = False
    # samples of each device's own that no device learns from; None: there are none
    local_test: DeviceSplit | None = None
    # further ones, on which the device may measure models while it learns
    local_validation: DeviceSplit | None = None
    # which devices learn otherwise than the config says; None: nobody
    table: DeviceTable | None = None
    # whether all devices are one device several times, which meets its samples in one order
    replicas: bool = False

    @classmethod
    def group(cls, device_S: npt.ArrayLike, devices: int) -> DeviceSplit:
        """Make a split from the device of every sample, ``[S]`` (``-1``: the sample is nobody's).

        Each device's sample ids are in ascending order. Raises ``ValueError`` for anything but
        whole numbers.
        """
        given = np.asarray(device_S)
        if given.dtype == object:  # as some columns of pandas hold whole numbers, too
            given = np.asarray(given.tolist())
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            found = f"{given.dtype} numbers of shape {list(given.shape)}"
            raise ValueError(f"device_S must be a whole number for each sample, and is {found}")
        device = given.astype(np.int64)
        order = np.argsort(device, kind="stable")
        sizes_N = np.bincount(device[device >= 0], minlength=devices)
        ptr_N1 = np.concatenate([[0], np.cumsum(sizes_N)]).astype(np.int64)
        return cls(order[len(device) - int(ptr_N1[-1]) :].astype(np.int64), ptr_N1)

    def by_time(self, time_S: Ints) -> DeviceSplit:
        """The same split with each device's samples in the order of ``time_S``; samples of equal
        times keep their order.
        """
        order = np.lexsort((time_S[self.sample], self.device_S))
        return replace(self, sample=self.sample[order], ordered=True)

    def in_order(self, keys: Keys) -> DeviceSplit:
        """The same split, ordered: unchanged if it is ordered already, else in a random order."""
        if self.ordered:
            return self
        order = np.lexsort((keys.generator().permutation(len(self.sample)), self.device_S))
        return replace(self, sample=self.sample[order], ordered=True)

    def named_by_owner(self, data: Dataset) -> DeviceSplit:
        """The same split with devices named by their owners, if each device holds the samples of
        one owner and no two devices share an owner; else unchanged.
        """
        owner_N = None if data.owner_names is None else self.owners(data)
        if data.owner_names is None or owner_N is None:
            return self
        return replace(self, names=tuple(data.owner_names[owner] for owner in owner_N), owned=True)

    def owners(self, data: Dataset) -> Ints | None:
        """The owner of each device, ``[N]``, if each device holds the samples of one owner and no
        two devices share an owner; else None.
        """
        if data.owner is None or not self.sizes_N.all():
            return None
        owner_S = data.owner[self.sample]
        owner_N = owner_S[self.ptr_N1[:-1]]
        if len(np.unique(owner_N)) < self.devices or (owner_S != owner_N[self.device_S]).any():
            return None
        return np.asarray(owner_N)

    def pooled(self, keys: Keys, batch: int | None = None) -> DeviceSplit:
        """The split with all samples on one device, in random order.

        If this split is ordered, the samples that devices meet first come first. ``batch`` keeps
        only the samples that fill whole mini-batches of their own device, and records each one's
        place in that device's stream, so that none is met before its own device would meet it. The
        one device's own held-out samples are those of all devices.
        """
        return replace(
            self._on_one_device(keys, batch),
            local_test=_together(self.local_test),
            local_validation=_together(self.local_validation),
        )

    def _on_one_device(self, keys: Keys, batch: int | None) -> DeviceSplit:
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

    def replicated(self, lrs: Sequence[float]) -> DeviceSplit:
        """The split of one device, as that of several devices which are this one, each with one of
        these learning rates."""
        table = DeviceTable({"lr": np.array(lrs, np.float64)}, "")
        return replace(self._repeated(len(lrs)), table=table, replicas=True)

    def _repeated(self, times: int) -> DeviceSplit:
        """The split of one device, as that of so many devices with the same samples."""
        test, validation = self.local_test, self.local_validation
        return replace(
            self,
            sample=np.tile(self.sample, times),
            ptr_N1=np.arange(times + 1) * len(self.sample),
            local_test=None if test is None else test._repeated(times),
            local_validation=None if validation is None else validation._repeated(times),
        )

    @property
    def devices(self) -> int:
        """N, the number of devices."""
        return len(self.ptr_N1) - 1

    @property
    def sizes_N(self) -> Ints:
        """The number of samples that each device holds: ``[N]``."""
        return np.diff(self.ptr_N1)

    @property
    def device_S(self) -> Ints:
        """The device that holds ``sample[j]``, for every j: ``[len(sample)]``."""
        return np.repeat(np.arange(self.devices), self.sizes_N)

    def of(self, device: int) -> Ints:
        """The sample ids of one device."""
        return self.sample[self.ptr_N1[device] : self.ptr_N1[device + 1]]


def _together(held: DeviceSplit | None) -> DeviceSplit | None:
    """The held-out samples of all devices on one device; None where there are none."""
    if held is None:
        return None
    ids = np.sort(held.sample)
    return DeviceSplit(ids, np.array([0, len(ids)]))


def label_mix(y: Ints, holdings: DeviceSplit, classes: int) -> Reals:
    """The fraction of each label among a device's samples, ``[N, C]``; every row sums to one, or to
    zero for a device without samples.

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
    """:func:`label_mix` of each device's samples of each of W concepts, ``[W, N, C]``. For a
    concept that a device never meets, it is the mix of all its samples."""
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
    """The share of each concept among the last ``window_N`` of the ``met_N`` samples that each
    device has met of its stream, ``[N, concepts]``. Before a device has met any sample, its first
    one counts."""
    concept_H = concept_S[holdings.sample]
    count_HC = np.zeros((len(concept_H) + 1, int(concept_S.max()) + 1), np.int64)
    count_HC[np.arange(len(concept_H)) + 1, concept_H] = 1
    np.cumsum(count_HC, axis=0, out=count_HC)
    end_N = holdings.ptr_N1[:-1] + np.clip(met_N, 1, holdings.sizes_N)
    found_NC = count_HC[end_N] - count_HC[end_N - np.clip(window_N, 1, np.maximum(met_N, 1))]
    return np.asarray(found_NC / found_NC.sum(1, keepdims=True))
