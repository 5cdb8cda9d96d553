"""The files of a run folder as types, and the one reader for each of them.

Whoever reads a file of a run folder (resume, reports, comparisons, sweeps, claims) reads it here.
What cannot be read, or does not hold what its schema says, is a :class:`ConfigError` of one
sentence that names the file and the field. Keys that a schema does not name are passed through:
scenarios add their own to a summary, and later versions theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from swarm.common.errors import ConfigError
from swarm.config.explain import shown
from swarm.config.settings import MOST_DEVICES

FIGURES = (
    "_mean",
    "_min",
    "_p10",
    "_median",
    "_p90",
    "_max",
    "_total",
    "_s",
    "_distance",
    "_accuracy",
    "_r2",
    "_loss",
    "_mse",
    "_perplexity",
    "lr",
    "concept",
    "forgetting",
    "backward_transfer",
    "gap_closed",
)
"""Ends of names of numbers."""
SEAL = "seal"
# the `schema` of a summary.json that is sealed; those of earlier versions have 1, and no seal
CLOSED = 2
MOST_VALUES = 100_000  # of a YAML file
# an arm's per-device results up to a round, beside its checkpoints
PART = r"devices_\d{9}\.parquet"
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Schema(BaseModel):
    """Named keys have exactly these types, nothing is converted; other keys may be there."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Closed(Schema):
    """A file of which no other keys are known: one with another name is a damaged one."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


# --- a run ----------------------------------------------------------------------------------------


class Config(Schema):
    """What ``config.yaml`` must have to be shown.

    Whether a run can go on with it, ``Settings`` says.
    """

    devices: Annotated[int, Field(ge=0, le=MOST_DEVICES)] | None = None
    rounds: Count | None = None
    seed: Count | None = None
    plugins: list[str] = []
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


class Arm(Schema):
    """An arm's final figures, in ``summary.json`` and ``progress.json``."""

    diverged: dict[str, Any] | None = None
    recovery_rounds: list[Any] | None = None

    @model_validator(mode="after")
    def _figures(self) -> Arm:
        for name, value in (self.model_extra or {}).items():
            if name.endswith(FIGURES) and (
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
    with.
    """

    tuning: dict[str, Tuning]
    arms: dict[str, DoneArm]
    settings: dict[str, Any] = {}  # not in folders of earlier versions
    seal: Hash | None = None


class Buffers(Schema):
    """The model's buffers in a checkpoint's facts: their names, and the hash of their file (None:
    too large to be kept).
    """

    names: list[str]
    sha256: Hash | None


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
    chosen: dict[str, Any] | None = None  # it and what follows are not in checkpoints of format 3
    settings: dict[str, Any] = {}
    records: Hash | None = None
    parts: dict[Annotated[str, Field(pattern=f"^{PART}$")], Hash] = {}
    ties: list[tuple[str, str]] = []
    buffers: Buffers | None = None


class Manifest(Closed):
    """The JSON of a checkpoint."""

    format: Count
    round: Count
    sha256: Hash
    bytes: Count
    arrays: dict[str, tuple[str, list[Count]]]
    facts: Facts
    seal: Hash | None = None


class Record(Schema):
    """A line of ``metrics.jsonl``; all other values are scalars too."""

    __pydantic_extra__: dict[str, str | Number | float | bool | None]
    arm: Annotated[str, Field(min_length=1)]
    round: Count


class Facet(Schema):
    """A section of facts in ``summary.json`` that is called by its name."""

    name: str | None = None


class Summary(Schema):
    """``summary.json`` of a run."""

    arms: dict[str, Arm] = {}
    gap_closed: float | None = None
    gap_closed_reason: str | None = None
    rate_measured: float | None = None
    devices: Count | None = None
    rounds: Count | None = None
    rho: float | None = None
    topology: Facet | None = None
    data: Facet | None = None
    engine: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None


class Graph(Schema):
    """``graph.json``: devices, links, places in the plane if the topology has any, and what the
    devices are called.
    """

    n: Annotated[int, Field(ge=0, le=MOST_DEVICES)]
    edges: list[tuple[int, int]]
    pos: list[tuple[float, float]] | None = None
    directed: bool = False
    names: list[str | None] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Graph:
        if any(not 0 <= end < self.n for edge in self.edges for end in edge):
            raise ValueError("`edges` must be pairs of devices below `n`")
        if self.pos is not None and len(self.pos) != self.n:
            raise ValueError("`pos` must have a place for each device")
        if self.names is not None and len(self.names) != self.n:
            raise ValueError("`names` must have an entry for each device")
        return self


# --- sweeps and claims ----------------------------------------------------------------------------


class Job(Schema):
    """``job.json``: how far a run of many is, and which code made it."""

    status: str | None = None
    cause: str | None = None
    code: dict[str, str | None] = {}


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
    metric: str
    rule: str


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


# --- reading --------------------------------------------------------------------------------------


def read_json(file: Path, schema: type[Schema], key: str) -> dict[str, Any]:
    """A JSON file that is one object and fits ``schema``.

    Raises :class:`ConfigError` on ``key`` and the file, which says what is wrong with it and where.
    """
    try:
        value = json.loads(_content(file, key), parse_constant=_refuse)
    except (ValueError, RecursionError):  # also of text that is not UTF-8
        value = None
    return checked(value, schema, file, key, "JSON")


def read_yaml(file: Path, schema: type[Schema], key: str) -> dict[str, Any]:
    """A YAML file that is one mapping and fits ``schema``. Raises as :func:`read_json`."""
    try:
        value = yaml.safe_load(_content(file, key).decode("utf-8"))
        _require_few(value)
    except ConfigError:
        raise
    except (
        Exception
    ):  # PyYAML lets through whatever its parts stumble over, from IndexError to RecursionError
        value = None
    return checked(value, schema, file, key, "YAML")


def _require_few(value: object) -> None:
    """Raises ValueError for more values than any config has: a few aliases in YAML stand for
    billions of them.
    """
    left, waiting = MOST_VALUES, [value]
    while waiting:
        item = waiting.pop()
        left -= 1
        if isinstance(item, dict | list):
            if len(item) > left:
                raise ValueError(f"more than {MOST_VALUES} values")
            waiting.extend(item.values() if isinstance(item, dict) else item)
        if left < len(waiting):
            raise ValueError(f"more than {MOST_VALUES} values")


def checked(
    value: object, schema: type[Schema], file: Path, key: str, form: str = "JSON"
) -> dict[str, Any]:
    """``value`` if it is a mapping that fits ``schema``.

    Raises :class:`ConfigError` on ``key`` and ``file``.
    """
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ConfigError(key, file, f"damaged; must be one {form} mapping")
    if (said := complaint(value, schema)) is not None:
        raise ConfigError(key, file, f"damaged; {said}")
    return value


def complaint(value: Mapping[str, Any], schema: type[Schema]) -> str | None:
    """What is wrong with ``value``: ``\\`arms.swarm.rounds\\` must be a valid integer, and is
    high``; None if nothing is.
    """
    try:
        schema.model_validate_json(
            json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "replace")
        )
    except ValidationError as error:
        return _sentence(error.errors()[0])
    except (
        RecursionError,
        ValueError,
        TypeError,
    ):  # of YAML alone: lists that hold themselves, keys that are lists
        return "what it holds cannot be written as JSON"
    return None


def _sentence(error: ErrorDetails) -> str:
    field = ".".join(map(str, error["loc"]))
    said = error["msg"].removeprefix("Value error, ")
    # of a whole mapping, which names its key itself
    if error["type"] == "value_error" and said.startswith("`"):
        return f"{said} (in `{field}`)" if field else said
    if error["type"] == "missing":
        return f"`{field}` is missing"
    if error["type"] == "extra_forbidden":
        return f"`{field}` is not known"
    return f"`{field}` {said.replace('Input should', 'must')}, and is {shown(error['input'])}"


def _refuse(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which are no JSON


def _content(file: Path, key: str) -> bytes:
    """The bytes of a regular file: a pipe or a device in its place could be read without end."""
    try:
        if not file.exists():
            raise ConfigError(key, file.parent, f"has no {file.name}")
        if not file.is_file():
            raise ConfigError(key, file, "damaged; must be a file")
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(key, file, f"cannot be read: {error.strerror or error}") from None


# --- seals ----------------------------------------------------------------------------------------


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` with the hash of all that is in it: whatever changes on the disk, but for spaces,
    is noticed.
    """
    return {**value, SEAL: _hash(value)}


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


def require_seal(value: Mapping[str, Any], file: Path, key: str) -> None:
    """Raises :class:`ConfigError` on ``key`` and ``file`` where the seal is missing, or not that of
    the rest.
    """
    if value.get(SEAL) != _hash({name: item for name, item in value.items() if name != SEAL}):
        raise ConfigError(
            key, file, f"is damaged: its `{SEAL}` is not the hash of the rest, as it was written"
        )


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
