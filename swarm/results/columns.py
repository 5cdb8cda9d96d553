"""``columns.json`` of a run folder: what the numbers of the run are called, which surfaces show
them, and which is the main score.

Reports read it, so that a metric of a user's own is drawn without importing its code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from swarm.config.schema import Closed, read_json
from swarm.simulation import checkpoint
from swarm.simulation.metrics.base import DeviceMetric
from swarm.simulation.metrics.column import PARTS, Column, Main, Surface
from swarm.simulation.metrics.record import COHORT, CONCEPT, EARLIER, FINAL, NUMBERS
from swarm.simulation.metrics.usual import usual

FILE = "columns.json"
MEAN, DEVICES = "_mean", ", mean over devices"
Text = Annotated[str, Field(max_length=200)]

USUAL = tuple(column for metric in usual(None) for column in metric.columns())
DEFAULTS = (*USUAL, *NUMBERS, *EARLIER)
"""The columns of a run whose folder says nothing of them."""
_KEPT = [each.name for each in usual(None) if isinstance(each, DeviceMetric) and each.kept]
DEVICE = ("arm", "round", "device", *_KEPT)
"""The columns of ``devices.parquet`` in a run whose folder has none yet."""
_NUMBERS = frozenset(column.key for column in (*DEFAULTS, *FINAL))
_ENDS = (*(f"_{part}" for part in PARTS), "_total", "_s")


class _Column(Closed):
    key: Annotated[str, Field(min_length=1, max_length=200)]
    label: Text
    unit: Text
    better: Literal["higher", "lower"] | None
    shown: list[Surface]
    head: Text = ""
    main: Main | None = None
    sparse: bool = False
    timed: bool = False


class _Columns(Closed):
    columns: list[_Column]


@dataclass(frozen=True)
class Score:
    """The metric that a run is judged by first, and the keys of its numbers."""

    column: Column

    @property
    def mean(self) -> str:
        """The key of its number in the records."""
        return self.column.key

    @property
    def name(self) -> str:
        """The name of the metric, which is also its column in ``devices.parquet``."""
        return self.column.key.removesuffix(MEAN)

    @property
    def label(self) -> str:
        """What tables and axes call it."""
        return heading(self.column)

    @property
    def lower(self) -> bool:
        """Whether a lower value is better."""
        return self.column.better == "lower"

    @property
    def logarithmic(self) -> bool:
        """Whether it falls by powers of ten, as a distance does."""
        return self.column.main == "distance"

    @property
    def worst(self) -> str:
        """The key of the worst device's value."""
        return f"{self.name}_{'max' if self.lower else 'min'}"

    @property
    def worst_decile(self) -> str:
        """The key of the value that nine devices of ten surpass."""
        return f"{self.name}_{'p90' if self.lower else 'p10'}"

    @property
    def band(self) -> tuple[str, str]:
        """The keys of the lowest and of the highest decile."""
        return f"{self.name}_p10", f"{self.name}_p90"

    @property
    def consensus(self) -> str:
        """The key of the value of the consensus model."""
        return f"consensus_{self.name}"


def write(folder: Path, columns: Sequence[Column]) -> None:
    """Put the columns of a run into its folder: those of its metrics, and those of every run."""
    every = [asdict(column) for column in (*columns, *NUMBERS)]
    checkpoint.write_json(folder / FILE, {"columns": every})


def complete(columns: Sequence[Column]) -> tuple[Column, ...]:
    """``columns``, and after them those of :data:`DEFAULTS` that have other keys."""
    known = {column.key for column in columns}
    return (*columns, *(column for column in DEFAULTS if column.key not in known))


def read(folder: Path, key: str = f"/{FILE}") -> tuple[Column, ...]:
    """The columns of a run, completed; :data:`DEFAULTS` where the folder, of an earlier version,
    has no such file.

    Raises :class:`ConfigError` on ``key`` where it is damaged.
    """
    if not (folder / FILE).exists():
        return DEFAULTS
    usual_ones = {column.key: column for column in DEFAULTS}
    found = []
    for each in read_json(folder / FILE, _Columns, key)["columns"]:
        column = Column(**{**each, "shown": tuple(each["shown"])})
        # files of the first version did not say which number is the main one
        found.append(column if "main" in each else usual_ones.get(column.key, column))
    return complete(found)


def main(
    columns: Iterable[Column], has: Callable[[str], bool], kind: Main = "score"
) -> Score | None:
    """The main score: the first column of this kind of which there is a value, by its key."""
    return next((Score(each) for each in columns if each.main == kind and has(each.key)), None)


def main_of(record: Mapping[str, Any], columns: Iterable[Column] = DEFAULTS) -> Score | None:
    """The main score that a record, or an arm's summary, has a value of."""
    return main(columns, lambda key: record.get(key) is not None)


def of_devices(columns: Iterable[Column], there: Collection[str]) -> Score | None:
    """The main score that the results of single devices, with the columns ``there``, have."""
    return main(columns, lambda key: key.removesuffix(MEAN) in there)


def distance(columns: Iterable[Column], has: Callable[[str], bool]) -> Score:
    """The number that stands in the place of a score in a run without one; the usual one where the
    run has no value of any."""
    found = main(columns, has, "distance") or main(DEFAULTS, lambda _: True, "distance")
    assert found is not None
    return found


def on(columns: Iterable[Column], surface: Surface) -> list[Column]:
    """Those that a surface shows, each key once."""
    chosen = {column.key: column for column in columns if surface in column.shown and column.label}
    return list(chosen.values())


def measured(columns: Iterable[Column], finals: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Those that one of the arms with these final numbers has a value of."""
    there = {key for final in finals for key, value in final.items() if value is not None}
    return [column for column in columns if column.key in there]


def by_concept(key: str, columns: Iterable[Column]) -> str | None:
    """What a metric's number for one concept of data that drift, or for one cohort of devices, is
    called; None for other keys."""
    for between, words in ((CONCEPT, "on concept"), (COHORT, "of the cohort")):
        name, _, which = key.rpartition(between)
        label = next((each.label for each in columns if each.key == f"{name}{MEAN}"), None)
        if label:
            return f"{label.removesuffix(DEVICES)} {words} {which}"
    return None


def is_number(key: str) -> bool:
    """Whether a key of a record or of a summary stands for a number in every run."""
    return key in _NUMBERS or key.endswith(_ENDS)


def heading(column: Column) -> str:
    """What stands over a column of numbers: its label without "mean over devices", and its unit."""
    label = column.head or column.label.removesuffix(DEVICES)
    return f"{label}, {column.unit}" if column.unit else label


def human(value: Any) -> str:
    """A metric's number as people read it, of four digits; ``–`` where there is none."""
    if not isinstance(value, int | float) or value != value:
        return "–"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"


def for_trackers(record: Mapping[str, Any], columns: Iterable[Column]) -> dict[str, Any]:
    """``record`` without the numbers that trackers are not to get."""
    hidden = {column.key for column in columns if "tracker" not in column.shown}
    return {key: value for key, value in record.items() if key not in hidden}
