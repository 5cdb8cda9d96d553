"""Small and large models together: a device with a small model asks one with a large model where it
is unsure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.communication.topology.graph import Graph
from swarm.simulation.metrics.base import Floats, Ints, Task
from swarm.simulation.metrics.column import PAGE, RECORDED, Column
from swarm.simulation.metrics.looking import LooksAtBlocks, SwarmMetric

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.metrics.views import BlockView, SwarmView

Bools = npt.NDArray[np.bool_]
THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
HELD = 20  # bytes of an answer at the peak: how sure and which class, and whether both are right


class Asking(LooksAtBlocks, SwarmMetric):
    """For each of ``thresholds``: device i of a small cohort answers a test sample by itself where
    its confidence, the largest probability of its softmax, is at least the threshold, and otherwise
    takes the answer of a device of the large cohort.

    The large cohort is the one whose predictions take most FLOP. A device asks the nearest device
    of it, by links of the round's graph, and of several the one with the smallest id; one that
    reaches none answers by itself. Measured are, as means over the honest small devices: the
    accuracy of these answers, the share of samples that are asked, FLOP of an answer (the small
    model's, and the large one's for each sample that is asked), and bytes of an answer (the
    features of a sample there and the probabilities of all classes back, over every link of the
    way). Of an answer with two equally likely classes the first counts.

    Raises :class:`~swarm.common.errors.ConfigError` for thresholds that are outside 0 to 1, or do
    not ascend.
    """

    name = "asking"
    label = "asking a large model"
    better = "higher"
    target_kind = "classes"
    uses = ("topology",)  # which says who is asked

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS) -> None:
        for each in thresholds:
            number("thresholds", each, 0, 1)
        self.thresholds = tuple(float(each) for each in thresholds)
        if not thresholds or any(np.diff(self.thresholds) <= 0):
            valid = "must be one or more numbers from 0 to 1 that ascend, such as [0, 0.5, 0.9]"
            raise ConfigError("thresholds", list(thresholds), valid)

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; a sample must have one class."""
        if task.sequence:
            return "measures samples of one class each, and those of these data have several"
        return super().why_not(task)

    def why_not_in(self, experiment: Experiment) -> str | None:
        """As :meth:`Metric.why_not_in`; there must be large models and small ones, and links of
        both directions, as by those of one an answer does not come back."""
        cohorts, valid = experiment.model.cohorts, "must be left out of metrics"
        if cohorts is None or large_cohort(cohorts.prediction_flops_N).all():
            why = "where all devices have a model of one size, as in any arm without cohorts={…}"
            return f"{valid} {why}"
        if experiment.communication.graph(1).directed:
            return f"{valid} with a directed topology"
        return None

    def held_bytes(self, experiment: Experiment) -> int:
        """The bytes of all devices' answers."""
        return HELD * experiment.settings.devices * len(experiment.data.dataset.test)

    def width(self, experiment: Experiment) -> int:
        """2 · T for T test samples."""
        return 2 * len(experiment.data.dataset.test)

    def look(self, block: BlockView) -> Tensor:
        """How sure each device is of its answer to each test sample, which is the largest
        probability of a class, and then which classes these are, ``[B, 2 · T]``."""
        found = []
        for out_BCb in block.outputs(block.experiment.data.dataset.test):
            sure_Bb, class_Bb = torch.softmax(out_BCb, 1).amax(1), out_BCb.argmax(1)
            found.append(torch.stack([sure_Bb, class_Bb.to(sure_Bb)], 1).cpu().double())
        return torch.cat(found, 2).flatten(1)

    def measured(self, view: SwarmView) -> dict[str, float]:
        """No numbers where no honest small device is there."""
        e, cohorts = view.experiment, view.experiment.model.cohorts
        assert cohorts is not None, "checked before the start"
        c, data, first = e.communication, e.data.dataset, max(view.round, 1)
        there_N = c.network.members(first)
        there_N = np.ones(e.settings.devices, bool) if there_N is None else there_N
        flops_N = cohorts.prediction_flops_N / e.settings.train.batch
        large_N = large_cohort(flops_N)
        small = np.flatnonzero(~large_N & there_N & c.honest_N)
        if not len(small):
            return {}
        asked_N, hops_N = nearest(c.graph(first), large_N & there_N)
        sure_NT, class_NT = np.split(view.look(self).values_MV, 2, axis=1)
        answers = Answers(sure_NT, class_NT == data.y[data.test].astype(np.float64))
        reaches_n, numbers = hops_N[small] >= 0, data.x[:1].size + e.data.outputs
        way_n = np.where(reaches_n, hops_N[small] * numbers * c.number_bits / 8, np.nan)
        asked_n = asked_N[small]  # of who reaches nobody: any
        found = self.together(
            answers.of(small), answers.of(asked_n), flops_N[small], float(flops_N.max()), way_n
        )
        found["asking_reach"] = float(reaches_n.mean())
        if reaches_n.any():
            right_n = answers.right_nT[asked_n[reaches_n]].mean(1)
            found["asking_asked_accuracy"] = float(right_n.mean())
        return found

    def columns(self) -> tuple[Column, ...]:
        """Four numbers of each threshold, and two of those who are asked."""
        found = [
            Column("asking_reach", "small devices that reach a large one", "", None, RECORDED),
            Column("asking_asked_accuracy", "accuracy of those asked", "", "higher", RECORDED),
        ]
        for each in self.thresholds:
            end, below = suffix(each), f"asking below {each:g}"
            found.append(Column(f"asking_accuracy_{end}", f"accuracy, {below}", "", "higher", PAGE))
            for what, said in (
                ("calls", "share asked"),
                ("flops", "FLOP each"),
                ("bytes", "bytes each"),
            ):
                key, label = f"asking_{what}_{end}", f"{said}, {below}"
                found.append(Column(key, label, "", "lower", RECORDED))
        return tuple(found)

    def together(
        self, own: Answers, asked: Answers, flops_n: Floats, large_flops: float, way_n: Floats
    ) -> dict[str, float]:
        """The numbers of all thresholds for n small devices, given their own answers and those of
        whom each asks, FLOP of an own answer and of a large model's, and the bytes of a call; NaN
        of a device that reaches nobody."""
        found: dict[str, float] = {}
        reaches_n1 = ~np.isnan(way_n)[:, None]
        cost_n = np.where(reaches_n1[:, 0], way_n, 0.0)
        for each in self.thresholds:
            asks_nT = (own.sure_nT < each) & reaches_n1
            right_n = np.where(asks_nT, asked.right_nT, own.right_nT).mean(1)
            calls_n, end = asks_nT.mean(1), suffix(each)
            found |= {
                f"asking_accuracy_{end}": float(right_n.mean()),
                f"asking_calls_{end}": float(calls_n.mean()),
                f"asking_flops_{end}": float((flops_n + calls_n * large_flops).mean()),
                f"asking_bytes_{end}": float((calls_n * cost_n).mean()),
            }
        return found


