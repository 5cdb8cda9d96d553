"""What metrics see that look at the devices themselves: a block of them, or the whole swarm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.simulation.evaluation import OwnSamples
from swarm.simulation.metrics.base import Floats, Ints
from swarm.simulation.metrics.looking import DeviceValues, LooksAtBlocks

if TYPE_CHECKING:
    from swarm.simulation.counters import Counters
    from swarm.simulation.engine.base import Engine, Evaluation
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.shard import Shard

Bools = npt.NDArray[np.bool_]


class BlockView:
    """A block of B devices, in the process that hosts them.

    Attributes:
        experiment: The arm: its settings, data, model and communication.
        devices_B: The ids of the devices.
    """

    def __init__(self, shard: Shard, rows: slice) -> None:
        self.experiment, self.devices_B = shard.experiment, shard.devices[rows]
        self._shard, self._rows = shard, rows
        self._evaluator = shard.evaluator.of(self.devices_B)

    @property
    def x_BP(self) -> Tensor:
        """The parameters of the models that the devices share, on the compute device: a copy. In a
        swarm with cohorts ``experiment.model.own_row`` cuts a device's own out of its row."""
        return self._shard.whole(self._rows).clone()

    def losses(self, ids: Sequence[Ints]) -> Tensor:
        """The loss of each device on each of the samples that ``ids`` lists for it, ``[B, T]`` for
        the longest list; NaN behind the last of a shorter one. Of a sample with several labels or
        targets it is their mean."""
        own, loader = OwnSamples.listed(ids), self._shard.batch_loader
        x_BP = self._shard.whole(self._rows)
        return self._evaluator.own_losses(x_BP, own, loader.x_S, loader.y_S)

    def outputs(self, samples: Ints) -> Iterator[Tensor]:
        """What each device answers to the samples with these ids, ``[B, C, b]`` for b of them at a
        time, in their order: of classes the logits, of numbers the targets in their unit of
        learning. Of text each position counts as a sample."""
        loader = self._shard.batch_loader
        x_T, y_T = loader.samples(samples)
        each = self._evaluator.labels(y_T)
        return self._evaluator.outputs_of(self._shard.whole(self._rows), x_T, each)


@dataclass(frozen=True)
class SwarmView:
    """The swarm at an evaluation, as the process sees it that runs the rounds.

    Attributes:
        experiment: The arm: its settings, data, model and communication.
        engine: What runs it; a metric asks the methods below.
        round: The rounds that have been played.
        counters: What has been counted since the start; its arrays cannot be written to.
        member_N: Which devices count: honest ones, without those gone for good or yet to join.
        looked_at: The ids of the devices that are evaluated, ascending, whether they count or not.
    """

    experiment: Experiment
    engine: Engine
    round: int
    counters: Counters
    member_N: Bools
    looked_at: Ints

    @property
    def last(self) -> bool:
        """Whether the arm has played all of its rounds."""
        return self.round >= self.experiment.settings.rounds

    @cached_property
    def evaluated(self) -> Ints:
        """The ids of the devices that are evaluated and count, ascending."""
        return self.looked_at[self.member_N[self.looked_at]]

    @cached_property
    def x_NP(self) -> Tensor:
        """The parameters of the models that all devices share, ``[N, P]``, on the CPU: a copy,
        which :meth:`Metric.held_bytes` must count."""
        return self.engine.current()["x"].detach().to("cpu", copy=True)

    def mean(self, shares_N: Floats) -> Tensor:
        """Σ_i share_i · x_i over all devices, ``[P]`` in float64, with the same bits on every
        engine."""
        return self.engine.total(shares_N)

    def evaluate(self, samples: Ints) -> Evaluation:
        """The losses and right answers of the devices ``evaluated`` on the samples with these
        ids."""
        found = self.engine.evaluate(np.asarray(samples), self._blocks(self.evaluated))
        return found.members(np.isin(found.devices_M, self.evaluated))

    def look(self, metric: LooksAtBlocks, devices: Ints | None = None) -> DeviceValues:
        """What ``metric`` sees of these ``devices`` (None: of all, whoever they are); their whole
        blocks are looked at."""
        wanted = np.arange(len(self.member_N)) if devices is None else np.unique(devices)
        found = self.engine.evaluate(metric.name, self._blocks(wanted))
        there_M = np.isin(found.devices_M, wanted)
        return DeviceValues(found.devices_M[there_M], found.values_MV[there_M])

    def _blocks(self, devices: Ints) -> Ints:
        """The blocks in which these devices are."""
        blocks = self.experiment.blocks
        first = np.array([blocks.first(block) for block in range(len(blocks))])
        return np.unique(np.searchsorted(first, devices, side="right") - 1)
