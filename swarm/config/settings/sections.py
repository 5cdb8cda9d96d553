"""The sections of the settings: their keys, with types and ranges."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MOST_DEVICES = MOST_ROUNDS = 10_000_000
Positive = Annotated[float, Field(gt=0)]


def _is_plugin(value: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
        raise ValueError
    return value


PlugIn = Annotated[dict[str, Any], BeforeValidator(_is_plugin)]


def is_guard(item: Any) -> bool:
    """Return whether a field with this in its metadata is a :data:`PlugIn`."""
    return isinstance(item, BeforeValidator) and item.func is _is_plugin


def _as_name(label: object) -> object:
    """A truth value or a number below 0 as the name of the class that it must mean."""
    named = isinstance(label, bool) or (isinstance(label, int) and label < 0)
    return str(label) if named else label


ClassName = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)], BeforeValidator(_as_name)
]
"""The name of a class, or its number."""


class Section(BaseModel):
    """A section of typed keys: it has no other keys, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class TrainSettings(Section):
    """One device's learning within a round."""

    batch: Annotated[int, Field(ge=1, le=1_000_000)]
    local_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None
    local_epochs: Annotated[int, Field(ge=1, le=10_000)] | None
    clip_norm: Positive | None
    loss: Literal["auto", "cross_entropy", "mse", "mae"] | PlugIn
    class_weights: Literal["balanced"] | list[Positive] | None = None
    devices: Annotated[str, Field(min_length=1)] | None = None
    deadline: Positive | None = None
    deadline_cuts: Literal["steps", "batch"] = "steps"
    least_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0


MEMORY = "memory"
"""The devices of a cohort are those whose memory is too small for the run's own model."""
TABLE = "table"
"""The devices of a cohort are those that ``train.devices`` names."""


class CohortSettings(Section):
    """Some of the devices, and the model that they have in the place of the run's own."""

    devices: (
        Annotated[float, Field(ge=0, le=1)]
        | Annotated[int, Field(ge=0)]
        | list[Annotated[int, Field(ge=0)]]
        | Literal["memory", "table"]
    )
    placement: Literal["random", "hubs", "cut"] = "random"
    model: PlugIn


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
    label: ClassName | None
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


class Span(Section):
    """The key of the section ``schedule`` that is not its plug-in's."""

    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] | None


class Rate(Section):
    """The learning rate in the section ``optimizer``, where it may be ``auto``; the plug-in gets a
    number.
    """

    lr: float | Literal["auto"]


class LearningRateSearch(Section):
    """The grid of learning rates behind ``optimizer.lr=auto``."""

    lrs: Annotated[list[Positive], Field(min_length=1)] | None
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] | None
    method: Literal["grid", "halving"] = "grid"  # of a folder from before there was a choice


class EarlyStopping(Section):
    """By which number the best round of an arm is found, and when an arm ends before its last
    round; without a ``metric`` there is neither.
    """

    metric: Annotated[str, Field(min_length=1)] | None
    patience: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] | None
    min_delta: Annotated[float, Field(ge=0)]
