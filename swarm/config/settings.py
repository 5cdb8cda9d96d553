"""The settings of a run as types: every key with its type and range.

``conf/config.yaml`` holds the defaults, and this module checks what a user sets. Sections with a
``_target_`` are plug-ins, whose own keys :func:`swarm.config.build.build` checks against the
signature of their constructor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from swarm.common.errors import ConfigError
from swarm.common.ranges import ordinary
from swarm.config.explain import describe, must_be, shown, unknown
from swarm.config.plug_in_lists import with_options


def _is_plugin(value: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
        raise ValueError
    return value


PlugIn = Annotated[dict[str, Any], BeforeValidator(_is_plugin)]
STANDARD: Final = "standard"
"""The entry of ``metrics`` that stands for all metrics that a run measures by default."""
MetricList = list[PlugIn | Literal["standard"]]
MEAN: Final = "swarm.communication.aggregation.mean.Mean"
DEFAULTS: Final[dict[str, Any]] = {
    "metrics": [STANDARD],
    "transforms": [],
    "augment": [],
    "aggregator": {"_target_": MEAN},
}
"""Keys that configurations of earlier versions do not have, and the values that they then get."""
Positive = Annotated[float, Field(gt=0)]
MOST_DEVICES = MOST_ROUNDS = 10_000_000


class Section(BaseModel):
    """A section of typed keys: it has no other keys, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _default(key: str) -> Any:
    """A field that configurations of earlier versions do not have."""
    return Field(default_factory=lambda: deepcopy(DEFAULTS[key]))


class TrainSettings(Section):
    """One device's learning within a round."""

    batch: Annotated[int, Field(ge=1, le=1_000_000)]
    local_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None
    local_epochs: Annotated[int, Field(ge=1, le=10_000)] | None
    clip_norm: Positive | None
    loss: Literal["auto", "cross_entropy", "mse", "mae"]
    class_weights: Literal["balanced"] | list[Positive] | None = None


class NetworkSettings(Section):
    """The virtual time of a round, and the loss and delay of messages."""

    round_seconds: Positive
    drop: Annotated[float, Field(ge=0, lt=1)]
    symmetric: bool
    max_delay: Annotated[int, Field(ge=0, le=1000)]


class Evaluate(Section):
    """When and on whom accuracy is measured."""

    every: Annotated[int, Field(ge=1, le=MOST_ROUNDS)]
    devices: Annotated[int, Field(ge=1, le=MOST_DEVICES)] | None
    accuracy: bool
    local: bool
    ensemble: bool
    label: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)] | None
    fading: Annotated[float, Field(gt=0, le=1)]


class CheckpointSettings(Section):
    """When the state is saved."""

    every: Annotated[int, Field(ge=0, le=MOST_ROUNDS)]
    keep: Annotated[int, Field(ge=1, le=MOST_ROUNDS)]


class Compute(Section):
    """What the arithmetic runs on."""

    device: Literal["cpu", "cuda", "mps"]
    dtype: Literal["float32", "float64"]
    compile: bool


class _Span(Section):
    """The key of the section ``schedule`` that is not its plug-in's."""

    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] | None


class _Rate(Section):
    """The learning rate in the section ``optimizer``, where it may be ``auto``; the plug-in gets a
    number.
    """

    lr: float | Literal["auto"]


class LearningRateSearch(Section):
    """The grid of learning rates behind ``optimizer.lr=auto``."""

    lrs: Annotated[list[Positive], Field(min_length=1)] | None
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] | None


class Settings(Section):
    """The whole configuration of a run."""

    scenario: PlugIn
    topology: PlugIn
    protocol: PlugIn
    aggregator: PlugIn = _default("aggregator")
    compressor: PlugIn
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
    optimizer: PlugIn
    schedule: PlugIn
    engine: PlugIn
    tracker: PlugIn
    mixing: str
    devices: Annotated[int, Field(ge=1, le=MOST_DEVICES)]
    rounds: Annotated[int, Field(ge=0, le=MOST_ROUNDS)]
    seed: Annotated[int, Field(ge=0, le=2**53)]
    init: str
    metrics: MetricList = _default("metrics")
    transforms: list[PlugIn] = _default("transforms")
    augment: list[PlugIn] = _default("augment")
    plugins: list[str]
    resume: str | None
    report: bool
    preset: Literal["quick", "full"] | None
    train: TrainSettings
    network: NetworkSettings
    evaluate: Evaluate
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
        values = with_options(plain(cfg), "metrics", STANDARD)
        values = with_options(with_options(values, "transforms"), "augment")
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
        validated(_Span, {"rounds": settings.schedule.get("rounds")}, "schedule.")
        rate = {key: value for key, value in settings.optimizer.items() if key == "lr"}
        validated(_Rate, rate, "optimizer.")
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
        return {name: getattr(self, name) for name in sections()}


