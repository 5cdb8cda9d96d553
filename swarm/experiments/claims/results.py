"""The finished runs of a claim as data frames, with the queries that verdicts are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from swarm.common.statistics import Interval, interval
from swarm.experiments.claims.charts import Line
from swarm.results.load import Run

Floats = NDArray[np.float64]
SEED = "seed"


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

    def along(
        self,
        metric: str,
        x: str,
        name: str,
        kind: Literal["line", "points"] = "points",
        **where: Any,
    ) -> Line:
        """The final ``metric``, mean and interval over seeds, against the condition's value
        ``x``."""
        rows = _chosen(self.finals, where)
        at = sorted(rows[x].unique()) if x in rows else []
        return Line.through(
            name, at, (self.mean(metric, **where, **{x: value}) for value in at), kind
        )

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


def _chosen(rows: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    if rows.empty:
        return rows
    keep = np.ones(len(rows), bool)
    for key, value in where.items():
        keep &= (rows[key] == value).to_numpy() if key in rows else False
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
