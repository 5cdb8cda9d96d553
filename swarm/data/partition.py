"""How training samples are dealt to devices.

Each rule is vectorised over samples: 100,000 devices take seconds.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.names import choices, finder
from swarm.common.plugin import called, is_plugin, returned, shape_of
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.config.old_members import OldMembers
from swarm.data.dataset import Dataset, DeviceSplit, Floats, Ints
from swarm.data.largest_remainder import largest_remainder

Labels = Ints | Floats


class Partition(OldMembers, ABC):
    """A rule that deals samples to ``devices`` devices.

    A new one implements :meth:`assign` alone.
    """

    def __init__(self, devices: int) -> None:
        self.devices = devices

    @abstractmethod
    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        """Who holds which of S training samples: ids ``0 … S-1``, nobody without one, no sample
        twice.

        ``y_S`` are labels ``[S]`` or regression targets ``[S, T]``, ``owner_S`` natural owners or
        None. Equal ``keys`` give equal holdings. Raises ``ConfigError`` when the rule does not fit
        the samples.
        """

    def split(self, dataset: Dataset, keys: Keys) -> DeviceSplit:
        """:meth:`assign` over the training samples of ``dataset``, in the data set's own ids, and
        checked.
        """
        owner = None if dataset.owner is None else dataset.owner[dataset.train]
        holdings = self.assign(dataset.y[dataset.train], owner, keys)
        self._require_holdings(holdings, len(dataset.train))
        empty = np.flatnonzero(holdings.sizes_N == 0)
        if holdings.devices != self.devices or empty.size:
            found = (
                f"leaves device {empty[0]} without samples"
                if empty.size
                else f"made {holdings.devices} devices"
            )
            valid = (
                f"{found}; each of {self.devices} devices needs at least one of"
                f" {len(dataset.train)} samples"
            )
            raise ConfigError("/partition", called(self), valid)
        if int(np.bincount(holdings.sample, minlength=len(dataset.train)).max()) > 1:
            raise ConfigError(
                "/partition", called(self), "gives a sample to two devices; one may have it"
            )
        dealt = DeviceSplit(dataset.train[holdings.sample], holdings.ptr_N1).named_by_owner(dataset)
        return dealt if dataset.time is None else dealt.by_time(dataset.time)

    def _require_holdings(self, found: object, samples: int) -> None:
        """Refuse what :meth:`assign` returned where it is no split of so many samples."""
        if not isinstance(found, DeviceSplit):
            needed = (
                "a DeviceSplit is needed, and DeviceSplit.group(device_of_each_sample, devices)"
                " makes it"
            )
            raise returned("partition", self, "assign", f"returns {shape_of(found)}", needed)
        sample, ptr_N1 = np.asarray(found.sample), np.asarray(found.ptr_N1)
        if (
            sample.ndim != 1
            or ptr_N1.ndim != 1
            or not len(ptr_N1)
            or {sample.dtype.kind, ptr_N1.dtype.kind} - {"i", "u"}
        ):
            text = f"returns {shape_of(sample)} and {shape_of(ptr_N1)}"
            raise returned(
                "partition", self, "assign", text, "two vectors of whole numbers are needed"
            )
        if ptr_N1[0] != 0 or ptr_N1[-1] != len(sample) or (np.diff(ptr_N1) < 0).any():
            needed = f"they must rise from 0 to the {len(sample)} samples dealt"
            raise returned(
                "partition", self, "assign", "returns ptr_N1 that cut the samples wrongly", needed
            )
        if len(sample) and not 0 <= sample.min() <= sample.max() < samples:
            text = f"returns sample ids {sample.min()} to {sample.max()}"
            raise returned("partition", self, "assign", text, f"they must be 0 to {samples - 1}")

    def need(self, samples: int, least: int = 1) -> None:
        """Refuse fewer than ``least`` samples a device."""
        if self.devices * least > samples:
            most = samples // least
            would = f"at most devices={most} would do" if most else "more samples are needed"
            would += f", or less than min_samples={least}" if least > 1 else ""
            valid = f"{samples} training samples cannot give every device {least}; {would}"
            raise ConfigError("/devices", self.devices, valid)

    def labels(self, y_S: Labels) -> tuple[Ints, int]:
        """The labels as dense codes of the classes that occur, and how many those are; refuses
        regression targets.
        """
        if y_S.dtype.kind not in "iu" or y_S.ndim != 1:
            found = "a label for every position" if y_S.dtype.kind in "iu" else "numeric targets"
            valid = (
                f"deals by class label and the data have {found}; iid, quantity_skew or natural"
                " would do"
            )
            raise ConfigError(
                "/partition",
                called(self) if is_plugin(self) else type(self).__name__.lower(),
                valid,
            )
        values, codes = np.unique(y_S, return_inverse=True)
        return codes.astype(np.int64), len(values)


class Iid(Partition):
    """Independent and identically distributed: a random deal in which device sizes differ by at
    most one sample.
    """

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        self.need(len(y_S))
        return DeviceSplit.group(_even(len(y_S), self.devices, keys), self.devices)


class QuantitySkew(Partition):
    """Sizes follow a power law, labels do not: the device of size rank r gets a share ``∝
    r^-exponent`` of the samples.

    Which device has which rank is drawn. Nobody gets fewer than ``min_samples``; ``exponent=0`` is
    iid.
    """

    def __init__(self, devices: int, exponent: float = 1.0, min_samples: int = 2) -> None:
        super().__init__(devices)
        number("exponent", exponent, 0, 10)
        number("min_samples", min_samples, 1)
        self.exponent, self.min_samples = exponent, min_samples

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        self.need(len(y_S), self.min_samples)
        rank_N = 1.0 + keys.generator(1).permutation(self.devices)
        sizes_N = largest_remainder(rank_N**-self.exponent, len(y_S), low=self.min_samples)
        return DeviceSplit.group(
            _shuffled(np.repeat(np.arange(self.devices), sizes_N), keys), self.devices
        )


class Dirichlet(Partition):
    """Label skew: the samples of each class c are shared out in proportions ``p_c ~ Dirichlet(alpha
    · 1_N)``.

    Small ``alpha``: a class sits on few devices; large: everybody has every class, as in iid. The
    usual form (Yurochkin et al., arXiv 1905.12022; Li et al., arXiv 2102.02079) of the skew of Hsu,
    Qi, Brown (arXiv 1909.06335), whose devices all have equally many samples; here sizes vary too.
    Proportions are rounded systematically: device i expects exactly ``p_ci · n_c`` samples and gets
    that number rounded up or down.

    A draw that leaves somebody below ``min_samples`` is thrown away; after ``tries`` of them the
    last one is repaired by moving samples from the devices with the most, out of their commonest
    class. So it is with many devices, where hardly any draw serves everybody.
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
        label_S, classes = self.labels(y_S)
        self.need(len(label_S), self.min_samples)
        size_C = np.bincount(label_S, minlength=classes)
        for attempt in range(self.tries):
            count_CN = self._draw(size_C, keys.generator(1, attempt))
            if int(count_CN.sum(axis=0).min()) >= self.min_samples:
                break
        else:
            _repair(count_CN, self.min_samples)
        return _by_class(label_S, count_CN, keys)

    def _draw(self, size_C: Ints, draw: np.random.Generator) -> Ints:
        count_CN = np.empty((len(size_C), self.devices), np.int64)
        for c, size in enumerate(size_C):
            # or neighbours in the rounding would be neighbours in every class
            order = draw.permutation(self.devices)
            edge = np.minimum(np.cumsum(draw.dirichlet(np.full(self.devices, self.alpha))), 1.0)
            edge[-1] = 1.0
            count_CN[c, order] = np.diff(
                np.floor(edge * size + draw.random()).astype(np.int64), prepend=0
            )
        return count_CN


