"""The files of a run folder as types; whoever reads one (resume, reports, sweeps, claims) reads it
by these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from swarm.config import aliases
from swarm.config.schema import (
    SEAL,
    Closed,
    Count,
    Hash,
    Number,
    Schema,
    read_json,
    read_yaml,
    require_seal,
    sealed,
)
from swarm.config.settings.sections import MOST_DEVICES

# the `schema` of a summary.json that is sealed; those of earlier versions have 1, and no seal
CLOSED = 2


class Config(Schema):
    """What ``config.yaml`` must have to be shown.

    Whether a run can go on with it, ``Settings`` says.
    """

    devices: Annotated[int, Field(ge=0, le=MOST_DEVICES)] | None = None
    rounds: Count | None = None
    seed: Count | None = None
    plugins: list[str] = Field(default_factory=list)
    mixing: str | None = None
    network: dict[str, Any] | None = None
    scenario: dict[str, Any] | str | None = None
    topology: dict[str, Any] | str | None = None
    protocol: dict[str, Any] | str | None = None
    data: dict[str, Any] | str | None = None
    model: dict[str, Any] | str | None = None


class Tuning(Schema):
    """An arm's choice in ``progress.json``."""

    lr: float
    variant: Count
    tried: list[Any]


class BestRound(Schema):
    """The best round of an arm, and whether it ended early."""

    metric: str
    best_round: Count | None
    best: float | None
    stopped: bool


class Arm(Schema):
    """An arm's final figures, in ``summary.json`` and ``progress.json``."""

    diverged: dict[str, Any] | None = None
    early_stopping: BestRound | None = None
    recovery_rounds: list[Any] | None = None

    @model_validator(mode="after")
    def _figures(self) -> Arm:
        # imports torch, which a command that is refused need not wait for
        from swarm.results.columns import is_number

        for name, value in (self.model_extra or {}).items():
            if is_number(name) and (
                isinstance(value, bool) or not isinstance(value, int | float | None)
            ):
                raise ValueError(f"`{name}` must be a number")
        return self


class DoneArm(Arm):
    """An arm that came to its end, in ``progress.json``."""

    rounds: Count
    diverged: dict[str, Any] | None
    engine: dict[str, Any]


class Progress(Closed):
    """``progress.json``: learning rates chosen and arms done, with the settings that they were made
    with, and the noise multipliers found for a target ε, by arm and number of the variant.
    """

    tuning: dict[str, Tuning]
    arms: dict[str, DoneArm]
    noise: dict[str, dict[str, float]] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)  # not in folders of earlier versions
    files: dict[str, Hash] = Field(default_factory=dict)  # by key: what the run's files held
    folder: str | None = None  # of the beginning, if paths begin there
    seal: Hash | None = None


class Record(Schema):
    """A line of ``metrics.jsonl``; all other values are scalars too."""

    __pydantic_extra__: dict[str, str | Number | float | bool | None]
    arm: Annotated[str, Field(min_length=1)]
    round: Count


class Facet(Schema):
    """A section of facts in ``summary.json`` that is called by its name."""

    name: str | None = None


class Topology(Facet):
    """The facts of the graph and of its mixing matrix in ``summary.json``."""

    rho: float | None = None


class Summary(Schema):
    """``summary.json`` of a run; the numbers of its scenario are those that its
    ``presentation.json`` names.
    """

    arms: dict[str, Arm] = Field(default_factory=dict)
    devices: Count | None = None
    rounds: Count | None = None
    topology: Topology | None = None
    data: Facet | None = None
    attack: Facet | None = None
    engine: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None


class Graph(Schema):
    """``graph.json``: devices, links, places in the plane if the topology has any, what the
    devices are called, and which are hostile.
    """

    n: Annotated[int, Field(ge=0, le=MOST_DEVICES)]
    edges: list[tuple[int, int]]
    pos: list[tuple[float, float]] | None = None
    directed: bool = False
    names: list[str | None] | None = None
    hostile: list[int] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> Graph:
        if any(not 0 <= end < self.n for edge in self.edges for end in edge):
            raise ValueError("`edges` must be pairs of devices below `n`")
        if self.pos is not None and len(self.pos) != self.n:
            raise ValueError("`pos` must have a place for each device")
        if self.names is not None and len(self.names) != self.n:
            raise ValueError("`names` must have an entry for each device")
        if any(not 0 <= device < self.n for device in self.hostile):
            raise ValueError("`hostile` must be devices below `n`")
        return self


class Overrides(Schema):
    """``overrides.json``: the settings of a run as they were typed."""

    overrides: Annotated[list[str], Field(max_length=10_000)]


class Job(Schema):
    """``job.json``: how far a run of many is, and which code made it."""

    status: str | None = None
    cause: str | None = None
    code: dict[str, str | None] = Field(default_factory=dict)


def _inside(folder: str) -> str:
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError("must be a folder inside the sweep's")
    return folder


class SweepJob(Schema):
    """A job in ``sweep.json``."""

    name: str
    folder: Annotated[str, AfterValidator(_inside)]
    values: dict[str, str]


class Sweep(Schema):
    """``sweep.json``: what was swept, and what all jobs have in common."""

    swept: list[str]
    base: dict[str, Any]
    jobs: list[SweepJob]


class VerdictRow(Schema):
    """A verdict in a claim's ``summary.json``."""

    verdict: str
    claim: str
    number: float
    because: str
    decided_by: str = ""
    metric: str
    rule: str
    chart: Count = 1


class ClaimSummary(Schema):
    """``summary.json`` of a claim."""

    run: str
    scenario: str
    preset: str
    seeds: Count
    first_seed: Count
    runs: Count
    verdicts: list[VerdictRow]
    failed: dict[str, str]
    totals: dict[str, float | None]
    wall_s: float
    code: dict[str, Any]
    versions: dict[str, Any]


class Published(Schema):
    """``facts.json`` of a claim among the published ones."""

    scenario: str
    seeds: Count
    runs: Count
    verdicts: list[VerdictRow]


class Prediction(Schema):
    """``prediction.json``: whatever the claim foretells."""


class Seconds(Schema):
    """``seconds.json``: the wall time of a claim over all its starts."""

    seconds: float


def read_config(file: Path, key: str) -> dict[str, Any]:
    """A ``config.yaml``, in names of today whichever version wrote it.

    Raises :class:`ConfigError` on ``key`` and the file where it is damaged.
    """
    return aliases.current(read_yaml(file, Config, key))


def closing(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A ``summary.json`` as it is written: as JSON has it, and sealed."""
    return sealed({**json.loads(json.dumps(summary)), "schema": CLOSED})


def read_summary(file: Path, schema: type[Schema], key: str) -> dict[str, Any]:
    """The ``summary.json`` of a run or a claim, without its seal. Raises as :func:`read_json`, and
    where the seal is wrong.
    """
    found = read_json(file, schema, key)
    if SEAL in found or found.get("schema") != 1:  # 1: of an earlier version
        require_seal(found, file, key)
    return {name: value for name, value in found.items() if name != SEAL}
