"""The tables of a run folder as data frames: the records, and the results of single devices.

Damage ends the reading with a :class:`ConfigError`, or where there are ``notes``, is added to them
and left out.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from swarm.common.errors import ConfigError
from swarm.results import columns
from swarm.results.track.devices import device_table
from swarm.results.track.jsonl import read_jsonl
from swarm.simulation.checkpoint.manifest import PART


def metrics_in(path: Path, notes: list[str] | None, numbers: tuple[str, ...] = ()) -> pd.DataFrame:
    """``metrics.jsonl``; the columns ``numbers`` must hold numbers only."""
    damaged: list[int] | None = None if notes is None else []
    try:
        records = read_jsonl(path, damaged)
    except ConfigError as error:
        if notes is None:
            raise
        notes.append(str(error))
        records = []
    if damaged:
        assert notes is not None
        notes.append(
            f"{path}: {len(damaged)} of {len(records) + len(damaged)} lines are damaged, the first"
            f" is {damaged[0]}"
        )
    if not records:
        return pd.DataFrame({"arm": pd.Series(dtype=str), "round": pd.Series(dtype="int64")})
    metrics, wrong = _numeric(pd.DataFrame(records), numbers)
    if wrong and notes is None:
        raise ConfigError(
            "/metrics.jsonl", path.parent, f"damaged; `{wrong[0]}` must be a number in every record"
        )
    if wrong and notes is not None:
        notes.append(f"{path}: not a number in every record: {', '.join(wrong)}")
    return metrics


def _numeric(metrics: pd.DataFrame, known: tuple[str, ...]) -> tuple[pd.DataFrame, list[str]]:
    """Columns that are null throughout an arm come out of JSON as objects; everything but text
    becomes a number.

    The names are those of columns of numbers that hold something else as well, which is left out.
    """
    wrong = []
    others = [name for name, kind in metrics.dtypes.items() if not is_numeric_dtype(kind)]
    for column in map(str, others):
        if column in ("arm", "round"):
            continue
        values = [value if isinstance(value, int | float) else np.nan for value in metrics[column]]
        numbers = pd.Series(values, index=metrics.index, dtype=np.float64)
        lost = numbers.isna() & metrics[column].notna()
        if lost.all() and not (column in known or columns.is_number(column)):
            continue  # a text column: leave it as it is
        metrics[column] = numbers
        wrong += [column] if lost.any() else []
    return metrics, wrong


@cache
def no_devices() -> pd.DataFrame:
    """The results of devices of a run that has none; to be copied."""
    return pd.DataFrame({name: pd.Series(dtype=float) for name in columns.DEVICE}).astype(
        {"arm": str}
    )


def devices_in(path: Path, notes: list[str] | None) -> pd.DataFrame:
    """``devices.parquet``; while the run goes on, what its arms have put beside their checkpoints
    so far.
    """
    found = path.parent.glob("checkpoints/*/devices_*.parquet")
    parts = (
        [path] if path.exists() else sorted(part for part in found if re.fullmatch(PART, part.name))
    )
    tables = []
    for part in parts:
        try:
            tables.append(device_table(part))
        except ConfigError as error:
            if notes is None:
                raise
            notes.append(str(error))
    return pd.concat(tables, ignore_index=True) if tables else no_devices().copy()
