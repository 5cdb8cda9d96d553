"""Verdicts as facts of ``summary.json``, and as a table in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swarm.common.statistics import Bound
from swarm.experiments.claims.base import Preset, Verdict
from swarm.results.schemas import ClaimSummary, read_summary

MOST_SEEDS = 1000  # that a preset may have
Facts = Mapping[str, Any]
STYLES = {
    "confirmed": "bold green",
    "refuted": "bold red",
    "indicates": "cyan",
    "undecided": "yellow",
}


def summary_in(claim: Path, key: str = "/summary.json") -> dict[str, Any] | None:
    """The ``summary.json`` of a claim; None if there is none yet.

    Raises :class:`ConfigError` about ``key`` if it is damaged.
    """
    file = claim / "summary.json"
    return read_summary(file, ClaimSummary, key) if file.exists() else None


def facts_of(verdict: Verdict, preset: Preset, seeds: int) -> dict[str, Any]:
    """The entry of a verdict on ``seeds`` seeds in ``summary.json``."""
    hypothesis = verdict.hypothesis
    return {
        "verdict": verdict.word(preset),
        "claim": f"{hypothesis.number}. {hypothesis.statement}",
        "number": hypothesis.number,
        "because": verdict.because,
        "decided_by": decided_by(verdict, preset, seeds),
        "metric": hypothesis.metric,
        "rule": hypothesis.rule,
        "chart": hypothesis.chart,
        "figures": dict(verdict.figures),
    }


def decided_by(verdict: Verdict, preset: Preset, seeds: int) -> str:
    """What would decide an undecided verdict on ``seeds`` seeds; empty if it is decided, or if its
    claim does not say."""
    if verdict.holds is not None or not (verdict.missing or verdict.bounds):
        return ""
    if preset == "quick":
        return "preset=full, which has more seeds or longer runs"
    return verdict.missing or more_seeds(verdict.bounds, seeds)


def more_seeds(bounds: Mapping[str, Bound], now: int) -> str:
    """How many seeds would decide whether all of ``bounds`` hold, if means and scatter stay as the
    ``now`` seeds have them: as many as the bound needs that needs most; or, where a mean lies
    beyond its limit, as many as make this certain, which refutes."""
    undecided = {name: bound for name, bound in bounds.items() if bound.holds is None}
    if not undecided:
        return ""
    needs = {name: bound.seeds(now) for name, bound in undecided.items()}
    beyond = [name for name, bound in undecided.items() if not bound.likely]
    name = min(beyond, key=needs.__getitem__) if beyond else max(needs, key=needs.__getitem__)
    if math.isnan(needs[name]):
        return "two seeds or more, as one has no interval"
    if needs[name] > MOST_SEEDS:
        return f"no number of seeds that can be had, as the mean ({name}) lies at the rule's limit"
    return (
        f"about {math.ceil(needs[name])} seeds instead of {now} ({name}), if mean and scatter stay"
        " as they are"
    )


def sentence(because: str) -> str:
    """The first clause of a verdict's reason, up to the first semicolon outside brackets: a talk
    has no time for more.
    """
    depth = 0
    for place, sign in enumerate(because):
        depth += (sign in "([") - (sign in ")]")
        if sign == ";" and depth == 0:
            return because[:place]
    return because


def by_number(claims: Sequence[tuple[Path, Facts]]) -> list[tuple[Path, Facts, Facts]]:
    """Folder, summary and row of each verdict in these claims, in the order of their numbers."""
    rows = [
        (folder, summary, row) for folder, summary in claims for row in summary.get("verdicts", ())
    ]
    return sorted(rows, key=lambda found: found[2]["number"])


def print_verdicts(claims: Sequence[tuple[Path, Facts]], console: Console | None = None) -> None:
    """Print the table of the verdicts on these claims; of several claims each verdict has the first
    clause of its reason only."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="bold", pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    table.add_column("claim")
    table.add_column("verdict", no_wrap=True)
    table.add_column("because")
    for _, summary, row in by_number(claims):
        style = STYLES.get(row["verdict"].split()[0], "")
        verdict = f"[{style}]{escape(row['verdict'])}[/]"
        because = row["because"] if len(claims) == 1 else sentence(row["because"])
        table.add_row(escape(summary["scenario"]), escape(row["claim"]), verdict, escape(because))
    console.print(table)
