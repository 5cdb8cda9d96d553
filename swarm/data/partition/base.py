"""The interface of a partition: a rule that assigns training samples to devices."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from swarm.common.errors import ConfigError, counted, of_the
from swarm.common.plugin import called, is_plugin, returned, shape_of
from swarm.common.rng import Keys
from swarm.config.aliases.old_members import OldMembers
from swarm.data.dataset import Dataset, DeviceSplit, Floats, Ints

Labels = Ints | Floats


class Partition(OldMembers, ABC):
    """A rule that assigns samples to ``devices`` devices.

    A new rule only has to implement :meth:`assign`.
    """

    def __init__(self, devices: int) -> None:
        self.devices = devices

    @abstractmethod
    def assign(self, y_S: Labels, owner_S: Ints | None, keys: Keys) -> DeviceSplit:
        """Say which device holds which of S training samples, by ids ``0 … S-1``.

        Every device needs at least one sample, and no sample may go to two devices. ``y_S`` are
        labels ``[S]`` or regression targets ``[S, T]``, ``owner_S`` natural owners ``[S]`` or None.
        Equal ``keys`` give equal splits. Raises ``ConfigError`` when the rule does not fit the
        samples.
        """

    def split(self, dataset: Dataset, keys: Keys) -> DeviceSplit:
        """Split the training samples of ``dataset`` with :meth:`assign`; the result has the data
        set's own sample ids.

        Raises ``ConfigError`` when the rule does not fit the samples, leaves a device without any,
        or deals a sample twice.
        """
        owner = None if dataset.owner is None else dataset.owner[dataset.train]
        holdings = self.assign(dataset.y[dataset.train], owner, keys)
        self._require_holdings(holdings, len(dataset.train))
        empty = np.flatnonzero(holdings.sizes_N == 0)
        if holdings.devices != self.devices or empty.size:
            found = (
                f"leaves device {empty[0]} without samples"
                if empty.size
                else f"made {counted(holdings.devices, 'device')}"
            )
            valid = (
                f"{found}; {of_the(self.devices, 'device')} needs at least one of"
                f" {counted(len(dataset.train), 'sample')}"
            )
            raise ConfigError("/partition", called(self), valid)
        times_S = np.bincount(holdings.sample, minlength=len(dataset.train))
        if int(times_S.max()) > 1:
            twice = holdings.device_S[holdings.sample == times_S.argmax()]
            found = "gives a sample to two devices; one may have it"
            if (twice == twice[0]).all():
                found = f"gives device {twice[0]} a sample twice; it may have it once"
            raise ConfigError("/partition", called(self), found)
        dealt = DeviceSplit(dataset.train[holdings.sample], holdings.ptr_N1).named_by_owner(dataset)
        return dealt if dataset.time is None else dealt.by_time(dataset.time)

    def _require_holdings(self, found: object, samples: int) -> None:
        """Refuse what :meth:`assign` returned, ``found``, if it is no split of so many samples."""
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
            needed = f"they must rise from 0 to the {counted(len(sample), 'sample')} dealt"
            raise returned(
                "partition", self, "assign", "returns ptr_N1 that cut the samples wrongly", needed
            )
        if len(sample) and not 0 <= sample.min() <= sample.max() < samples:
            text = f"returns sample ids {sample.min()} to {sample.max()}"
            raise returned("partition", self, "assign", text, f"they must be 0 to {samples - 1}")

    def need(self, samples: int, least: int = 1, key: str = "min_samples") -> None:
        """Raises ``ConfigError`` for fewer than ``least`` samples a device; ``key`` is the option
        that says how many these are.
        """
        if self.devices * least > samples:
            most = samples // least
            would = f"at most devices={most} would do" if most else "more samples are needed"
            would += f", or less than partition.{key}={least}" if least > 1 else ""
            valid = f"{samples} training samples cannot give every device {least}; {would}"
            raise ConfigError("/devices", self.devices, valid)

    def labels(self, y_S: Labels, owner_S: Ints | None = None) -> tuple[Ints, int]:
        """The labels as dense codes ``[S]`` of the classes that occur, and the number of these.

        Raises ``ConfigError`` for regression targets and for a label at every position; it names
        what would do, ``natural`` only if the samples have owners.
        """
        if y_S.dtype.kind not in "iu" or y_S.ndim != 1:
            found = "a label for every position" if y_S.dtype.kind in "iu" else "numeric targets"
            would = "iid or quantity_skew" if owner_S is None else "iid, quantity_skew or natural"
            valid = f"deals by class label and the data have {found}; {would} would do"
            raise ConfigError(
                "/partition",
                called(self) if is_plugin(self) else type(self).__name__.lower(),
                valid,
            )
        values, codes = np.unique(y_S, return_inverse=True)
        return codes.astype(np.int64), len(values)
