"""Gathers the runs of a sweep in data frames, with mean and interval over the seeds.

The interval is Student's: mean ± t(0.975, n − 1)·s/√n over the n seeds of a combination (Student
1908). A single seed has no interval. Arms that diverged are left out of mean and interval; how many
there are stands beside the mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from swarm.common.errors import SwarmError, counted
from swarm.common.statistics import interval
from swarm.experiments.sweep.job import ANEW, Job
from swarm.experiments.sweep.rows import Rows
from swarm.results.columns import Score, measured, on
from swarm.results.load import Run, load_numbers
from swarm.results.presentation import UNDECLARED, Presentation
from swarm.simulation.metrics.base import Column

SEED = "seed"
# stands for the swept values in the row of a control that is the same in all combinations
ANY = "any"
COSTS = ("bytes_total", "virtual_s", "joules_total", "wall_s")
OWN = ("wall_s", "spectral_gap", "run")  # columns about a run, not about a control in it


@dataclass(frozen=True, repr=False)
class SweepResults:
    """The results of a sweep's finished runs.

    Attributes:
        keys: The swept keys without the seed, whose values distinguish the combinations.
        main: The main score of the runs, or what stands in its place in runs without learning.
        lead: The arm that is compared; the others are its controls.
        common: The controls with the same final parameters, bit for bit, in all combinations of a
            seed.
        runs: One row per run and arm.
        table: One row per combination and arm: means and intervals over seeds.
        curves: One row per combination, arm and evaluated round.
        metrics: The further metrics that the tables show.
        presentation: The roles of the arms, and the entries of the scenarios, which are in the rows
            of the leading arm.
    """

    keys: list[str]
    main: Score
    lead: str
    common: list[str]
    runs: pd.DataFrame
    table: pd.DataFrame
    curves: pd.DataFrame
    metrics: tuple[Column, ...] = ()
    presentation: Presentation = UNDECLARED

    def __repr__(self) -> str:
        count = self.runs["run"].nunique()
        over = ", ".join(self.keys) or "seeds"
        return (
            f"<sweep over {over}: {counted(count, 'run')},"
            f" {counted(len(self.combinations), 'combination')}>"
        )

    @property
    def score(self) -> str:
        """``accuracy``, ``r2``, a metric of the user's own, or ``consensus_distance`` in runs
        without learning: the column of the tables."""
        return self.main.name

    @cached_property
    def combinations(self) -> list[dict[str, str]]:
        """The combinations of the leading arm, in the order of the command."""
        rows = self.table[self.table["arm"] == self.lead]
        return [{key: str(row[key]) for key in self.keys} for row in rows.to_dict("records")]

    @cached_property
    def arms(self) -> list[str]:
        """All arms, the leading one first."""
        return [self.lead, *(arm for arm in self.table["arm"].unique() if arm != self.lead)]

    @cached_property
    def _rows(self) -> dict[str, dict[tuple[str, ...], Rows]]:
        """The rows of the table and of the curves by arm and combination."""
        found: dict[str, dict[tuple[str, ...], Rows]] = {}
        for name, frame in (("table", self.table), ("curves", self.curves)):
            columns = {str(key): frame[key].to_numpy() for key in frame}
            by = [frame[key].tolist() for key in ("arm", *self.keys) if key in frame]
            places: dict[tuple[str, ...], list[int]] = {}
            for place, values in enumerate(zip(*by, strict=True)):
                places.setdefault(values, []).append(place)
            found[name] = {values: Rows(columns, each) for values, each in places.items()}
            found[name][()] = Rows(columns, [])
        return found

    def title(self, row: Mapping[Any, Any]) -> str:
        """The title of a row: its combination, and its arm if that is not the leading one."""
        arm = str(row["arm"])
        if not self.keys or arm in self.common:
            return arm
        name = label({key: str(row[key]) for key in self.keys})
        return name if arm == self.lead else f"{name}, {arm}"


def rows_of(
    found: SweepResults, name: Literal["table", "curves"], values: Mapping[str, str], arm: str
) -> Rows:
    """The rows of the table or of the curves that belong to an arm of a combination."""
    rows = found._rows[name]
    return rows.get((arm, *(values[key] for key in found.keys)), rows[()])


def gather(jobs: Sequence[Job]) -> SweepResults | None:
    """Read the finished runs of ``jobs``; None if there is none.

    A job whose run cannot be read gets the state ``failed`` and a cause.
    """
    runs: list[tuple[Job, Run]] = []
    for job in jobs:
        if job.state in ("finished", "there"):
            try:
                run = load_numbers(job.folder)
                if run.summary is None:
                    raise SwarmError(f"{job.folder} has no summary.json any more")
                if run.arms and not {"arms", "seed"} <= run.summary.keys():
                    raise SwarmError(
                        f"{job.folder}/summary.json: damaged; must have `arms` and `seed`"
                    )
                runs.append((job, run))
            except SwarmError as error:
                job.state, job.cause = "failed", f"{error}; {ANEW}"
    if not any(run.arms for _, run in runs):
        return None
    keys = [key for key in runs[0][0].values if key != SEED]
    score = next((run.main for _, run in runs if run.main), runs[0][1].distance)
    shown = Presentation.of_many(run.presentation for _, run in runs)
    first = shown.lead(dict.fromkeys(arm for _, run in runs for arm in run.arms))
    declared = [entry.key for entry in shown.entries]
    known = on((column for _, run in runs for column in run.columns), "sweep")
    last = [run.final(arm) for _, run in runs for arm in run.arms]
    metrics = tuple(column for column in measured(known, last) if column.key != score.mean)
    further = [column.key for column in metrics]
    finals = pd.DataFrame(
        [
            row
            for job, run in runs
            for row in _finals(job, run, keys, score, first, further, declared)
        ]
    )
    curves = _curves(runs, keys, score)
    common = _common(finals, keys, first, (*OWN, *declared))
    by = [*keys, "arm"]
    each = _collapsed(finals, keys, common)
    table = _over_seeds(each, by, lambda rows: _row(rows, score.name, further, declared))
    lines = _collapsed(curves, keys, common, "round")
    curves = _over_seeds(
        lines[~lines["diverged"]], [*by, "round"], lambda rows: _point(rows, score.name)
    )
    return SweepResults(keys, score, first, common, finals, table, curves, metrics, shown)


def _finals(
    job: Job,
    run: Run,
    keys: list[str],
    score: Score,
    first: str,
    further: list[str],
    declared: list[str],
) -> list[dict[str, Any]]:
    summary = run.summary or {}
    topology = summary.get("topology") or {}
    rows = []
    for arm, final in summary["arms"].items():
        own = summary if arm == first else {}
        rows.append(
            {
                **{key: job.values.get(key, "") for key in keys},
                SEED: summary["seed"],
                "arm": arm,
                score.name: final.get(score.mean),
                "worst_decile": final.get(score.worst_decile),
                "consensus": final.get(score.consensus),
                **{key: own.get(key) for key in declared},
                **{key: final.get(key) for key in further},
                **{cost: final.get(cost) for cost in COSTS},
                "lr": final.get("lr"),
                "spectral_gap": topology.get("spectral_gap"),
                "diverged": bool(final.get("diverged")),
                "params_sha256": final.get("params_sha256"),
                "run": job.name,
            }
        )
    return rows


def _curves(runs: Sequence[tuple[Job, Run]], keys: list[str], score: Score) -> pd.DataFrame:
    """The evaluated rounds of all runs, one row per run, arm and round."""
    wanted = {"arm": "arm", "round": "round", score.mean: score.name}
    there = {name for _, run in runs for name in run.metrics}
    wanted |= {name: name for name in ("bytes_total", "virtual_s") if name in there}
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    for job, run in runs:
        rows, summary = run.metrics, run.summary or {}
        scored = score.mean in rows
        kept = rows[score.mean].notna().to_numpy() if scored else np.zeros(len(rows), np.bool_)
        found = {
            name: rows[key].to_numpy()[kept] if key in rows else np.full(kept.sum(), np.nan)
            for key, name in wanted.items()
        }
        ended = [arm for arm, final in summary["arms"].items() if final.get("diverged")]
        values = {key: job.values.get(key, "") for key in keys}
        same = {key: np.full(kept.sum(), value, object) for key, value in values.items()}
        found |= {**same, SEED: np.full(kept.sum(), summary["seed"])}
        found["diverged"] = np.isin(found["arm"].astype(object), ended)
        for name, column in found.items():
            parts.setdefault(name, []).append(column)
    return pd.DataFrame({name: np.concatenate(each) for name, each in parts.items()})


def _common(finals: pd.DataFrame, keys: list[str], first: str, own: Sequence[str]) -> list[str]:
    """The controls that the swept keys do not change: those with equal hashes of the parameters and
    equal numbers in all combinations of a seed. At least one seed must have been run in all
    combinations, or some combination would not have been compared with the others."""
    if not keys:
        return []
    told = ["params_sha256", *(name for name in finals.columns[len(keys) + 2 :] if name not in own)]
    found = []
    for arm, rows in finals[finals["arm"] != first].groupby("arm", sort=False):
        seeds, combinations = rows.groupby(SEED), len(rows.drop_duplicates(keys))
        same = rows["params_sha256"].notna().all() and (seeds[told].nunique(dropna=False) == 1).all(
            axis=None
        )
        if same and seeds.size().max() == combinations > 1:
            found.append(str(arm))
    return found


def _collapsed(
    rows: pd.DataFrame, keys: list[str], common: Sequence[str], *more: str
) -> pd.DataFrame:
    """``rows`` with one row for each seed of a common control, instead of one for each
    combination."""
    if not common:
        return rows
    shared = rows["arm"].isin(common)
    once = (
        rows[shared].drop_duplicates(subset=["arm", SEED, *more]).assign(**dict.fromkeys(keys, ANY))
    )
    if "spectral_gap" in once:
        once["spectral_gap"] = math.nan
    return pd.concat([rows[~shared], once], ignore_index=True)


def _over_seeds(
    rows: pd.DataFrame, by: list[str], row: Callable[[Rows], dict[str, Any]]
) -> pd.DataFrame:
    """One row for each group, in the order in which the groups first appear."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, values in enumerate(zip(*(rows[name].tolist() for name in by), strict=True)):
        groups.setdefault(values, []).append(place)
    table = {str(name): _numbers(rows[name]) for name in rows if name not in by}
    made = [
        {**dict(zip(by, values, strict=True)), **row(Rows(table, places))}
        for values, places in groups.items()
    ]
    return pd.DataFrame(made, columns=None if made else by)