class Pathological(Partition):
    """Exactly ``classes_per_device`` classes each: the shards of McMahan et al. (arXiv 1602.05629),
    made exact.

    The published deal (sort by label, cut into shards, two shards a device) may give a device two
    shards of one class, or a shard that straddles two. Here each class is cut into a number of
    shards proportional to its samples, each device gets shards of different classes, and a random
    walk of trades between pairs of devices forgets the order of dealing.
    """

    def __init__(self, devices: int, classes_per_device: int = 2) -> None:
        super().__init__(devices)
        number("classes_per_device", classes_per_device, 1)
        self.per_device = classes_per_device

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        label_S, classes = self.labels(y_S)
        least = -(-classes // self.devices)
        if not least <= self.per_device <= classes:
            valid = (
                f"must be {least} to {classes}, for {self.devices} devices to hold all of {classes}"
                " classes"
            )
            raise ConfigError("classes_per_device", self.per_device, valid)
        self.need(len(label_S), self.per_device)
        size_C = np.bincount(label_S, minlength=classes)
        high_C = np.minimum(size_C, self.devices)
        if high_C.sum() < self.devices * self.per_device:
            valid = (
                f"some classes have too few samples for {self.devices} devices; fewer devices or"
                " classes would do"
            )
            raise ConfigError("classes_per_device", self.per_device, valid)
        shards_C = largest_remainder(size_C, self.devices * self.per_device, low=1, high=high_C)
        holds_NC = self._deal_shards(shards_C, keys)
        count_CN, draw = np.zeros((classes, self.devices), np.int64), keys.generator(2)
        for c in range(classes):
            holders = draw.permutation(np.flatnonzero(holds_NC[:, c]))
            extra = np.arange(len(holders)) < size_C[c] % len(holders)
            count_CN[c, holders] = size_C[c] // len(holders) + extra
        return _by_class(label_S, count_CN, keys)

    def _deal_shards(self, shards_C: Ints, keys: Keys) -> npt.NDArray[np.bool_]:
        """``[N, C]`` with ``classes_per_device`` ones in each row and ``shards_C`` ones in each
        column, at random.
        """
        draw = keys.generator(1)
        classes, devices = len(shards_C), self.devices
        holds_NC = np.zeros((devices, classes), dtype=np.bool_)
        # dealt round the table, the at most N shards of one class fall on different devices
        holds_NC[np.arange(shards_C.sum()) % devices, np.repeat(np.arange(classes), shards_C)] = (
            True
        )
        if devices > 1 and self.per_device < classes:
            for _ in range(4 * self.per_device + 16):
                pair = draw.permutation(devices)[: devices - devices % 2].reshape(2, -1)
                _trade(holds_NC, pair[0], pair[1], draw)
        return holds_NC


class Rare(Partition):
    """One device, which is drawn, holds all samples of the class ``label``; all others are dealt as
    in iid, to it as well.

    What it alone knows can reach the rest only by way of messages. ``label`` is the name of the
    class, or its number where no class has a number for its name.
    """

    def __init__(self, devices: int, label: int | str = 9) -> None:
        super().__init__(devices)
        if isinstance(label, int):
            number("label", label, 0)
        self.label = label
        self._class: int | None = finder(None, 1 << 62)(label)

    def split(self, dataset: Dataset, keys: Keys) -> DeviceSplit:
        if dataset.class_names is not None:
            self._class = dataset.class_of(self.label)
            if self._class is None:
                valid = (
                    "must be a class of the data:"
                    f" {choices(dataset.class_names, dataset.classes, self.label)}"
                )
                raise ConfigError("label", self.label, valid)
        return super().split(dataset, keys)

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        _, classes = self.labels(y_S)
        others = (
            np.flatnonzero(y_S != self._class) if self._class is not None else np.arange(len(y_S))
        )
        if len(others) == len(y_S):
            valid = (
                f"must be one of the {classes} labels of the training samples, {y_S.min()} to"
                f" {y_S.max()}"
            )
            raise ConfigError("label", self.label, valid)
        self.need(len(others))
        device_S = np.full(len(y_S), keys.generator(1).integers(self.devices), np.int64)
        device_S[others] = _even(len(others), self.devices, keys)
        return DeviceSplit.group(device_S, self.devices)


class Natural(Partition):
    """One device per natural owner of the data (a person, a role, a carrier), in the order of the
    owners.

    There must be as many devices as owners; with ``largest`` there may be fewer, and the owners
    with the most training samples are taken. The samples of the others are then used by nobody.
    """

    def __init__(self, devices: int, largest: bool = False) -> None:
        super().__init__(devices)
        self.largest = largest

    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        if owner_S is None:
            valid = (
                "the data do not say whose samples they are; iid, dirichlet, pathological or"
                " quantity_skew would do"
            )
            raise ConfigError("/partition", "natural", valid)
        owners, code_S, size_O = np.unique(owner_S, return_inverse=True, return_counts=True)
        if len(owners) < self.devices or (len(owners) > self.devices and not self.largest):
            valid = f"the training data have {len(owners)} owners; devices={len(owners)} would do"
            if len(owners) > self.devices:
                valid += ", or partition.largest=true to take the owners with the most samples"
            raise ConfigError("/devices", self.devices, valid)
        taken = np.sort(np.argsort(-size_O, kind="stable")[: self.devices])
        device_O = np.full(len(owners), -1)
        device_O[taken] = np.arange(self.devices)
        return DeviceSplit.group(device_O[code_S], self.devices)


def _even(samples: int, devices: int, keys: Keys) -> Ints:
    """The device of each of so many samples: a random deal in which sizes differ by at most one."""
    return _shuffled(np.arange(samples) * devices // samples, keys)


def _shuffled(device_S: Ints, keys: Keys) -> Ints:
    """The same devices as often, for samples drawn without regard to anything."""
    mixed_S = np.empty_like(device_S)
    mixed_S[keys.generator(0).permutation(len(device_S))] = device_S
    return mixed_S


def _by_class(label_S: Ints, count_CN: Ints, keys: Keys) -> DeviceSplit:
    """Samples of each class drawn at random, ``count_CN[c, i]`` of class c for device i."""
    mixed = keys.generator(0).permutation(len(label_S))
    by_class = mixed[np.argsort(label_S[mixed], kind="stable")]
    classes, devices = count_CN.shape
    device_S = np.empty(len(label_S), np.int64)
    device_S[by_class] = np.repeat(np.tile(np.arange(devices), classes), count_CN.reshape(-1))
    return DeviceSplit.group(device_S, devices)


def _repair(count_CN: Ints, least: int) -> None:
    """Raise every device to ``least`` samples, in place, each time from the then largest device's
    commonest class.

    The loop is over the devices in need only. Ties go to the lower device; a giver never falls
    below ``least``.
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


def _trade(
    holds_NC: npt.NDArray[np.bool_], left: Ints, right: Ints, draw: np.random.Generator
) -> None:
    """Each pair swaps one class that only the left holds for one that only the right holds, if
    there are such.
    """
    only_left, only_right = holds_NC[left] & ~holds_NC[right], holds_NC[right] & ~holds_NC[left]
    # rows have equally many ones, so the other side then has one as well
    able = only_left.any(axis=1)
    left, right = left[able], right[able]
    give = np.argmax(draw.random((len(left), holds_NC.shape[1])) * only_left[able], axis=1)
    take = np.argmax(draw.random((len(left), holds_NC.shape[1])) * only_right[able], axis=1)
    holds_NC[left, give] = holds_NC[right, take] = False
    holds_NC[left, take] = holds_NC[right, give] = True
