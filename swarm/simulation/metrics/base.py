"""What a metric is: a name, how it is computed, and where its numbers are shown.

What a metric is computed from is its base class:

- :class:`OutputMetric` sees the outputs of every device on the test samples, and
  :class:`ScoreMetric` what the evaluation has counted already (the loss and the right answers);
- :class:`VoteMetric` sees how many devices answer what;
- :class:`~swarm.simulation.metrics.local.LocalMetric` sees how each device does on held-out samples
  of its own;
- :class:`RowMetric` sees the parameters of the devices beside their mean;
- :class:`StreamMetric` sees how well devices predicted samples before they learned from them;
- :class:`TrafficMetric` sees what was sent in a round, and since the start;
- :class:`~swarm.simulation.metrics.looking.BlockMetric` looks at the devices of a block in a way of
  its own, and :class:`~swarm.simulation.metrics.looking.SwarmMetric` at the swarm as a whole.

What a metric needs of a run it says itself (:meth:`Metric.why_not`, :meth:`Metric.why_not_in`), as
it does what memory it takes (:meth:`Metric.held_bytes`) and of which settings it makes use
(:attr:`Metric.uses`).

**How results merge.** A metric of devices gives one number for each device, computed within its
block from that device's own results. The engine puts these numbers in the order of the device ids,
and :meth:`DeviceMetric.over_devices` reduces them once, in one process. No sum ever runs over the
parts that happen to live in one process, so that a metric has the same bits on every engine, in any
number of shards or actors.

**What it takes of memory.** An :class:`OutputMetric` keeps one tensor for the block that is looked
at, which it declares in :meth:`OutputMetric.state`. It is gone before the next block is looked at;
what remains is one number a device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.simulation.metrics.column import (
    EVERYWHERE,
    PAGE,
    PARTS,
    RECORDED,
    Direction,
    Main,
    Surface,
)
from swarm.simulation.metrics.column import Column as Column  # plug-ins get it from here
from swarm.simulation.metrics.formulas import spread
from swarm.simulation.metrics.task import Task as Task  # likewise

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DeviceScores:
    """What an evaluation has counted of M devices on T samples, whatever the metrics are.

    Attributes:
        devices_M: The ids of the devices; empty for the consensus model, which is nobody's.
        loss_M: Mean loss.
        hits_MC: Right answers by true class (a tie of m counts 1/m), or in regression the summed
            squared error by target, in the unit in which targets are learned
            (:attr:`Task.target_span`).
        y_T: The labels, one for each position of text; ``[T, C]`` in regression.
        counts_C: How many samples each class has; in regression how many there are.
        mix_MC: Each device's own shares of the classes, where it is asked for.
        text_bytes: Of text: how many bytes of UTF-8 the labels stand for.
    """

    devices_M: Ints
    loss_M: Floats
    hits_MC: Floats
    y_T: npt.NDArray[np.generic]
    counts_C: Floats
    mix_MC: Floats | None = None
    text_bytes: float = 0.0


@dataclass(frozen=True)
class TrafficCounts:
    """Messages and bytes of each device, ``[N]``, in a round or since the start."""

    sent_N: Ints
    received_N: Ints
    lost_N: Ints
    late_N: Ints
    bytes_N: Ints


@dataclass(frozen=True)
class StreamCounts:
    """Samples that devices have met for the first time, and how well they predicted them before
    they learned from them.

    A sample's score is 1 for a right answer (1/m where it ties with m - 1 others) and 0 for a wrong
    one; of numeric targets it is the squared error.

    Attributes:
        round_samples_N: Samples that each device has met in this round, ``[N]``.
        round_scores_N: The sum of their scores.
        samples_N: Samples that each device has met since the start.
        scores_N: The sum of their scores.
        fading_samples: Samples of all devices, those of earlier rounds fading by
            ``evaluate.fading``.
        fading_scores: The sum of their scores, fading alike.
    """

    round_samples_N: Floats
    round_scores_N: Floats
    samples_N: Floats
    scores_N: Floats
    fading_samples: float
    fading_scores: float


class Metric(ABC):
    """One thing that is measured.

    A subclass sets the attributes below, or its ``__init__`` does. Its parameters are the keys of
    its yaml in ``conf/metric/``.

    Attributes:
        name: What its keys in the records begin with; no two metrics of a run share one.
        label: What reports call it.
        unit: Its unit, or empty for a plain number.
        better: Whether a higher or a lower value is better; None where neither is.
        surfaces: Which surfaces show its main number: ``table`` (at the end of a run, and on its
            page), ``details`` (the table of the page only), ``page`` (curves), ``compare``,
            ``sweep``, ``tracker``.
        head: What stands over it in a table, where that is shorter than its label.
        main: ``score`` where it can be the main score of a run, which pages, tables and sweeps put
            in front: the first such metric of the list that has a value is. ``distance`` where it
            takes that place in a run that has no score, because nothing is learned.
        looks: Whether devices are looked at on the test samples for it; it is left out where
            ``evaluate.accuracy=false``, as in the runs that choose a learning rate.
        target_kind: ``classes`` or ``numbers`` where it can only be measured on such targets.
        uses: Keys of settings that it makes use of, such as ``topology``: a run with this metric
            does not warn that they have no effect where no message follows them.
    """

    name: str
    label: str
    unit: str = ""
    better: Direction | None = None
    surfaces: tuple[Surface, ...] = EVERYWHERE
    head: str = ""
    main: Main | None = None
    looks: ClassVar[bool] = False
    target_kind: ClassVar[Literal["classes", "numbers"] | None] = None
    uses: ClassVar[tuple[str, ...]] = ()

    def why_not(self, task: Task) -> str | None:
        """Why it cannot be measured on ``task``, as the end of a sentence; None where it can."""
        if self.target_kind == "classes" and not task.classification:
            return "measures classes, and the targets of these data are numbers"
        if self.target_kind == "numbers" and task.classification:
            return "measures numeric targets, and those of these data are classes"
        return None

    def why_not_in(self, experiment: Experiment) -> str | None:
        """Why it cannot be measured in the arm ``experiment``, as the end of a sentence; None where
        it can. It is asked before the start, for each arm, after :meth:`why_not`."""
        return None

    def held_bytes(self, experiment: Experiment) -> int:
        """The bytes that it takes while it is computed, beside the state of an
        :class:`OutputMetric` and a few numbers a device. They count in the memory that a run is
        checked for before it starts."""
        return 0

    def columns(self) -> tuple[Column, ...]:
        """Every number that it may put into a record; one, called as the metric is, unless a
        subclass says otherwise."""
        text = self.name, self.label, self.unit
        return (Column(*text, self.better, self.surfaces, self.head, self.main),)


class DeviceMetric(Metric):
    """A metric that has a value for each device.

    Attributes:
        of_consensus: Whether the model whose parameters are the mean is measured too, under
            ``consensus_NAME``.
        kept: Whether each device's value is kept in ``devices.parquet``.
        skips_nan: Whether devices without a value are left out; otherwise one that has none leaves
            nobody any.
        by_concept: Whether data that drift have its mean for each concept, too.
        on_page: Of mean, min, p10, median, p90 and max those that the page shows; None for the
            mean, the median, and the worst decile and device.
    """

    of_consensus: bool = True
    kept: bool = True
    skips_nan: bool = True
    by_concept: bool = False
    on_page: tuple[str, ...] | None = None

    def over_devices(self, values_M: Floats) -> dict[str, float]:
        """The numbers of a record from the values of at least one device, none of them NaN: their
        mean and five quantiles, unless a subclass says otherwise."""
        return spread(self.name, values_M)

    def columns(self) -> tuple[Column, ...]:
        """``NAME_mean``, which its surfaces show; the worst decile, the worst and the median
        device and the consensus model, which the page shows; and the other quantiles."""
        said = {"mean": "mean over devices", "median": "median device"}
        worst = {"lower": ("p90", "max")}.get(self.better or "", ("p10", "min"))
        said |= dict(zip(worst, ("worst decile", "worst device"), strict=True))
        shown = self.on_page or tuple(said)
        found = [
            Column(
                f"{self.name}_{part}",
                f"{self.label}, {said[part]}" if part in said else "",
                self.unit,
                self.better,
                self.surfaces if part == "mean" else self._page(part in shown),
                self.head if part == "mean" else "",
                self.main if part == "mean" else None,
            )
            for part in PARTS
        ]
        if self.of_consensus:
            label = f"{self.label} of the consensus model"
            key = f"consensus_{self.name}"
            found.append(Column(key, label, self.unit, self.better, self._page(True)))
        return tuple(found)

    def _page(self, shown: bool) -> tuple[Surface, ...]:
        wanted = PAGE if shown else RECORDED
        return tuple(each for each in wanted if each in self.surfaces)


class _Evaluated(DeviceMetric):
    """A metric of devices that are looked at on the test samples."""

    looks = True


class OutputMetric(_Evaluated):
    """A metric of what a device answers to the test samples.

    A block of B devices is looked at in chunks of samples: :meth:`state` makes what is kept of the
    block, :meth:`add` takes in a chunk, :meth:`value` gives each device's value. The chunks are the
    same on every engine. All that is done must treat each device by itself.
    """

    @abstractmethod
    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        """Zeros, in float64, of shape ``[devices, …]``: all that is kept of a block.

        Its size counts in the memory that a run is checked for before it starts.
        """

    @abstractmethod
    def add(self, state_B: Tensor, out_BCb: Tensor, y_b: Tensor, at: int) -> None:
        """Take b samples into the state, in place.

        ``out_BCb``: the outputs (of classes: logits), ``y_b``: the labels ``[b]``, or the targets
        ``[b, C]``; ``at``: the number of the first of these samples. Numeric outputs and targets
        are in the unit in which models learn (``data.target_scale``), of which a constructor with
        a parameter ``target_span`` is told (:attr:`Task.target_span`).
        """

    @abstractmethod
    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        """Each device's value, ``[B]``; NaN for one that has none. ``y_T``: all labels.

        Of a metric of several numbers a device: ``[B, V]``."""

    def numbers(self, outputs: int) -> int:
        """V, how many numbers :meth:`value` gives for a device, of a model with so many outputs;
        more than one where a device's value depends on what others do (:meth:`compared`)."""
        return 1

    def compared(self, values_MV: Floats) -> Floats:
        """Each device's value, ``[M]``, from the V numbers of every device that is looked at."""
        return values_MV[:, 0]


