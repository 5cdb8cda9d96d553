"""The usual metrics: what ``metrics=[standard]`` measures, as far as it fits the data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.simulation.metrics import backdoor, formulas, local, stream, text
from swarm.simulation.metrics.base import (
    DeviceScores,
    Floats,
    Metric,
    RowMetric,
    ScoreMetric,
    Task,
    VoteMetric,
)
from swarm.simulation.metrics.column import DETAILS, PAGE, Column, Main, Surface


class _Usual(ScoreMetric):
    """One that the tables of a run, of a comparison and of a sweep have a place for already."""

    surfaces: tuple[Surface, ...] = PAGE
    skips_nan = False


class Accuracy(_Usual):
    """The share of the test samples that a device answers right."""

    name, label, better, target_kind = "accuracy", "accuracy", "higher", "classes"
    by_concept = True
    main: Main | None = "score"

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        return formulas.accuracy(scores.hits_MC, scores.counts_C)


class R2(_Usual):
    """1 − Σ(y − ŷ)²/Σ(y − ȳ)² over all targets."""

    name, label, better, target_kind = "r2", "R²", "higher", "numbers"
    main: Main | None = "score"

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        return formulas.r2(scores.hits_MC, scores.y_T.astype(np.float64))


class TestLoss(_Usual):
    """The mean test loss of a device."""

    name, label, better = "loss", "test loss", "lower"
    on_page = ("mean",)
    __test__ = False  # no test, whatever its name begins with

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        return scores.loss_M


class LabelAccuracy(_Usual):
    """The share of the test samples of the class ``evaluate.label`` that a device answers right."""

    name, label, better, target_kind = (
        "label_accuracy",
        "accuracy on one label",
        "higher",
        "classes",
    )
    on_page = ("mean", "p10")

    def __init__(self, label: int | None) -> None:
        self.of = label

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; it needs a label."""
        return super().why_not(task) or (
            "needs evaluate.label, the one class that it looks at" if self.of is None else None
        )

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        assert self.of is not None
        return formulas.label_accuracy(scores.hits_MC, scores.counts_C, self.of)


class Perplexity(_Usual):
    """e^loss, of labels for every position."""

    name, label, better, target_kind = "perplexity", "perplexity", "lower", "classes"
    surfaces: tuple[Surface, ...] = DETAILS
    on_page = ("mean", "p90")

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; it needs a label for every position, and cross-entropy."""
        reason = "needs a label for every position of a sample, as texts have"
        if not task.cross_entropy:
            reason = "needs train.loss=cross_entropy, which it is made of"
        fits = task.sequence and task.cross_entropy
        return super().why_not(task) or (None if fits else reason)

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        with np.errstate(over="ignore"):  # of a rate that is too high
            return np.asarray(np.exp(scores.loss_M))


class OwnAccuracy(_Usual):
    """The accuracy with the test samples weighed by a device's own mix of labels."""

    name, label, better, target_kind = (
        "own_accuracy",
        "own-distribution accuracy",
        "higher",
        "classes",
    )
    surfaces: tuple[Surface, ...] = DETAILS
    head = "own distribution"
    of_consensus = False
    skips_nan = True  # of a device that has no label of the test set
    on_page = ("mean",)

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; ``evaluate.local=false`` leaves it out."""
        return super().why_not(task) or (None if task.local else "needs evaluate.local=true")

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        if scores.mix_MC is None:
            return np.full(len(scores.loss_M), np.nan)
        return formulas.own_accuracy(scores.hits_MC, scores.counts_C, scores.mix_MC)


class EnsembleAccuracy(VoteMetric):
    """The accuracy of the answer that most devices give."""

    name, label, better, target_kind = (
        "ensemble_accuracy",
        "accuracy of the ensemble",
        "higher",
        "classes",
    )
    surfaces: tuple[Surface, ...] = DETAILS
    head = "ensemble"

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; ``evaluate.ensemble=false`` leaves it out."""
        return super().why_not(task) or (None if task.ensemble else "needs evaluate.ensemble=true")

    def value(self, votes_TC: npt.NDArray[np.int64], y_T: npt.NDArray[np.int64]) -> float:
        """See :meth:`VoteMetric.value`."""
        return formulas.majority(votes_TC, y_T)


class ConsensusDistance(RowMetric):
    """√((1/N) Σ_i ‖x_i − x̄‖²): the root mean square distance of a device from the mean model."""

    name, label, better = "consensus_distance", "consensus distance", None
    main: Main | None = "distance"
    surfaces: tuple[Surface, ...] = PAGE
    skips_nan = False

    def value(self, x_BP: Tensor, mean_P: Tensor) -> Tensor:
        """‖x_i − x̄‖² of each device."""
        return (x_BP - mean_P.to(x_BP)).square().sum(1)

    def over_devices(self, values_M: Floats) -> dict[str, float]:
        """The root of their mean."""
        return {self.name: float(np.sqrt(values_M.mean()))}

    def columns(self) -> tuple[Column, ...]:
        """One."""
        return Metric.columns(self)


def usual(label: int | None) -> tuple[Metric, ...]:
    """All of them, whatever the data are; ``label`` is the class of ``evaluate.label``."""
    return (
        Accuracy(),
        R2(),
        TestLoss(),
        LabelAccuracy(label),
        Perplexity(),
        text.BitsPerByte(),
        EnsembleAccuracy(),
        OwnAccuracy(),
        local.LocalAccuracy(),
        local.LocalError(),
        local.LocalR2(),
        text.LocalPerplexity(),
        text.LocalBitsPerByte(),
        backdoor.BackdoorSuccess(),
        ConsensusDistance(),
        stream.PrequentialAccuracy(),
        stream.PrequentialError(),
        stream.RoundAccuracy(),
        stream.FadingAccuracy(),
        stream.RoundError(),
        stream.FadingError(),
    )
