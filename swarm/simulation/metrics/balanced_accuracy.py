"""Balanced accuracy: the recall of each class, averaged over the classes."""

from __future__ import annotations

import numpy as np

from swarm.simulation.metrics.base import DeviceScores, Floats, ScoreMetric


class BalancedAccuracy(ScoreMetric):
    """The mean recall over the classes that have test samples (scikit-learn:
    ``balanced_accuracy_score``).

    It needs nothing but the right answers by class, which every evaluation counts.
    """

    name = "balanced_accuracy"
    label = "balanced accuracy"
    better = "higher"
    target_kind = "classes"

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        there = scores.counts_C > 0
        return np.asarray((scores.hits_MC[:, there] / scores.counts_C[there]).mean(1))
