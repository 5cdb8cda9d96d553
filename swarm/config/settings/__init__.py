"""The settings of a run as types: every key with its type and range.

``conf/config.yaml`` holds the defaults, and this package checks what a user sets. Sections with a
``_target_`` are plug-ins, whose own keys :func:`swarm.config.build.build` checks against the
signature of their constructor.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field

from swarm.common.errors import ConfigError
from swarm.config.explain import describe
from swarm.config.plug_in_lists import with_bases, with_cohorts, with_loss, with_options
from swarm.config.settings.sections import (
    MOST_DEVICES,
    MOST_ROUNDS,
    CheckpointSettings,
    CohortSettings,
    Compute,
    EarlyStopping,
    Evaluate,
    LearningRateSearch,
    NetworkSettings,
    PlugIn,
    Rate,
    Section,
    Span,
    TrainSettings,
    is_guard,
)
from swarm.config.settings.validation import plain as plain
from swarm.config.settings.validation import validated as validated

STANDARD: Final = "standard"
"""The entry of ``metrics`` that stands for all metrics that a run measures by default."""
MetricList = list[PlugIn | Literal["standard"]]
MEAN: Final = "swarm.communication.aggregation.mean.Mean"
NO_ATTACK: Final = "swarm.communication.attack.base.NoAttack"
NO_SECURE_SUM: Final = "swarm.communication.secure.base.NoSecureSum"
NO_PRIVACY: Final = "swarm.learning.privacy.mechanism.NoPrivacy"
NO_GOAL: Final = "swarm.learning.goal.base.NoGoal"
NO_PERSONAL: Final = "swarm.learning.personal.base.NoPersonal"
DEFAULTS: Final[dict[str, Any]] = {
    "metrics": [STANDARD],
    "pre_aggregators": [],
    "transforms": [],
    "augment": [],
    "cohorts": {},
    "aggregator": {"_target_": MEAN},
    "attack": {"_target_": NO_ATTACK, "devices": 0, "placement": "random"},
    "privacy": {"_target_": NO_PRIVACY},
    "personal": {"_target_": NO_PERSONAL},
    "goal": {"_target_": NO_GOAL},
    "secure_sum": {"_target_": NO_SECURE_SUM},
    "early_stopping": {"metric": None, "patience": None, "min_delta": 0.0},
}
"""Sections and lists that configurations of earlier versions do not have, and the values that they
then get. Single keys of that kind have a default in their class (:func:`later_keys`)."""


def _default(key: str) -> Any:
    """A field that configurations of earlier versions do not have."""
    # validated, as a section would otherwise stay a dict
    return Field(default_factory=lambda: deepcopy(DEFAULTS[key]), validate_default=True)


class Settings(Section):
    """The whole configuration of a run."""

    scenario: PlugIn
    topology: PlugIn
    protocol: PlugIn
    aggregator: PlugIn = _default("aggregator")
    attack: PlugIn = _default("attack")
    compressor: PlugIn
    secure_sum: PlugIn = _default("secure_sum")
    delay: PlugIn
    churn: PlugIn
    outage: PlugIn
    clock: PlugIn
    fleet: PlugIn
    model: PlugIn
    update: PlugIn
    replay: PlugIn
    data: PlugIn
    partition: PlugIn
    drift: PlugIn
    labels: PlugIn
    privacy: PlugIn = _default("privacy")
    personal: PlugIn = _default("personal")
    goal: PlugIn = _default("goal")
    optimizer: PlugIn
    schedule: PlugIn
    engine: PlugIn
    tracker: PlugIn
    mixing: str
    devices: Annotated[int, Field(ge=1, le=MOST_DEVICES)]
    rounds: Annotated[int, Field(ge=0, le=MOST_ROUNDS)]
    seed: Annotated[int, Field(ge=0, le=2**53)]
    init: str
    buffers: Literal["average", "local"] = "average"
    share: str | Annotated[list[str], Field(min_length=1)] = "all"
    metrics: MetricList = _default("metrics")
    pre_aggregators: list[PlugIn] = _default("pre_aggregators")
    transforms: list[PlugIn] = _default("transforms")
    augment: list[PlugIn] = _default("augment")
    cohorts: dict[str, CohortSettings] = _default("cohorts")
    plugins: list[str]
    resume: str | None
    report: bool
    preset: Literal["quick", "full"] | None
    train: TrainSettings
    network: NetworkSettings
    evaluate: Evaluate
    early_stopping: EarlyStopping = _default("early_stopping")
    checkpoint: CheckpointSettings
    compute: Compute
    lr_search: LearningRateSearch

    @classmethod
    def parse(cls, cfg: Any) -> Settings:
        """Check ``cfg``, an OmegaConf or plain mapping, and return it typed.

        Hydra's own section is left out. Raises :class:`ConfigError` for the first mistake: an
        unknown key, a value out of range, a missing value, or an interpolation of something that
        does not exist.
        """
        whole = with_bases(with_cohorts(with_loss(plain(cfg))))
        values = with_options(whole, "metrics", STANDARD)
        for key in ("pre_aggregators", "transforms", "augment"):
            values = with_options(values, key)
        if isinstance(cohorts := values.get("cohorts"), dict):
            for name, cohort in cohorts.items():  # so that its own key is named
                validated(CohortSettings, cohort, f"cohorts.{name}.")
        settings = validated(cls, values)
        steps, epochs = settings.train.local_steps, settings.train.local_epochs
        if steps is not None and epochs is not None:
            valid = (
                f"must be null beside train.local_steps={steps}; to count epochs, set"
                " train.local_steps=null"
            )
            raise ConfigError("train.local_epochs", epochs, valid)
        if steps is None and epochs is None:
            valid = (
                f"must be {describe(int)} unless train.local_epochs is: one of them says how long"
                " to learn"
            )
            raise ConfigError("train.local_steps", None, valid)
        validated(Span, {"rounds": settings.schedule.get("rounds")}, "schedule.")
        rate = {key: value for key, value in settings.optimizer.items() if key == "lr"}
        validated(Rate, rate, "optimizer.")
        return settings

    @property
    def schedule_rounds(self) -> int:
        """The number of rounds that the learning-rate schedule spans: ``schedule.rounds``, else
        ``rounds``.
        """
        return int(self.schedule.get("rounds") or self.rounds)

    @property
    def schedule_plug_in(self) -> dict[str, Any]:
        """The section ``schedule`` without ``rounds``, which is not a parameter of the plug-in."""
        return {key: value for key, value in self.schedule.items() if key != "rounds"}

    def with_schedule_rounds(self, rounds: int | None) -> Self:
        """Return the same settings with a schedule that spans ``rounds``; None means all rounds of
        the run.
        """
        return self.model_copy(update={"schedule": {**self.schedule, "rounds": rounds}})

    def plug_ins(self) -> dict[str, dict[str, Any]]:
        """Return the sections that are plug-ins, by key."""
        loss = self.train.loss
        own: dict[str, dict[str, Any]] = {} if isinstance(loss, str) else {"train.loss": loss}
        own |= {f"cohorts.{name}.model": cohort.model for name, cohort in self.cohorts.items()}
        return {name: getattr(self, name) for name in sections()} | own


def later_keys() -> dict[str, Any]:
    """Return the dotted keys that configurations of earlier versions do not have, and the values
    that they then get: all that have a default in the classes of the settings."""
    found: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            own = {f"{name}.{key}": each for key, each in kind.model_fields.items()}
        else:
            own = {} if field.default_factory else {name: field}
        found |= {key: each.default for key, each in own.items() if not each.is_required()}
    return found


def sections() -> list[str]:
    """Return the keys whose value is one plug-in."""
    return [
        name
        for name, field in Settings.model_fields.items()
        if any(is_guard(m) for m in field.metadata)
    ]
