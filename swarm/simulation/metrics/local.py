"""Metrics of samples of a device's own that no device learns from: of personalisation."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from swarm.simulation.metrics.base import DeviceMetric, Floats, Ints, Task
from swarm.simulation.metrics.column import Main


@dataclass(frozen=True)
class LocalScores:
    """What M devices score, each on held-out samples of its own.

    Attributes:
        devices_M: The ids of the devices.
        samples_M: How many such samples each has; of text, how many positions these have.
        loss_M: Mean loss; NaN without samples.
        hits_MC: Right answers by true class (a tie of m counts 1/m), or in regression the summed
            squared error by target, in the unit in which targets are learned.
        spread_M: In regression Σ(y − ȳ)² over the device's own samples and all targets, in that
            unit.
        span_C: What 1 in that unit is in each target's own unit; one number if that is 1.
        text_bytes_M: Of text: how many bytes of UTF-8 each device's labels stand for.
    """

    devices_M: Ints
    samples_M: Ints
    loss_M: Floats
    hits_MC: Floats
    spread_M: Floats
    span_C: Floats
    text_bytes_M: Floats | None = None


class LocalMetric(DeviceMetric):
    """A metric of how each device does on held-out samples of its own."""

    looks = True
    of_consensus = False

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; it needs such samples, and ``evaluate.local=false`` leaves it
        out."""
        if (reason := super().why_not(task)) is not None:
            return reason
        if not task.local:
            return "needs evaluate.local=true"
        if not task.own_rows:
            return (
                "needs samples of each device's own that nobody learns from; data.local_test=0.2"
                " holds some out"
            )
        return None

    @abstractmethod
    def values(self, scores: LocalScores) -> Floats:
        """Each device's value, ``[M]``; NaN for one that has none, as one without samples."""


class LocalAccuracy(LocalMetric):
    """The share of its own held-out samples that a device answers right."""

    name, label, better, target_kind = (
        "local_accuracy",
        "accuracy on own held-out samples",
        "higher",
        "classes",
    )
    head = "own samples"
    main: Main | None = "score"

    def values(self, scores: LocalScores) -> Floats:
        """See :meth:`LocalMetric.values`."""
        return _over(scores.hits_MC.sum(1), scores.samples_M)


class LocalError(LocalMetric):
    """The mean squared error on a device's own held-out samples, in the targets' own unit."""

    name, label, better, target_kind = (
        "local_mse",
        "squared error on own held-out samples",
        "lower",
        "numbers",
    )
    head = "own samples, squared error"

    def values(self, scores: LocalScores) -> Floats:
        """See :meth:`LocalMetric.values`."""
        return _over((scores.hits_MC * scores.span_C**2).mean(1), scores.samples_M)


class LocalR2(LocalMetric):
    """1 − Σ(y − ŷ)²/Σ(y − ȳ)² over a device's own held-out samples, with their own mean ȳ; none
    where all of them have the same targets."""

    name, label, better, target_kind = (
        "local_r2",
        "R² on own held-out samples",
        "higher",
        "numbers",
    )
    head = "own samples"
    main: Main | None = "score"

    def values(self, scores: LocalScores) -> Floats:
        """See :meth:`LocalMetric.values`."""
        return 1.0 - _over(scores.hits_MC.sum(1), scores.spread_M)


def _over(part_M: Floats, whole_M: Floats | Ints) -> Floats:
    """``part / whole``; NaN of nothing."""
    return np.asarray(part_M / np.where(whole_M > 0, whole_M, np.nan))
