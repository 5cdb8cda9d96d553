"""The usual metrics of streams: how well devices predict samples before they learn from them."""

from __future__ import annotations

import numpy as np

from swarm.simulation.metrics.base import Floats, StreamCounts, StreamMetric
from swarm.simulation.metrics.column import DETAILS, PAGE, Surface


def _ratio(part: float, whole: float) -> float | None:
    """``part / whole``; None of nothing."""
    return float(part) / float(whole) if whole else None


class _Prequential(StreamMetric):
    """The mean score of all samples since the start."""

    surfaces: tuple[Surface, ...] = DETAILS

    def value(self, counts: StreamCounts) -> float | None:
        """See :meth:`StreamMetric.value`."""
        return _ratio(counts.scores_N.sum(), counts.samples_N.sum())

    def values(self, counts: StreamCounts) -> Floats:
        """See :meth:`StreamMetric.values`."""
        return counts.scores_N / np.where(counts.samples_N, counts.samples_N, np.nan)


class _Round(StreamMetric):
    """The mean score of the samples of this round."""

    surfaces: tuple[Surface, ...] = PAGE

    def value(self, counts: StreamCounts) -> float | None:
        """See :meth:`StreamMetric.value`."""
        return _ratio(counts.round_scores_N.sum(), counts.round_samples_N.sum())


class _Fading(StreamMetric):
    """The mean score of all samples, those of earlier rounds counting less and less."""

    surfaces: tuple[Surface, ...] = PAGE

    def value(self, counts: StreamCounts) -> float | None:
        """See :meth:`StreamMetric.value`."""
        return _ratio(counts.fading_scores, counts.fading_samples)


class PrequentialAccuracy(_Prequential):
    """The share of all samples so far that were predicted right."""

    name, better, target_kind = "prequential_accuracy", "higher", "classes"
    label, head = "prequential accuracy", "prequential"
    kept = True


class PrequentialError(_Prequential):
    """The mean squared error of the predictions of all samples so far."""

    name, better, target_kind = "prequential_mse", "lower", "numbers"
    label = "prequential squared error"


class RoundAccuracy(_Round):
    """The share of the samples of a round that were predicted right."""

    name, better, target_kind = "stream_accuracy", "higher", "classes"
    label = "prequential accuracy of the round"


class RoundError(_Round):
    """The mean squared error of the predictions of the samples of a round."""

    name, better, target_kind = "stream_mse", "lower", "numbers"
    label = "prequential squared error of the round"


class FadingAccuracy(_Fading):
    """The share of all samples that were predicted right, those of earlier rounds fading."""

    name, better, target_kind = "faded_accuracy", "higher", "classes"
    label = "prequential accuracy, fading"


class FadingError(_Fading):
    """The mean squared error of the predictions of all samples, those of earlier rounds fading."""

    name, better, target_kind = "faded_mse", "lower", "numbers"
    label = "prequential squared error, fading"
