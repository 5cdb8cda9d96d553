"""Fairness: how evenly a score is spread over the devices."""

from __future__ import annotations

from typing import Literal

import numpy as np

from swarm.simulation.metrics.base import Column, DeviceScores, Floats, ScoreMetric, Task
from swarm.simulation.metrics.formulas import accuracy


class Fairness(ScoreMetric):
    """Jain's index (Σ a_i)² / (M · Σ a_i²), which is 1 where all M devices score alike and 1/M
    where one has all (Jain, Chiu & Hawe 1984); and the gap between the mean and the mean of the
    worst tenth of the devices (of M devices, ⌈M/10⌉).

    Args:
        of: The score: ``accuracy``, or ``loss``, which numeric targets have too.
    """

    name = "fairness"
    label = "fairness"
    of_consensus = False
    kept = False

    def __init__(self, of: Literal["accuracy", "loss"] = "accuracy") -> None:
        self.of = of

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; only ``of=loss`` is measured on numeric targets."""
        if self.of == "accuracy" and not task.classification:
            return (
                "measures the accuracy on classes, and the targets of these data are numbers;"
                " of=loss would do"
            )
        return super().why_not(task)

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        if self.of == "loss":
            return scores.loss_M
        return accuracy(scores.hits_MC, scores.counts_C)

    def over_devices(self, values_M: Floats) -> dict[str, float]:
        """``fairness_jain``, none where all scores are 0, and ``fairness_worst_tenth_gap``."""
        worst_first = np.sort(values_M if self.of == "accuracy" else -values_M)
        tenth = worst_first[: -(-len(worst_first) // 10)]
        found = {"fairness_worst_tenth_gap": float(worst_first.mean() - tenth.mean())}
        squares = float(np.square(values_M).sum())
        if squares > 0:
            found["fairness_jain"] = float(values_M.sum()) ** 2 / (len(values_M) * squares)
        return found

    def columns(self) -> tuple[Column, ...]:
        """Two."""
        gap = f"gap of the worst tenth of the devices in {self.of}"
        return (
            Column("fairness_jain", f"Jain's index of {self.of}", "", "higher", self.surfaces),
            Column("fairness_worst_tenth_gap", gap, "", "lower", self.surfaces),
        )