def _numbers(column: pd.Series[Any]) -> npt.NDArray[Any]:
    """A column as numbers, or as it is where it has others than numbers."""
    try:
        return np.asarray(pd.to_numeric(column))
    except (TypeError, ValueError):
        return column.to_numpy()


def _row(rows: Rows, score: str, further: list[str], declared: list[str]) -> dict[str, Any]:
    diverged = rows["diverged"].astype(np.bool_)
    good = rows.where(~diverged)
    mean, low, high = interval(good[score])
    means = {name: interval(good[name])[0] for name in ("worst_decile", "consensus", *COSTS, "lr")}
    own: dict[str, float] = {}
    for name in (*further, *declared):
        ends = zip((name, f"{name}_low", f"{name}_high"), interval(good[name]), strict=True)
        own |= dict(ends)
    return {
        "seeds": len(good),
        "diverged": int(diverged.sum()),
        score: mean,
        f"{score}_low": low,
        f"{score}_high": high,
        **means,
        **own,
        "spectral_gap": interval(rows["spectral_gap"])[0],
    }


def _point(rows: Rows, score: str) -> dict[str, Any]:
    mean, low, high = interval(rows[score])
    known = [name for name in ("bytes_total", "virtual_s") if name in rows.table]
    costs = {name: interval(rows[name])[0] for name in known}
    return {
        "seeds": len(rows), score: mean, f"{score}_low": low, f"{score}_high": high, **costs,
    }  # fmt: skip


def label(values: Mapping[str, str]) -> str:
    """The label of a combination in a legend: ``ring``, ``batch=16``, ``ring, batch=16``."""
    parts = []
    for key, value in values.items():
        plain = not _is_number(value) and value not in (
            "true",
            "false",
            "null",
            "none",
            "auto",
            ANY,
        )
        parts.append(value if plain else f"{key.rpartition('.')[2]}={value}")
    return ", ".join(parts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
