"""Confidence intervals over seeds, laws of growth, and the density of models."""

from swarm.common.statistics.crossing import falls_to
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
    growth,
    growth_aicc,
    growth_law,
    power_law,
    slope,
)
from swarm.common.statistics.intervals import (
    LEVEL,
    Bound,
    Cases,
    Interval,
    bonferroni,
    geometric,
    holds_if_all,
    interval,
)
from swarm.common.statistics.passing import PassingLaw, passing_law, passing_rate
from swarm.common.statistics.ridge import left_out_loss

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
    "bonferroni",
    "doubling",
    "falls_to",
    "geometric",
    "growth",
    "growth_aicc",
    "growth_law",
    "holds_if_all",
    "interval",
    "left_out_loss",
    "loss_law",
    "passing_law",
    "passing_rate",
    "power_law",
    "reference",
    "score_curve",
    "slope",
    "trend",
]
