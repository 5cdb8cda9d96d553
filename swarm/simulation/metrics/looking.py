"""Metrics that look at devices in a way of their own: block by block, or at the whole swarm.

The other kinds of metrics get numbers that a run has counted. Those here are handed the devices
themselves: :class:`BlockMetric` a block of them at a time, in the process that hosts them, and
:class:`SwarmMetric` all of them, after an evaluation, in the process that runs the rounds.

**Why the bits do not depend on shards.** What :meth:`LooksAtBlocks.look` returns is one row for
each device. The engine puts the rows in the order of the device ids, whichever process they come
from, and only then are they reduced, in one process.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from swarm.simulation.metrics.base import DeviceMetric, Floats, Ints, Metric

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.metrics.views import BlockView, SwarmView

FLOAT = 8  # bytes


@dataclass(frozen=True)
class DeviceValues:
    """What a metric has seen of M devices: V numbers of each.

    Attributes:
        devices_M: The ids of the devices, ascending.
        values_MV: The numbers.
    """

    devices_M: Ints
    values_MV: Floats


class LooksAtBlocks(Metric):
    """A metric that makes some numbers of each device out of the device's parameters, in the
    process that hosts it."""

    looks = True

    @abstractmethod
    def width(self, experiment: Experiment) -> int:
        """V, how many numbers :meth:`look` makes of a device; the same for every device."""

    @abstractmethod
    def look(self, block: BlockView) -> Tensor:
        """The numbers of each of the B devices of a block, ``[B, V]``; any of them may be NaN.

        They may depend on the device and on its block only, and change nothing in the run."""

    def held_bytes(self, experiment: Experiment) -> int:
        """As :meth:`Metric.held_bytes`: the numbers of all devices, twice."""
        return 2 * FLOAT * self.width(experiment) * experiment.settings.devices


class BlockMetric(LooksAtBlocks, DeviceMetric):
    """A metric that has a value for each device, from what it has seen of the device's block.

    It looks at the devices that are evaluated, without those that are hostile, gone for good or yet
    to join. Its columns are those of every :class:`DeviceMetric`, and those of :meth:`together`.
    """

    of_consensus = False

    def held_bytes(self, experiment: Experiment) -> int:
        """As :meth:`Metric.held_bytes`: the numbers of all devices that are evaluated, twice."""
        devices, sample = experiment.settings.devices, experiment.settings.evaluate.devices
        return super().held_bytes(experiment) * min(devices, sample or devices) // devices

    @abstractmethod
    def values(self, found: DeviceValues) -> Floats:
        """Each device's value, ``[M]``; NaN for one that has none."""

    def together(self, found: DeviceValues) -> Mapping[str, float | None]:
        """Numbers of all these devices together, by their columns; None or NaN where there is none.
        A subclass that has some names their columns in :meth:`columns`."""
        return {}


class SwarmMetric(Metric):
    """A metric of the swarm as a whole, measured at every evaluation and after the last round.

    One that derives from :class:`LooksAtBlocks` too can look at the devices block by block
    (:meth:`SwarmView.look`). One whose ``looks`` is False is measured in runs with
    ``evaluate.accuracy=false`` as well, and in those that choose a learning rate.
    """

    looks = True

    @abstractmethod
    def measured(self, view: SwarmView) -> Mapping[str, float | None]:
        """The numbers of a record, each under the key of one of its columns, or, in a swarm with
        cohorts, under that key with ``_cohort_NAME`` behind it. None or NaN says that there is no
        number, as does a key that is left out.

        It keeps nothing between evaluations, as a resumed run would not have it, and changes
        nothing in the run."""