class ScoreMetric(_Evaluated):
    """A metric of the losses and right answers that an evaluation counts anyway."""

    @abstractmethod
    def values(self, scores: DeviceScores) -> Floats:
        """Each device's value, ``[M]``; NaN for one that has none."""


class VoteMetric(Metric):
    """A metric of all devices' answers together, each of which votes for a class.

    Votes are whole numbers, so that their sum over the blocks has no order.
    """

    looks = True

    @abstractmethod
    def value(self, votes_TC: Ints, y_T: Ints) -> float:
        """The number of a record, from how many devices answer each class, and the labels."""


class RowMetric(DeviceMetric):
    """A metric of the devices' parameters."""

    of_consensus = False
    kept = False

    @abstractmethod
    def value(self, x_BP: Tensor, mean_P: Tensor) -> Tensor:
        """Each device's value, ``[B]``, from the rows of a block and the mean over the swarm's
        members (in float64)."""


class StreamMetric(Metric):
    """A metric of how well devices predict samples before they learn from them; it is in the record
    of every round after the start in which devices learn.

    Attributes:
        kept: Whether each device's value is kept in ``devices.parquet`` where data are a stream.
    """

    kept: bool = False

    @abstractmethod
    def value(self, counts: StreamCounts) -> float | None:
        """The number of a record, or None where there is none. It keeps nothing between rounds: a
        resumed run goes on from the counts alone."""

    def values(self, counts: StreamCounts) -> Floats:
        """Each device's value, ``[N]``; NaN for one that has none. Only asked of a metric that is
        ``kept``."""
        raise NotImplementedError


class TrafficMetric(Metric):
    """A metric of what was sent; it is in the record of every round after the start."""

    @abstractmethod
    def value(self, round: TrafficCounts, total: TrafficCounts) -> float | None:
        """The number of a record, or None where there is none; from the counts of this round and
        those since the start. It keeps nothing between rounds: a resumed run goes on from the
        counts alone."""
