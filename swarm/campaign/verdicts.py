"""Verdicts as facts for programs and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swarm.claim.base import Preset, Verdict
from swarm.errors import ConfigError
from swarm.study.provenance import read_json

STYLES = {"confirmed": "bold green", "refuted": "bold red", "indicates": "cyan", "undecided": "yellow"}


class Row(BaseModel):
    """A verdict in ``summary.json``."""

    model_config = ConfigDict(strict=True)
    verdict: str
    claim: str
    number: int
    because: str
    metric: str
    rule: str
    figures: dict[str, Any]


class Summary(BaseModel):
    """What is read of a claim's ``summary.json``."""

    model_config = ConfigDict(strict=True)
    run: str
    scenario: str
    preset: str
    seeds: int
    runs: int
    verdicts: list[Row]
    failed: dict[str, str]
    totals: dict[str, float | None]
    wall_s: float
    code: dict[str, Any]
    versions: dict[str, str]


def summary_in(claim: Path) -> dict[str, Any] | None:
    """The ``summary.json`` of a claim; None while there is none. Raises :class:`ConfigError` where it is not what a claim
    writes."""
    file = claim / "summary.json"
    if not file.exists():
        return None
    found = read_json(file)
    try:
        Summary.model_validate(found)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "all of it"
        raise ConfigError(
            "/summary.json", file, f"is not what a claim writes, in {where}; remove it to judge again"
        ) from None
    return found


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
            table.add_row(escape(summary["scenario"]), escape(row["claim"]), verdict, escape(row["because"]))
    console.print(table)
