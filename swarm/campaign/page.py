"""The page of a claim: ``report.html`` and, for a repository to show, ``verdict.md`` with its pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import yaml

from swarm import checkpoint
from swarm.campaign.pictures import DARK, LIGHT, draw
from swarm.campaign.plan import Plan
from swarm.claim.base import Claim
from swarm.claim.charts import Chart
from swarm.claim.results import Results
from swarm.report import html
from swarm.track.units import human_bytes, human_energy, human_time

PAGE, MARKDOWN, TABLE, RUNS = "report.html", "verdict.md", "table.csv", "runs.csv"
INTERVALS = "Brackets are 95% intervals over seeds (Student's t); differences are paired by seed."
Facts = Mapping[str, Any]


def write_pages(plan: Plan, results: Results, summary: Facts, home: Path) -> None:
    """Everything people look at, into the claim's folder: tables, pictures, page."""
    whole = not results.finals.empty
    table = plan.claim.table(results) if whole else pd.DataFrame()
    charts = plan.claim.charts(results) if whole else []
    checkpoint.write_bytes(home / TABLE, table.to_csv(index=False).encode())
    checkpoint.write_bytes(home / RUNS, _scalars(results.finals).to_csv(index=False).encode())
    for number, chart in enumerate(charts, 1):
        checkpoint.write_bytes(home / picture(number), draw(chart))
    checkpoint.write_bytes(home / MARKDOWN, markdown(plan, table, charts, summary).encode())
    if plan.settings.report:
        checkpoint.write_bytes(home / PAGE, page(plan, table, charts, summary, home).encode())


def picture(number: int) -> str:
    """The file of a chart."""
    return f"chart{number}.png"


def _scalars(finals: pd.DataFrame) -> pd.DataFrame:
    keep = [name for name in finals if not finals[name].map(lambda v: isinstance(v, dict | list)).any()]
    return finals[keep]


# --- for people with a browser ------------------------------------------------------------------------------------------


def page(plan: Plan, table: pd.DataFrame, charts: Sequence[Chart], summary: Facts, home: Path) -> str:
    """One self-contained page; every text in it is escaped, nothing is loaded from elsewhere."""
    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    own = {key: value for key, value in plan.settings.model_dump().items() if key != "resume"}
    runs = {"scenario": own, "every run": plan.claim.settings, "conditions": _conditions(plan)}
    return Template(template).substitute(
        style=html.part("css"), name=escape(str(summary["run"])), title=escape(_title(plan)),
        subtitle=escape(_subtitle(plan.claim, summary)), notes=_notes(summary),
        verdicts="".join(_verdict(row) for row in summary["verdicts"]), charts="".join(map(_figure, charts)),
        table=_table(table), hint=escape(INTERVALS), facts=_facts(plan, summary, home),
        config=escape(yaml.safe_dump(json.loads(json.dumps(runs)), sort_keys=False, allow_unicode=True, width=100)),
    )  # fmt: skip


def _title(plan: Plan) -> str:
    numbers = sorted({hypothesis.number for hypothesis in plan.claim.hypotheses})
    return f"{plan.name}: claim{'s' if len(numbers) > 1 else ''} {' and '.join(map(str, numbers))}"


def _subtitle(claim: Claim, summary: Facts) -> str:
    quick = "" if claim.preset == "full" else " A quick preset only indicates; preset=full judges."
    return f"preset={claim.preset}: {summary['runs']} runs, {summary['seeds']} seeds, {human_time(summary['wall_s'])}.{quick}"


def _notes(summary: Facts) -> str:
    failed = summary["failed"]
    lines = [f"{name} failed: {cause}" for name, cause in failed.items()]
    return "".join(f'<p class="card note" role="alert">{escape(line)}</p>' for line in lines)


def _verdict(row: Facts) -> str:
    kind = row["verdict"].split()[0]
    terms = {"metric": row["metric"], "rule": row["rule"]}
    listed = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in terms.items())
    return (
        f'<section class="card verdicts"><h2>{escape(row["claim"])}</h2>'
        f'<p><span class="badge {kind}">{escape(row["verdict"])}</span> {escape(row["because"])}</p><dl>{listed}</dl></section>'
    )


