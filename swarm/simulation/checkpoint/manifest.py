"""The schema of a checkpoint's JSON file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from swarm.config.schema import Closed, Count, Hash, Schema

# the name of a file with an arm's per-device results up to a round, beside its checkpoints
PART = r"devices_\d{9}\.parquet"


class Buffers(Schema):
    """The names of the model's buffers, and the hash of the file that holds them (None: they are
    too large to be kept).
    """

    names: list[str]
    sha256: Hash | None


class Cohort(Schema):
    """How the parameters of the devices of one cohort lie in a row of their own."""

    name: str
    layout: list[tuple[str, list[Count]]]
    ties: list[tuple[str, str]]
    counts: list[str]
    least: dict[str, float]
    parts: dict[str, list[tuple[Count, Count]]]


class EarlyStopping(Schema):
    """What the evaluations of an arm have come to, where its best round is kept."""

    metric: str
    best_round: Count | None
    best: float | None
    mark: float | None
    waited: Count
    stopped: bool


class Facts(Schema):
    """The facts beside a checkpoint's arrays."""

    layout: list[tuple[str, list[Count]]]
    totals: dict[str, Count]
    steps: Count
    work: float
    seconds: float
    virtual: float
    learning_seconds: float
    faded: tuple[float, float]
    chosen: dict[str, Any] | None = None  # checkpoints of format 3 lack this and all that follow
    settings: dict[str, Any] = Field(default_factory=dict)
    records: Hash | None = None
    parts: dict[Annotated[str, Field(pattern=f"^{PART}$")], Hash] = Field(default_factory=dict)
    ties: list[tuple[str, str]] = Field(default_factory=list)
    buffers: Buffers | None = None
    counts: list[str] = Field(default_factory=list)
    least: dict[str, float] = Field(default_factory=dict)
    early_stopping: EarlyStopping | None = None
    cohorts: list[Cohort] = Field(default_factory=list)
    grid: Hash | None = None


class Manifest(Closed):
    """The JSON of a checkpoint."""

    format: Count
    round: Count
    sha256: Hash
    bytes: Count
    arrays: dict[str, tuple[str, list[Count]]]
    facts: Facts
    seal: Hash | None = None
