"""Metrics of what devices have practised: samples by class."""

from __future__ import annotations

from swarm.simulation.metrics.base import RowMetric


class PracticeMetric(RowMetric):
    """A metric of how many samples of each class each device has met since the start, first and
    again: its ``value`` gets these counts, ``[B, C]`` in float64, in the place of parameters. They
    are counted in arms whose devices have goals; in all others C is 0."""

    target_kind = "classes"
