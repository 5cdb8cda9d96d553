"""``columns.json`` of a run folder: what the metrics of the run call their numbers, and which
surfaces show them.

Reports read it, so that a metric of a user's own is drawn without importing its code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from swarm.config.schema import Schema, read_json
from swarm.simulation import checkpoint
from swarm.simulation.metrics.base import Column, Surface
from swarm.simulation.metrics.usual import usual

FILE = "columns.json"
Text = Annotated[str, Field(max_length=200)]


class _Column(Schema):
    key: Annotated[str, Field(min_length=1, max_length=200)]
    label: Text
    unit: Text
    better: Literal["higher", "lower"] | None
    shown: list[Literal["table", "page", "compare", "sweep", "tracker"]]


class _Columns(Schema):
    columns: list[_Column]


def write(folder: Path, columns: Sequence[Column]) -> None:
    """Put the columns of a run into its folder."""
    checkpoint.write_json(folder / FILE, {"columns": [asdict(column) for column in columns]})


def read(folder: Path, key: str = f"/{FILE}") -> tuple[Column, ...]:
    """The columns of a run; those of the usual metrics where the folder, of an earlier version, has
    no such file.

    Raises :class:`ConfigError` on ``key`` where it is damaged.
    """
    if not (folder / FILE).exists():
        return tuple(column for metric in usual(None) for column in metric.columns())
    found = read_json(folder / FILE, _Columns, key)["columns"]
    return tuple(Column(**{**each, "shown": tuple(each["shown"])}) for each in found)


def on(columns: Iterable[Column], surface: Surface) -> list[Column]:
    """Those that a surface shows, each key once."""
    chosen = {column.key: column for column in columns if surface in column.shown and column.label}
    return list(chosen.values())


def heading(column: Column) -> str:
    """What stands over a column of numbers: its label without "mean over devices", and its unit."""
    label = column.label.removesuffix(", mean over devices")
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
