"""Verdicts as facts of ``summary.json``, and as a table in the terminal."""

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
    """The ``summary.json`` of a claim; None if there is none yet.

    Raises :class:`ConfigError` about ``key`` if it is damaged.
    """
    file = claim / "summary.json"
    return read_summary(file, ClaimSummary, key) if file.exists() else None


def facts_of(verdict: Verdict, preset: Preset) -> dict[str, Any]:
    """The entry of a verdict in ``summary.json``."""
    hypothesis = verdict.hypothesis
    return {
        "verdict": verdict.word(preset),
        "claim": f"{hypothesis.number}. {hypothesis.statement}",
        "number": hypothesis.number,
        "because": verdict.because,
        "metric": hypothesis.metric,
        "rule": hypothesis.rule,
        "chart": hypothesis.chart,
        "figures": dict(verdict.figures),
    }


def print_verdicts(summaries: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print the table of the verdicts in these summaries."""
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
