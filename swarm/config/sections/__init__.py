"""Sections of typed keys: what they have in common, and those that stand apart from the others."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A section of typed keys: it has no other keys, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class EarlyStopping(Section):
    """By which number the best round of an arm is found, and when an arm ends before its last
    round; without a ``metric`` there is neither.
    """

    metric: Annotated[str, Field(min_length=1)] | None
    patience: Annotated[int, Field(ge=1, le=10_000_000)] | None
    min_delta: Annotated[float, Field(ge=0)]