Model = TypeVar("Model", bound=Section)


def validated(model: type[Model], values: dict[str, Any], prefix: str = "") -> Model:
    """Check ``values`` and return them as a ``model``.

    Raises :class:`ConfigError` for the first mistake, with ``prefix`` in front of its key.
    """
    _refuse_unknown(values, model, prefix)
    try:
        found = model.model_validate(values)
    except ValidationError as error:
        first = _first(error, model, values)
        raise ConfigError(f"{prefix}{first.key}", first.value, first.valid) from error
    built = {
        name for name, field in model.model_fields.items() if any(map(_is_guard, field.metadata))
    }
    # build() checks the values of plug-ins
    for name, value in found.model_dump(exclude=built).items():
        ordinary(f"{prefix}{name}", value)
    return found


def sections() -> list[str]:
    """Return the keys whose value is one plug-in."""
    return [
        name
        for name, field in Settings.model_fields.items()
        if any(_is_guard(m) for m in field.metadata)
    ]


def _is_guard(item: Any) -> bool:
    return isinstance(item, BeforeValidator) and item.func is _is_plugin


def plain(cfg: Any) -> dict[str, Any]:
    """Return ``cfg`` as nested dicts, with interpolations resolved and without Hydra's section.

    Raises :class:`ConfigError` for what OmegaConf cannot resolve.
    """
    if isinstance(cfg, Settings):
        return cfg.model_dump()
    if isinstance(cfg, dict):
        return {str(key): value for key, value in cfg.items() if key != "hydra"}
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values: dict[str, Any] = {}
    try:
        for key in cfg:
            if key == "hydra":
                continue
            value = cfg[key]
            inner = OmegaConf.is_config(value)
            values[str(key)] = (
                OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
                if inner
                else value
            )
    except OmegaConfBaseException as error:
        raise from_omegaconf(error, cfg) from error
    return values


def from_omegaconf(error: Exception, cfg: Any) -> ConfigError:
    """Turn OmegaConf's error about a failed interpolation, or about a mandatory value that is
    missing, into an error about its key.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue

    key = getattr(error, "full_key", None) or "config"
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(key, "???", "has no default and must be given a value")
    first = shown(str(error).splitlines()[0])
    value = _raw(OmegaConf.to_container(cfg, resolve=False), key)
    return ConfigError(
        key, shown("???" if value is None else value), f"cannot be resolved: {first}"
    )


def _raw(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _model(annotation: Any) -> type[Section] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _refuse_unknown(values: Mapping[str, Any], model: type[Section], prefix: str) -> None:
    """Refuse unknown keys. This check comes first, as a misspelt key is also a missing one, and the
    spelling is the better hint.
    """
    for key, value in values.items():
        field = model.model_fields.get(str(key))
        if field is None:
            raise unknown(f"{prefix}{key}", value, model.model_fields)
        inner = _model(field.annotation)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(value, inner, f"{prefix}{key}.")


def _first(error: ValidationError, model: type[Section], values: Any) -> ConfigError:
    """Pydantic's first complaint as an error that describes the valid type in words."""
    location = error.errors()[0]["loc"]
    path: list[str] = []
    description, annotation = "a section", None
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            break
        path.append(str(part))
        values = values.get(part, "???") if isinstance(values, Mapping) else values
        inner = _model(field.annotation)
        if inner is None:
            description, annotation = _describe(field.annotation, field.metadata), field.annotation
            break
        model = inner
        description = f"a section with the keys {', '.join(model.model_fields)}"
    return ConfigError(
        ".".join(path) or "config", shown(values), must_be(annotation, values, description)
    )


def _describe(annotation: Any, metadata: Iterable[Any]) -> str:
    if any(_is_guard(item) for item in metadata):
        return "a section with a _target_: the dotted path of a class"
    return describe(Annotated[annotation, *metadata]) if metadata else describe(annotation)
