"""Verdicts as facts for programs and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swarm.experiments.claims.base import Preset, Verdict
from swarm.results.schemas import ClaimSummary, read_summary

STYLES = {
    "confirmed": "bold green",
    "refuted": "bold red",
    "indicates": "cyan",
    "undecided": "yellow",
}


def summary_in(claim: Path, key: str = "/summary.json") -> dict[str, Any] | None:
    """The ``summary.json`` of a claim; None while there is none.

    Raises :class:`ConfigError` on ``key`` where it is damaged.
    """
    file = claim / "summary.json"
    return read_summary(file, ClaimSummary, key) if file.exists() else None


def facts_of(verdict: Verdict, preset: Preset) -> dict[str, Any]:
    """For ``summary.json``."""
    hypothesis = verdict.hypothesis
    return {
        "verdict": verdict.word(preset),
        "claim": f"{hypothesis.number}. {hypothesis.statement}",
        "number": hypothesis.number,
        "because": verdict.because,
        "metric": hypothesis.metric,
        "rule": hypothesis.rule,
        "figures": dict(verdict.figures),
    }


def print_verdicts(summaries: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """The table of verdicts: of one claim's summary, or of several."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="bold", pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    table.add_column("claim")
    table.add_column("verdict", no_wrap=True)
    table.add_column("because")
    for summary in summaries:
        for row in summary["verdicts"]:
            style = STYLES.get(row["verdict"].split()[0], "")
            verdict = f"[{style}]{escape(row['verdict'])}[/]"
            table.add_row(
                escape(summary["scenario"]), escape(row["claim"]), verdict, escape(row["because"])
            )
    console.print(table)
