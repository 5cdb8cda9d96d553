"""Writes the results of a sweep into files, and prints them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swarm.common.errors import counted
from swarm.experiments.sweep.gather import ANY, SweepResults
from swarm.experiments.sweep.job import Job
from swarm.experiments.sweep.picture import draw
from swarm.experiments.sweep.plan import SweepPlan
from swarm.results.columns import heading
from swarm.results.presentation import SummaryEntry
from swarm.results.track.units import human_bytes, human_entry, human_score, human_time
from swarm.simulation import checkpoint
from swarm.simulation.metrics.base import Column

Row = dict[Any, Any]
Shown = tuple[str, Callable[[Row], str]]
"""A column of the table for people: its head, and the function that gives its cell of a row."""


def write(plan: SweepPlan, jobs: Sequence[Job], found: SweepResults | None, subject: str) -> None:
    """Write every file of the sweep, each atomically; ``summary.json`` is the last."""
    place = plan.place
    if found is not None:
        for name, frame in (("table", found.table), ("runs", found.runs), ("curves", found.curves)):
            checkpoint.write_bytes(place / f"{name}.csv", frame.to_csv(index=False).encode())
        picture = draw(found, f"{subject} · {' × '.join(plan.swept)}", _counted(found, jobs))
        checkpoint.write_bytes(place / "sweep.png", picture)
    checkpoint.write_bytes(place / "table.md", markdown(plan, jobs, found, subject).encode())
    checkpoint.write_json(place / "summary.json", summary(plan, jobs, found))


def summary(plan: SweepPlan, jobs: Sequence[Job], found: SweepResults | None) -> dict[str, Any]:
    """The content of ``summary.json``: the jobs with state and cause, and the table."""
    return {
        "schema": 1,
        "sweep": plan.place.name,
        "swept": plan.swept,
        "code": plan.code,
        "counts": dict(Counter("finished" if job.state == "there" else job.state for job in jobs)),
        "jobs": [{**job.facts(plan.place), "state": job.state, "cause": job.cause} for job in jobs],
        "score": found.score if found else None,
        "arm": found.lead if found else None,
        "same_in_all_combinations": found.common if found else [],
        "interval": "95%, Student's t over seeds",
        "table": _plain_rows(found.table) if found else [],
    }


def _plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict("records")
    return [
        {
            str(k): None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in row.items()
        }
        for row in rows
    ]


def markdown(plan: SweepPlan, jobs: Sequence[Job], found: SweepResults | None, subject: str) -> str:
    """The content of ``table.md``: the table, the jobs without a result, and the picture."""
    parts = [f"# {subject}, a sweep of {' × '.join(plan.swept) or 'one run'}"]
    if found is not None:
        parts.append(_counted(found, jobs) + ".")
        heads, rows = cells(found, full=True)
        align = ["---" if i < len(found.keys) + 1 else "---:" for i in range(len(heads))]
        parts.append(
            "\n".join(
                "| " + " | ".join(line) + " |" for line in [heads, align, *map(_escaped, rows)]
            )
        )
        if found.common:
            same = (
                f"`{ANY}`: the same in all combinations, bit for bit ({', '.join(found.common)})."
            )
            parts.append(same)
        parts.append(
            "![Score by rounds, bytes and virtual seconds, and by spectral gap](sweep.png)"
        )
    without = lost(jobs)
    if without:
        parts.append(
            "Without a result:\n\n"
            + "\n".join(f"- {' '.join(_escaped([line]))}" for line in without)
        )
    return "\n\n".join(parts) + "\n"


def _escaped(row: Sequence[str]) -> list[str]:
    return [text.replace("|", "\\|") for text in row]


def _counted(found: SweepResults, jobs: Sequence[Job]) -> str:
    """A sentence on how many runs and seeds the figures rest on."""
    done = sum(job.state in ("finished", "there") for job in jobs)
    most, fewest = int(found.table["seeds"].max()), int(found.table["seeds"].min())
    over = counted(most, "seed") if most == fewest else f"up to {counted(most, 'seed')}"
    text = f"{done} of {counted(len(jobs), 'run')}; mean and 95% interval (Student's t) over {over}"
    if most < 2:
        text = f"{done} of {counted(len(jobs), 'run')}; one seed, so there are no intervals"
    diverged = int(found.table["diverged"].sum())
    text += f"; {diverged} diverged and are left out of the means" if diverged else ""
    others = int(
        (
            found.runs[found.score].isna()
            & ~found.runs["diverged"]
            & (found.runs["arm"] == found.lead)
        ).sum()
    )
    return text + (
        f"; {others} are scored otherwise and have no {found.score.replace('_', ' ')}"
        if others
        else ""
    )


def lost(jobs: Sequence[Job]) -> list[str]:
    """A line for each job without a result, with its cause."""
    rest = [job for job in jobs if job.state not in ("finished", "there")]
    said = {"impossible": "impossible", "failed": "failed"}
    return [
        f"{job.title}: {said.get(job.state, 'not finished')}{f': {job.cause}' if job.cause else ''}"
        for job in rest
    ]


def cells(found: SweepResults, full: bool) -> tuple[list[str], list[list[str]]]:
    """The heads and rows of the table for people.

    Without ``full`` it fits into 80 characters: columns that are the same everywhere are left out,
    and combination and arm share a column."""
    columns = _columns(found, full)
    rows = found.table.to_dict("records")
    return [head for head, _ in columns], [[cell(row) for _, cell in columns] for row in rows]


def _columns(found: SweepResults, full: bool) -> list[Shown]:
    table = found.table
    seeds = full or table["seeds"].nunique() > 1 or table["diverged"].any()
    columns: list[Shown] = [("combination", found.title)]
    if full:
        columns = [_text(key) for key in (*found.keys, "arm")]

    def score(row: Row) -> str:
        form = "e" if found.main.logarithmic else "f"
        return _with_half(row, found.score, digits=2 if form == "e" else 3, form=form)

    columns += [
        (found.main.label, score),
        ("worst decile", lambda row: human_score(row["worst_decile"])),
        # they do not fit into 80 characters
        *(_metric(column) for column in (found.metrics if full else ())),
        ("bytes", lambda row: human_bytes(row["bytes_total"])),
    ]
    if full or table["virtual_s"].nunique() > 1:
        columns.append(("virtual time", lambda row: human_time(row["virtual_s"])))
    for entry in found.presentation.on("sweep"):
        if table[entry.key].notna().any():
            columns.append(_entry(entry))
    if table["spectral_gap"].notna().any():
        columns.append(("spectral gap", _spectral_gap))
    return [*columns, ("seeds", _seeds)] if seeds else columns


def _text(key: str) -> Shown:
    return key, lambda row: str(row[key])


def _metric(column: Column) -> Shown:
    return heading(column), lambda row: _with_half(row, column.key)


def _entry(entry: SummaryEntry) -> Shown:
    """The column of a number that the scenario declared: its mean, and half its interval if its
    form has one."""

    def cell(row: Row) -> str:
        if entry.form == "percent":
            return _with_half(row, entry.key, 100, entry.digits, "%")
        if entry.form == "number":
            return _with_half(row, entry.key, digits=entry.digits)
        return human_entry(entry, row[entry.key])

    return entry.title, cell


def _spectral_gap(row: Row) -> str:
    return "–" if math.isnan(row["spectral_gap"]) else f"{row['spectral_gap']:.4g}"


def _seeds(row: Row) -> str:
    return str(row["seeds"]) + (f" (+{row['diverged']} diverged)" if row["diverged"] else "")


def _with_half(
    row: Row, name: str, times: float = 1, digits: int = 3, unit: str = "", form: str = "f"
) -> str:
    """A mean and half of its interval; with ``form="e"`` by powers of ten."""
    mean, low, high = (times * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(mean):
        return "–"
    text = f"{mean:.{digits}{form}}"
    fine = 0 if form == "e" else digits
    return (text if math.isnan(low) else f"{text} ± {(high - low) / 2:.{fine}{form}}") + unit


def show(
    plan: SweepPlan, jobs: Sequence[Job], found: SweepResults | None, console: Console | None = None
) -> None:
    """Print the table, the jobs without a result, and where the files are."""
    console = console or Console()
    if found is not None:
        heads, rows = cells(found, full=False)
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="bold", pad_edge=False)
        for head in heads:
            left = head == "combination"
            words = head.replace(" ", "\n", 1)
            table.add_column(
                words, justify="left" if left else "right", no_wrap=not left, overflow="fold"
            )
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
        console.print(_counted(found, jobs) + ".", markup=False, highlight=False)
        if found.common:
            text = f"The same in all combinations, bit for bit: {', '.join(found.common)}."
            console.print(text, markup=False, highlight=False)
    without = lost(jobs)
    if without:
        console.print("Without a result:", markup=False, highlight=False)
        for line in without:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    files = "table.md, table.csv, sweep.png" if found else "table.md"
    console.print(
        f"sweep folder: {plan.place} ({files})", markup=False, highlight=False, soft_wrap=True
    )


def subject_of(jobs: Sequence[Job]) -> str:
    """The scenario, devices, topology and data of the sweep, from the summary of a finished run;
    swept ones are left out."""
    from swarm.results.load import load

    for job in jobs:
        if job.state in ("finished", "there"):
            summary = load(job.folder).summary or {}
            scenario, devices = summary.get("scenario"), summary.get("devices")
            swept = {key.partition(".")[0] for key in job.values}
            parts = [
                scenario if "scenario" not in swept else None,
                counted(devices, "device") if devices and "devices" not in swept else None,
            ]
            parts += [
                (summary.get(key) or {}).get("name") if key not in swept else None
                for key in ("topology", "data")
            ]
            return " · ".join(str(part) for part in parts if part)
    return "no run"
