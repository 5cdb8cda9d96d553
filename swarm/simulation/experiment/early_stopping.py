"""Early stopping: by which number of the records the best round of an arm is found, and when the
arm ends before its last round.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from swarm.common.errors import ConfigError, meant
from swarm.config.settings import Settings
from swarm.simulation.metrics.base import DeviceMetric, Metric
from swarm.simulation.metrics.column import Column, Direction
from swarm.simulation.metrics.local import LocalMetric
from swarm.simulation.metrics.record import COHORT, VALIDATION, VALIDATION_KEYS
from swarm.simulation.metrics.usual import usual

if TYPE_CHECKING:
    from swarm.simulation.experiment.experiment import Experiment

KEY = "early_stopping.metric"
MEAN = "_mean"


@dataclass(frozen=True)
class StoppingRule:
    """How the best round of an arm is found, and when the arm ends early.

    Attributes:
        key: The number of an evaluated record that is compared.
        better: Whether ``higher`` or ``lower`` is better.
        patience: The arm ends after so many evaluations without a better value; None: never.
        min_delta: By more than this a value has to be better.
        validates: Whether the number is measured on the validation samples.
    """

    key: str
    better: Direction
    patience: int | None
    min_delta: float
    validates: bool

    def improves(self, value: float, on: float | None, by: float = 0.0) -> bool:
        """Whether ``value`` is a number, and better than ``on`` by more than ``by``."""
        if on is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > on + by if self.better == "higher" else value < on - by


@dataclass
class StoppingState:
    """What the evaluations of an arm have come to.

    Attributes:
        best_round: The round with the best value, the first of several; None while there is none.
        best: That value.
        mark: The last value that was better than the one before by more than ``min_delta``.
        waited: The evaluations since.
        stopped: Whether the arm ends.
    """

    rule: StoppingRule
    best_round: int | None = None
    best: float | None = None
    mark: float | None = None
    waited: int = 0
    stopped: bool = False

    def take(self, record: Mapping[str, Any]) -> None:
        """Take in the record of a round in which the devices were evaluated."""
        rule, found = self.rule, record.get(self.rule.key)
        value = math.nan if found is None else float(found)
        if rule.improves(value, self.best):
            self.best_round, self.best = int(record["round"]), value
        self.waited += 1
        if rule.improves(value, self.mark, rule.min_delta):
            self.mark, self.waited = value, 0
        self.stopped = rule.patience is not None and self.waited >= rule.patience

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, and the summary of an arm."""
        return {
            "metric": self.rule.key,
            "better": self.rule.better,
            "best_round": self.best_round,
            "best": self.best,
            "mark": self.mark,
            "waited": self.waited,
            "stopped": self.stopped,
        }

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Go on from what :meth:`facts` has kept."""
        self.best_round, self.best, self.mark = facts["best_round"], facts["best"], facts["mark"]
        self.waited, self.stopped = facts["waited"], facts["stopped"]


def stopping_rule(e: Experiment) -> StoppingRule | None:
    """The rule that the section ``early_stopping`` asks for; None without one.

    Raises :class:`ConfigError` for a metric that is not measured or has no direction, and for
    numbers that say nothing without a metric."""
    asked = e.settings.early_stopping
    if asked.metric is None:
        for name, value in (("patience", asked.patience), ("min_delta", asked.min_delta or None)):
            if value is not None:
                valid = f"needs {KEY}, the number by which an evaluation is better or worse"
                raise ConfigError(f"early_stopping.{name}", value, valid)
        return None
    if asked.patience is None and asked.min_delta:
        valid = "must be 0 unless early_stopping.patience says when an arm ends"
        raise ConfigError("early_stopping.min_delta", asked.min_delta, valid)
    if asked.metric in VALIDATION_KEYS:
        if not len(e.data.dataset.validation):
            valid = (
                f"leaves no validation samples, which {KEY}={asked.metric} needs; must be above 0"
            )
            raise ConfigError("data.validation", e.settings.data.get("validation"), valid)
        column = next(column for column in VALIDATION if column.key == asked.metric)
    else:
        column = _measured(e, asked.metric)
    if column.better is None:
        valid = "has no best round, as neither higher nor lower is better"
        raise ConfigError(KEY, asked.metric, f"{valid}; {_valid(e, asked.metric)}")
    validates = asked.metric in VALIDATION_KEYS
    return StoppingRule(column.key, column.better, asked.patience, asked.min_delta, validates)


def _measured(e: Experiment, name: str) -> Column:
    """The column of the metric ``name``, its mean over devices or over a cohort, or of the key
    ``name``."""
    columns = {column.key: column for metric in e.metrics.all for column in metric.columns()}
    found = columns.get(name) or columns.get(f"{name}{MEAN}")
    if (of := _of_cohort(e, name)) is not None:
        mean = columns.get(f"{of.name}{MEAN}")
        found = mean and replace(mean, key=name)
    if found is None:
        one = next((m for m in usual(None) if name in (m.name, f"{m.name}{MEAN}")), None)
        why = None if one is None else one.why_not(e.task)
        said = f" ({name} {why})" if why else ""
        raise ConfigError(KEY, name, f"is not measured in this run{said}; {_valid(e, name)}")
    return found


def _of_cohort(e: Experiment, name: str) -> DeviceMetric | None:
    """The metric of whose mean over a cohort ``name`` is the key; None if it is no such key."""
    metric, _, cohort = name.partition(COHORT)
    if e.model.cohorts is None or cohort not in e.model.cohorts.names:
        return None
    return next((each for each in e.metrics.of_devices if each.name == metric), None)


def _valid(e: Experiment, name: str) -> str:
    names = [*VALIDATION_KEYS, *(metric.name for metric in e.metrics.all if metric.better)]
    valid, cohorts = f"valid: {', '.join(names)}", e.model.cohorts
    if cohorts is not None and e.metrics.of_devices:
        means = [
            f"{metric.name}{COHORT}{cohort}"
            for metric in e.metrics.of_devices
            for cohort in cohorts.names
        ]
        some = " or ".join(means[: len(cohorts.names)])
        valid, names = f"{valid}, and means over a cohort, such as {some}", [*names, *means]
    return valid + meant(name, names)


def without_cohort(settings: Settings) -> Settings:
    """``settings`` for an arm whose devices all have the run's own model: by the mean over all
    devices where the best round is found by that over a cohort."""
    asked = settings.early_stopping
    if asked.metric is None or COHORT not in asked.metric:
        return settings
    metric = asked.metric.partition(COHORT)[0]
    return settings.model_copy(
        update={"early_stopping": asked.model_copy(update={"metric": metric})}
    )


def warn_of_test_samples(e: Experiment) -> None:
    """Warn of a best round that is found by samples that the devices are tested on."""
    rule = e.stopping
    if rule is None or rule.validates:
        return
    chosen: Metric | None = _of_cohort(e, rule.key) or next(
        (m for m in e.metrics.all if rule.key in [column.key for column in m.columns()]), None
    )
    if chosen is not None and chosen.looks:
        samples = "the devices' own held-out" if isinstance(chosen, LocalMetric) else "the test"
        warnings.warn(
            f"{KEY}={e.settings.early_stopping.metric}: the best round is chosen by {samples}"
            " samples, so what they say of it is too good; validation_score would leave them out",
            stacklevel=3,
        )