def _figure(chart: Chart) -> str:
    light, dark = (base64.b64encode(draw(chart, theme)).decode() for theme in (LIGHT, DARK))
    source = f'<source media="(prefers-color-scheme:dark)" srcset="data:image/png;base64,{dark}">'
    image = f'<img class="figure" alt="{escape(chart.title)}" src="data:image/png;base64,{light}">'
    return f'<section class="card"><picture>{source}{image}</picture></section>'


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table)
    rows = "".join(
        "<tr>"
        + "".join(f"<{tag}>{escape(_cell(value))}</{tag}>" for tag, value in zip(_tags(row), row, strict=True))
        + "</tr>"
        for row in table.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _tags(row: Sequence[Any]) -> list[str]:
    return ["th", *["td"] * (len(row) - 1)]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    return "–" if value is None else str(value)


def _facts(plan: Plan, summary: Facts, home: Path) -> str:
    groups = {
        "Budget": _budget(summary),
        "Runs": {"folder": home.name, **_code(summary)},
        "Versions": summary["versions"],
    }
    return "".join(
        f'<section class="card"><h2>{title}</h2><dl>'
        + "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in group.items())
        + "</dl></section>"
        for title, group in groups.items()
    )


def _budget(summary: Facts) -> dict[str, str]:
    """What was spent, by all arms of all runs."""
    totals = summary["totals"]
    first, count = summary["first_seed"], summary["seeds"]
    found = {"runs": str(summary["runs"]), "seeds": f"{first} … {first + count - 1}" if count > 1 else str(first)}
    if "steps_total" in totals:
        found["local steps"] = f"{totals['steps_total']:,.0f}"
    found["bytes sent"] = human_bytes(totals.get("bytes_total"))
    if totals.get("joules_total"):
        found["energy"] = human_energy(totals["joules_total"])
    return {**found, "wall time": human_time(summary["wall_s"])}


def _code(summary: Facts) -> dict[str, str]:
    code = summary["code"]
    return {name: str(code[name])[:16] for name in ("version", "source", "commit") if code.get(name)}


def _conditions(plan: Plan) -> list[dict[str, Any]]:
    seen = {trial.condition.title: trial.condition for trial in plan.trials}
    return [{"name": title, **condition.changes} for title, condition in seen.items()]


# --- for people with a repository ---------------------------------------------------------------------------------------


def markdown(plan: Plan, table: pd.DataFrame, charts: Sequence[Chart], summary: Facts) -> str:
    """The same as Markdown, beside its pictures."""
    lines = [f"# {_title(plan)}", "", _subtitle(plan.claim, summary), ""]
    lines += [f"- **{name} failed**: {cause}" for name, cause in summary["failed"].items()]
    for row in summary["verdicts"]:
        lines += [f"## {row['claim']}", "", f"**{row['verdict']}**: {row['because']}", ""]
        lines += [f"- Metric: {row['metric']}", f"- Rule: {row['rule']}", ""]
    for number, chart in enumerate(charts, 1):
        lines += [f"![{chart.title}]({picture(number)})", ""]
    if len(table.columns):
        cells = [[str(name) for name in table], ["---"] * len(table.columns)]
        cells += [[_cell(value).replace("|", "\\|") for value in row] for row in table.itertuples(index=False)]
        lines += ["| " + " | ".join(row) + " |" for row in cells] + ["", INTERVALS, ""]
    budget = ", ".join(f"{name} {value}" for name, value in _budget(summary).items())
    words = " ".join(f"{key}={value}" for key, value in plan.claim.settings.items())
    lines += [f"Budget: {budget}. Settings of every run: `{words}`.", ""]
    again = f"python run_swarm.py scenario={plan.name} preset={plan.claim.preset}"
    first = f" seed={plan.settings.seed}" if plan.settings.seed else ""
    return "\n".join([*lines, f"To repeat it: `{again}{first}`.", ""])