class Answers:
    """What n devices answer to T samples: how sure each is, and whether it is right, ``[n, T]``."""

    def __init__(self, sure_nT: Floats, right_nT: Bools) -> None:
        self.sure_nT, self.right_nT = sure_nT, right_nT

    def of(self, some: Ints) -> Answers:
        """Those of some of the devices."""
        return Answers(self.sure_nT[some], self.right_nT[some])


def suffix(threshold: float) -> str:
    """How keys of a threshold end: its hundredths, such as ``50`` and ``99_5``."""
    return f"{100 * threshold:.10g}".replace(".", "_")


def nearest(graph: Graph, large_N: Bools) -> tuple[Ints, Ints]:
    """For each device the nearest of ``large_N`` by links, the one with the smallest id of several,
    and the number of links to it, ``[N]``; -1 both where there is none."""
    n = graph.n
    asked_N = np.where(large_N, np.arange(n), n)
    hops_N = np.where(large_N, 0, -1)
    for hop in range(1, n):
        onward_E = (hops_N[graph.dst_E] == hop - 1) & (hops_N[graph.src_E] < 0)
        if not onward_E.any():
            break
        src, dst = graph.src_E[onward_E], graph.dst_E[onward_E]
        np.minimum.at(asked_N, src, asked_N[dst])
        hops_N[src] = hop
    return np.where(hops_N < 0, -1, asked_N), hops_N


def large_cohort(flops_N: Floats) -> Bools:
    """Which devices have the model whose predictions take most FLOP, ``[N]``."""
    return np.asarray(flops_N == flops_N.max())
