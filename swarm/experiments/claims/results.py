"""The finished runs of a claim as data frames, with the queries that verdicts, tables and charts
are made of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from swarm.common.statistics import Interval, falls_to, interval
from swarm.experiments.claims.charts import Line
from swarm.results.load import Run

Floats = NDArray[np.float64]
Row = Mapping[str, Any]
"""Values that rows of the results have: those of a condition, and the ``arm``."""
SEED = "seed"
NOTHING = "–"  # in a table, where there is no value


class Cell(ABC):
    """What a column of a table shows in each of its rows."""

    @abstractmethod
    def of(self, results: Results, row: Row) -> Any:
        """The content for a ``row``: text, a number, an :class:`Interval`, or None."""


AnyCell = Cell | str | Callable[[Row], Any]
"""A cell, the name of a value of the row, or a function of the row that returns the content."""


@dataclass(frozen=True)
class Mean(Cell):
    """The mean over seeds of a final metric, or of the values by seed that a function of the row
    returns, with its interval, as :meth:`Interval.text` writes it with ``digits``, ``times`` and
    ``unit``. The function may as well return the interval.

    With ``minus`` it is that of the difference of the metric, paired by seed, from the row that has
    these values in place of its own."""

    what: str | Callable[[Row], Interval | pd.Series[float] | None]
    digits: int = 3
    times: float = 1.0
    unit: str = ""
    minus: Row | None = None

    def __post_init__(self) -> None:
        if self.minus is not None and not isinstance(self.what, str):
            raise ValueError(
                "minus is of a metric by name: a function returns the difference itself"
            )

    def of(self, results: Results, row: Row) -> str | None:
        found: Interval | None
        if not isinstance(self.what, str):
            given = self.what(row)
            found = interval(given) if isinstance(given, pd.Series) else given
        elif self.minus is None:
            found = results.mean(self.what, **row)
        else:
            found = results.difference(self.what, row, {**row, **self.minus})
        if found is None or math.isnan(found.mean):
            return None
        return found.text(self.digits, self.times, self.unit)


@dataclass(frozen=True)
class Figure(Cell):
    """The mean of a final metric over seeds, or the number that a function of the row returns,
    divided by ``per`` and without an interval, in a format such as ``,.0f``. Without ``zero`` there
    is nothing to show where it is 0."""

    what: str | Callable[[Row], float]
    form: str
    per: float = 1.0
    zero: bool = True

    def of(self, results: Results, row: Row) -> str | None:
        what = self.what
        found = results.mean(what, **row).mean if isinstance(what, str) else what(row)
        if math.isnan(found) or not (found or self.zero):
            return None
        return f"{found / self.per:{self.form}}"


@dataclass(frozen=True)
class Text(Cell):
    """The values of the row as text, such as ``{wrong:.0%} wrong``. With ``arm`` it is for the rows
    of this arm, and others have the text of ``otherwise``, such as ``nothing ({arm})``."""

    text: str
    arm: str | None = None
    otherwise: str = "{arm}"

    def of(self, results: Results, row: Row) -> str:
        own = self.arm is None or row["arm"] == self.arm
        return (self.text if own else self.otherwise).format(**row)


class Only(Cell):
    """Another cell, in the rows alone that have the values ``where``, such as ``arm="swarm"``; a
    tuple stands for any of its values."""

    def __init__(self, cell: AnyCell, **where: Any) -> None:
        self.cell = cell
        self.where = {k: v if isinstance(v, tuple) else (v,) for k, v in where.items()}

    def of(self, results: Results, row: Row) -> Any:
        if any(row[key] not in values for key, values in self.where.items()):
            return None
        return _content(self.cell, results, row)


def _content(cell: AnyCell, results: Results, row: Row) -> Any:
    """The content of a cell; :data:`NOTHING` where it is None or not a number."""
    if isinstance(cell, str):
        found = row[cell]
    else:
        found = cell.of(results, row) if isinstance(cell, Cell) else cell(row)
    number = found.mean if isinstance(found, Interval) else found
    if number is None or (isinstance(number, float) and math.isnan(number)):
        return NOTHING
    return found.text() if isinstance(found, Interval) else found


@dataclass(frozen=True)
class Results:
    """The results of a claim's finished runs. Every row has the values of its condition, its
    ``seed`` and its ``arm``.

    Attributes:
        finals: One row per run and arm: the arm's entry of ``summary.json``, and of its run
            ``parameters``, ``spectral_gap``, ``train_samples``, ``features`` (numbers a sample),
            and the numbers that its scenario declared, such as ``gap_closed``.
        curves: One row per run, arm and round: the keys of ``metrics.jsonl``.
        devices: One row per run, arm and device: what was measured on it in the last round.
        prediction: The prediction that was written down before the runs of ``holdout``, as it is on
            disk; empty where nothing was predicted.
    """

    finals: pd.DataFrame
    curves: pd.DataFrame
    prediction: Mapping[str, Any] = field(default_factory=dict)
    devices: pd.DataFrame = field(default_factory=pd.DataFrame)

    def by_seed(self, metric: str, **where: Any) -> pd.Series[float]:
        """The final ``metric`` of the rows with the values ``where``, by seed; an arm that diverged
        is left out.

        Raises ``ValueError`` if a seed has several such rows, as ``where`` does not say which.
        """
        rows = _chosen(self.finals, where)
        if rows.empty or metric not in rows:
            return pd.Series(dtype=np.float64)
        rows = rows[~rows["diverged"].astype(bool)]
        if rows[SEED].duplicated().any():
            raise ValueError(f"{where} stands for several runs of a seed")
        found: pd.Series[float] = pd.to_numeric(rows.set_index(SEED)[metric]).dropna().sort_index()
        return found

    def diverged(self, **where: Any) -> list[str]:
        """The arms of the rows with the values ``where`` that diverged and so have no final
        figures."""
        rows = _chosen(self.finals, where)
        return [] if rows.empty else rows.loc[rows["diverged"].astype(bool), "arm"].tolist()

    def diverged_seeds(self, **where: Any) -> list[int]:
        """The seeds under which an arm with the values ``where`` diverged."""
        rows = _chosen(self.finals, where)
        return [] if rows.empty else rows.loc[rows["diverged"].astype(bool), SEED].tolist()

    def mean(self, metric: str, **where: Any) -> Interval:
        """The mean of the final ``metric`` over seeds, with its 95% interval."""
        return interval(self.by_seed(metric, **where).to_numpy())

    def difference(self, metric: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Interval:
        """The mean over seeds of the final ``metric`` of ``a`` minus that of ``b``, paired by seed,
        with its 95% interval."""
        return interval((self.by_seed(metric, **a) - self.by_seed(metric, **b)).dropna().to_numpy())

    def ratio(self, metric: str, a: Row, b: Row) -> Interval:
        """The mean over seeds of the final ``metric`` of ``a`` divided by that of ``b``, paired by
        seed, with its 95% interval."""
        return interval(self.by_seed(metric, **a) / self.by_seed(metric, **b))

    def difference_along(self, metric: str, x: str, at: Sequence[Any], a: Row, b: Row) -> Interval:
        """The difference as in :meth:`difference`, mean over the values ``at`` of ``x``: of the
        seeds that have all of them."""
        both = (self.by_seed_along(metric, x, at, **row) for row in (a, b))
        return interval((next(both) - next(both)).mean(axis=1, skipna=False))

    def by_seed_along(self, metric: str, x: str, at: Sequence[Any], **where: Any) -> pd.DataFrame:
        """The final ``metric`` by seed, one column for each of the values ``at`` of ``x``; NaN
        where a seed has none."""
        return pd.DataFrame({value: self.by_seed(metric, **where, **{x: value}) for value in at})

    def against(self, metric: str, x: str, name: str, **where: Any) -> Line:
        """``metric``, mean and interval over seeds, in each round against the mean of the metric
        ``x``, such as the virtual seconds."""
        rows = self.records(**where)
        rows = rows.dropna(subset=[metric]) if metric in rows else rows.iloc[:0]
        rounds = [each for _, each in rows.groupby("round")] if len(rows) else []
        at = [interval(each[x]).mean for each in rounds]
        return Line.through(name, at, (interval(each[metric]) for each in rounds))

    def records(self, **where: Any) -> pd.DataFrame:
        """The rows of ``curves`` with the values ``where``, of which a tuple stands for any of its
        values."""
        return _chosen(self.curves, where)

    def rolling(self, metric: str, rounds: int, **where: Any) -> pd.DataFrame:
        """The mean of ``metric`` over this many ``rounds`` up to each, one row per round and one
        column per seed; rounds before the first such mean are left out, and so is an arm that
        diverged, which has no rounds after that."""
        rows = self.records(**where)
        if rows.empty:
            return pd.DataFrame()
        by_seed = rows.pivot(index="round", columns=SEED, values=metric)
        by_seed = by_seed.drop(columns=self.diverged_seeds(**where), errors="ignore")
        return by_seed.rolling(rounds).mean().dropna(how="all")

    def over_devices(self, metric: str, **where: Any) -> pd.Series[float]:
        """What was measured on the devices in the last round, by seed: the mean of ``metric`` over
        those that have the values ``where``; a tuple stands for any of its values."""
        rows = _chosen(self.devices, where)
        if rows.empty:
            return pd.Series(dtype=np.float64)
        means = {seed: each.to_numpy().mean() for seed, each in rows.groupby(SEED)[metric]}
        return pd.Series(means, dtype=np.float64).dropna()

    def table(
        self, rows: Iterable[Row], columns: Mapping[str, Any], own: Sequence[str] = ()
    ) -> pd.DataFrame:
        """The table with these ``rows``, such as :meth:`Claim.rows` returns, and ``columns``: by
        title a :class:`Cell`, the name of a value of the row, or a function of the row. Columns of
        the row's ``own`` values, under their names, come first. Where there is nothing to show, as
        of an arm that has diverged, it says ``–``."""
        shown = {**{name: name for name in own}, **columns}
        cells = [[_content(cell, self, row) for cell in shown.values()] for row in rows]
        return pd.DataFrame(cells, columns=[*shown], dtype=object)

    def along(
        self,
        metric: str,
        x: str,
        name: str,
        kind: Literal["line", "points"] = "points",
        **where: Any,
    ) -> Line:
        """The final ``metric``, mean and interval over seeds, against the condition's value ``x``;
        with a tuple of it in ``where``, at these values of ``x`` alone."""
        rows = _chosen(self.finals, where)
        at = sorted(rows[x].unique()) if x in rows else []
        return Line.through(
            name, at, (self.mean(metric, **{**where, x: value}) for value in at), kind
        )

    def lines_along(
        self,
        metric: str,
        x: str,
        lines: Mapping[str, Row],
        kind: Literal["line", "points"] = "points",
        **where: Any,
    ) -> list[Line]:
        """A line :meth:`along` ``x`` for each name of ``lines``: of the rows with its values, and
        with the values ``where`` that all lines share."""
        return [
            self.along(metric, x, name, kind, **{**where, **row}) for name, row in lines.items()
        ]

    def by_round(self, metric: str, name: str, **where: Any) -> Line:
        """``metric``, mean and interval over seeds, in the rounds in which it was measured."""
        rows = _chosen(self.curves, where)
        rows = rows.dropna(subset=[metric]) if metric in rows else rows.iloc[:0]
        groups = (
            [(at, group[metric].to_numpy()) for at, group in rows.groupby("round")]
            if len(rows)
            else []
        )
        return Line.through(
            name, [at for at, _ in groups], (interval(values) for _, values in groups), "line"
        )

    def by_rounds(self, metric: str, lines: Mapping[str, Row], **where: Any) -> list[Line]:
        """A line :meth:`by_round` for each name of ``lines``: of the rows with its values, and with
        the values ``where`` that all lines share."""
        return [self.by_round(metric, name, **{**where, **row}) for name, row in lines.items()]

    def falls_to(self, metric: str, level: float, **where: Any) -> pd.Series[float]:
        """The round in which ``metric`` has fallen to ``level``, as :func:`falls_to
        <swarm.common.statistics.falls_to>` finds it between rounds, by seed; NaN where it never
        has."""
        rows = _chosen(self.curves, where)
        if rows.empty or metric not in rows:
            return pd.Series(dtype=np.float64)
        runs = rows.dropna(subset=[metric]).sort_values("round").groupby(SEED)
        found = {seed: falls_to(run["round"], run[metric], level) for seed, run in runs}
        return pd.Series(found, dtype=np.float64)


def _chosen(rows: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The ``rows`` with the values ``where``; a tuple stands for any of its values, and NaN for a
    value that is missing."""
    if rows.empty:
        return rows
    keep = np.ones(len(rows), bool)
    for key, value in where.items():
        values = value if isinstance(value, tuple) else (value,)
        keep &= rows[key].isin(values).to_numpy() if key in rows else False
    return rows[keep]


