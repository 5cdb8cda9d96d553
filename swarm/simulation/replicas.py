"""Replicas: a device that learns alone stands several times in one block, with a learning rate for
each. They learn from the same mini-batches, which are drawn once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.common.rows import MOST_NUMBERS
from swarm.communication.protocol.base import Rows
from swarm.learning.batch import Batch
from swarm.learning.update.policy import BatchPlan
from swarm.simulation.batch_loader import BatchLoader

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def most_replicas(e: Experiment) -> int:
    """How many replicas of its one device an experiment may have; 1 where a replica would not learn
    what the device learns.

    Their parameters, and the features of a mini-batch, fit into the cache of a CPU core, as beyond
    that a step of several takes as long as several steps.
    """
    c, s = e.communication, e.settings
    alone = s.devices == 1 and all(phase.learns for phase in c.phases) and c.network.ideal
    plain = c.hostile_N is None and c.fleet.hardware is None
    plain = plain and e.data.table is None and e.data.goal is None
    # what is drawn for a device, not for a sample, would differ, and the compiler has one rate
    drawn = e.learner.noisy or e.learner.by_device or s.init == "independent"
    if not (alone and plain) or drawn or e.data.privacy.unit or s.compute.compile:
        return 1
    features = e.data.stream.batch * e.data.dataset.x[:1].size
    return max(1, MOST_NUMBERS // max(e.model.layout.width, features))


def loader_of(e: Experiment, devices: Ints, rows: list[slice]) -> BatchLoader:
    """What loads the mini-batches of ``devices``, with the ``rows`` of each of their blocks."""
    kind = ReplicaLoader if e.data.split.replicas else BatchLoader
    return kind(e, devices, rows)


class ReplicaLoader(BatchLoader):
    """Loads the mini-batches of one device for its replicas, which are one block."""

    def __init__(self, experiment: Experiment, devices: Ints, rows: list[slice]) -> None:
        super().__init__(experiment, devices[:1], [slice(0, 1)])
        self._count = len(devices)

    def steps(self, plan: BatchPlan, active_n: Bools | None) -> Ints:
        """See :meth:`BatchLoader.steps`."""
        one = super().steps(plan, None if active_n is None else active_n[:1])
        return np.repeat(one, self._count)

    def batches(self, plan: BatchPlan, steps_n: Ints) -> Iterator[tuple[Rows, Batch]]:
        """See :meth:`BatchLoader.batches`."""
        for _, batch in super().batches(plan, steps_n[:1]):
            yield slice(0, self._count), batch.repeated(self._count)

    def end(self, plan: BatchPlan, steps_n: Ints) -> None:
        """See :meth:`BatchLoader.end`."""
        super().end(plan, steps_n[:1])

    def snapshot(self) -> dict[str, Tensor]:
        """See :meth:`BatchLoader.snapshot`."""
        found = super().snapshot()
        return {name: each.expand(self._count, *each.shape[1:]) for name, each in found.items()}

    def restore(self, rows: Mapping[str, Tensor]) -> None:
        """See :meth:`BatchLoader.restore`."""
        super().restore({name: each[:1] for name, each in rows.items()})
