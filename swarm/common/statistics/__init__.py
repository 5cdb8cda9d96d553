"""Confidence intervals over seeds, laws of growth, and the density of models."""

from swarm.common.statistics.cases import Cases, level_of_each
from swarm.common.statistics.density import (
    LossLaw,
    Reference,
    ScoreCurve,
    Trend,
    doubling,
    loss_law,
    reference,
    score_curve,
    trend,
)
from swarm.common.statistics.growth import (
    LAWS,
    Growth,
    PowerLaw,
    aic_difference,
    exponents,
    growth,
    growth_aicc,
    power_law,
)
from swarm.common.statistics.intervals import (
    LEVEL,
    Bound,
    Interval,
    geometric,
    holds_if_all,
    interval,
)
from swarm.common.statistics.passing import PassingLaw, passing_law, passing_rate

__all__ = [
    "LAWS",
    "LEVEL",
    "Bound",
    "Cases",
    "Growth",
    "Interval",
    "LossLaw",
    "PassingLaw",
    "PowerLaw",
    "Reference",
    "ScoreCurve",
    "Trend",
    "aic_difference",
    "doubling",
    "exponents",
    "geometric",
    "growth",
    "growth_aicc",
    "holds_if_all",
    "interval",
    "level_of_each",
    "loss_law",
    "passing_law",
    "passing_rate",
    "power_law",
    "reference",
    "score_curve",
    "trend",
]