def of_runs(
    runs: Iterable[tuple[Mapping[str, Any], int, Run]], prediction: Mapping[str, Any] | None = None
) -> Results:
    """The results of finished runs, each with the values of its condition and its seed."""
    finals: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []
    devices: list[pd.DataFrame] = []
    for values, seed, run in runs:
        summary = run.summary or {}
        topology, data = summary.get("topology") or {}, summary.get("data") or {}
        common = {**values, SEED: seed}
        about = {entry.key: summary.get(entry.key) for entry in run.presentation.entries}
        about["parameters"] = summary.get("parameters")
        about["frozen_bytes"] = summary.get("frozen_bytes_per_device", 0)
        about["spectral_gap"] = topology.get("spectral_gap")
        about["train_samples"] = data.get("train")
        about["features"] = math.prod(data.get("features") or [])
        for arm, final in summary.get("arms", {}).items():
            finals.append(
                {**about, **final, "diverged": bool(final.get("diverged")), **common, "arm": arm}
            )
            devices.append(run.final_devices(arm).assign(**common))
        curves.append(run.metrics.assign(**common))
    joined, rows = (
        pd.concat(each, ignore_index=True) if each else pd.DataFrame() for each in (curves, devices)
    )
    return Results(pd.DataFrame(finals), joined, prediction or {}, rows)
