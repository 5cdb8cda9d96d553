"""Writes the page of a claim: ``report.html``, and ``verdict.md`` with its pictures, which a
repository can show.
"""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, TypeVar

import pandas as pd
import yaml

from swarm.common.errors import counted
from swarm.experiments.claims.base import Claim
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.page.line_looks import Looks, looks
from swarm.experiments.claims.page.pictures import DARK, NARROW, draw
from swarm.experiments.claims.plan import ClaimPlan
from swarm.experiments.claims.results import Results
from swarm.results.report.html import page as html
from swarm.results.track.units import human_bytes, human_energy, human_time
from swarm.simulation import checkpoint

PAGE, MARKDOWN, TABLE, RUNS = "report.html", "verdict.md", "table.csv", "runs.csv"
INTERVALS = "Brackets are 95% intervals over seeds (Student's t); differences are paired by seed."
_LISTED = 8  # arms that diverged
UNTESTED, RUN = "What this does not test", "What was run"
LONG = 48  # a cell of more characters is broken into lines
Facts = Mapping[str, Any]
T = TypeVar("T")


def write_pages(
    plan: ClaimPlan, results: Results, summary: Facts, home: Path, whole: bool
) -> list[Path]:
    """Write page, verdict, pictures and tables into the claim's folder ``home``; returns their
    paths.

    Unless ``whole``, runs or the verdict are missing. A table or chart that fails without them is
    then left out, and a note on the page says so.
    """
    notes = [
        *(f"{name} failed: {cause}" for name, cause in summary["failed"].items()),
        *_left_out(results, plan),
    ]

    def made(make: Callable[[Results], T], nothing: T, what: str) -> T:
        try:
            return nothing if results.finals.empty else make(results)
        except Exception as error:
            if whole:
                raise
            notes.append(f"The {what} cannot be shown ({type(error).__name__}: {error}).")
            return nothing

    table = made(plan.claim.table, pd.DataFrame(), "table")
    charts = made(plan.claim.charts, list[Chart](), "charts")
    drawn = [draw(chart, places=looks(charts)) for chart in charts]
    files = {home / picture(number): png for number, png in enumerate(drawn, 1)}
    files[home / MARKDOWN] = markdown(plan, table, charts, summary, notes).encode()
    files[home / TABLE] = table.to_csv(index=False).encode()
    files[home / RUNS] = _scalars(results.finals).to_csv(index=False).encode()
    if plan.settings.report:
        files[home / PAGE] = page(plan, table, charts, drawn, summary, notes, home).encode()
    for file, content in files.items():  # the page is written last, so if it exists, all do
        checkpoint.write_bytes(file, content)
    for old in set(home.glob(picture("*"))) - set(files):
        old.unlink()
    return list(files)


def pages_in(home: Path) -> list[Path]:
    """What :func:`write_pages` has written into the claim's folder ``home``."""
    charts = sorted(home.glob(picture("*")), key=lambda file: (len(file.name), file.name))
    named = [home / name for name in (MARKDOWN, TABLE, RUNS, PAGE)]
    return [*charts, *(file for file in named if file.is_file())]


def picture(number: int | str) -> str:
    """The file name of a chart."""
    return f"chart{number}.png"


def _left_out(results: Results, plan: ClaimPlan) -> list[str]:
    """A note on the arms that diverged, and what that means for the figures."""
    gone = [
        f"{arm} of {trial.name}"
        for trial in plan.trials
        for arm in results.diverged(**trial.condition.values, seed=trial.seed)
    ]
    more = f" and {len(gone) - _LISTED:,} more, listed in runs.csv" if len(gone) > _LISTED else ""
    return [f"{plan.claim.diverged}: {'; '.join(gone[:_LISTED])}{more}."] if gone else []


def _scalars(finals: pd.DataFrame) -> pd.DataFrame:
    keep = [
        name for name in finals if not finals[name].map(lambda v: isinstance(v, dict | list)).any()
    ]
    return finals[keep]


# --- for people with a browser --------------------------------------------------------------------


def page(
    plan: ClaimPlan,
    table: pd.DataFrame,
    charts: Sequence[Chart],
    drawn: Sequence[bytes],
    summary: Facts,
    notes: Sequence[str],
    home: Path,
) -> str:
    """The HTML of the page, self-contained; ``drawn`` are the charts drawn for a light page.

    All text is escaped, and the page loads nothing from elsewhere.
    """
    own = {key: value for key, value in plan.settings.model_dump().items() if key != "resume"}
    runs = {"scenario": own, "every run": plan.claim.settings, "conditions": _conditions(plan)}
    config = yaml.safe_dump(
        json.loads(json.dumps(runs)), sort_keys=False, allow_unicode=True, width=100
    )
    body = [
        *(f'<p class="card note" role="alert">{escape(line)}</p>' for line in notes),
        *map(_verdict, summary["verdicts"]),
        _about(plan.claim),
        *(_figure(chart, png, looks(charts)) for chart, png in zip(charts, drawn, strict=True)),
        f'<section class="card"><h2>Results</h2><div class="scroll">{_table(table)}</div>'
        f'<p class="hint">{escape(INTERVALS)}</p></section>' if len(table.columns) else "",
        f'<section class="card"><h2>{UNTESTED}</h2><p>{escape(plan.claim.untested)}</p></section>'
        if plan.claim.untested else "",
        f'<div class="facts">{_facts(plan, summary, home)}</div>',
        f'<details class="card"><summary>Config</summary><pre>{escape(config)}</pre></details>',
    ]  # fmt: skip
    return framed(
        str(summary["run"]), _title(plan), _subtitle(plan.claim, summary), "\n".join(body)
    )


def framed(name: str, title: str, subtitle: str, body: str) -> str:
    """The HTML of a page with this head; ``body`` is HTML, the other arguments are text."""
    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        style=html.part("css"),
        name=escape(name),
        title=escape(title),
        subtitle=escape(subtitle),
        body=body,
    )


def _title(plan: ClaimPlan) -> str:
    numbers = sorted({hypothesis.number for hypothesis in plan.claim.hypotheses})
    return f"{plan.name}: claim{'s' if len(numbers) > 1 else ''} {' and '.join(map(str, numbers))}"


def _subtitle(claim: Claim, summary: Facts) -> str:
    quick = "" if claim.preset == "full" else " A quick preset only indicates; preset=full judges."
    return (
        f"preset={claim.preset}: {counted(summary['runs'], 'run')},"
        f" {counted(summary['seeds'], 'seed')},"
        f" {human_time(summary['wall_s'])}.{quick}"
    )


def _verdict(row: Facts) -> str:
    terms = {"metric": row["metric"], "rule": row["rule"]}
    if row.get("decided_by"):
        terms["what would decide it"] = row["decided_by"]
    listed = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in terms.items())
    return (
        f'<section class="card verdicts"><h2>{escape(row["claim"])}</h2>'
        f"<p>{badge(row['verdict'])} {escape(row['because'])}</p><dl>{listed}</dl></section>"
    )


def paragraphs(claim: Claim) -> list[str]:
    """What a claim runs and measures, as the docstring of its class says it."""
    text = inspect.cleandoc(type(claim).__doc__ or "")
    return [" ".join(each.split()) for each in text.split("\n\n") if each.strip()]


def _about(claim: Claim) -> str:
    told = [re.sub("`+(.+?)`+", r"<code>\1</code>", escape(each)) for each in paragraphs(claim)]
    body = "".join(f"<p>{each}</p>" for each in told)
    return f'<section class="card"><h2>{RUN}</h2>{body}</section>' if told else ""


def badge(verdict: str) -> str:
    """The HTML of a verdict in its colour."""
    return f'<span class="badge {escape(verdict)}">{escape(verdict)}</span>'


def _figure(chart: Chart, on_light: bytes, places: Looks) -> str:
    dark, narrow = "(prefers-color-scheme:dark)", "(max-width:640px)"
    others = {
        f"{narrow} and {dark}": draw(chart, DARK, NARROW, places),
        narrow: draw(chart, form=NARROW, places=places),
        dark: draw(chart, DARK, places=places),
    }
    sources = "".join(
        f'<source media="{media}" srcset="{inline_png(png)}">' for media, png in others.items()
    )
    image = f'<img class="figure" alt="{escape(chart.title)}" src="{inline_png(on_light)}">'
    kinds = {line.kind for line in chart.lines}
    marks = " and ".join(
        name for name, kind in (("Bands", "line"), ("Bars", "points")) if kind in kinds
    )
    hint = f'<p class="hint">{marks} are 95% intervals over seeds.</p>' if marks else ""
    return f'<section class="card"><picture>{sources}{image}</picture>{hint}</section>'


def inline_png(png: bytes) -> str:
    """A picture as the address of an image, which a page holds in itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table)
    rows = "".join(
        f"<tr>{''.join(map(_tagged, range(len(row)), row))}</tr>"
        for row in table.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _tagged(column: int, value: Any) -> str:
    text = _cell(value)
    kind = ' class="long"' if len(text) > LONG else ""
    return f"<td{kind}>{escape(text)}</td>" if column else f"<th>{escape(text)}</th>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    return "–" if value is None else str(value)


def _facts(plan: ClaimPlan, summary: Facts, home: Path) -> str:
    groups = {
        "Budget": _budget(summary),
        "Runs": {"folder": home.name, **_code(summary)},
        "Versions": summary["versions"],
    }
    return "".join(
        f'<section class="card"><h2>{title}</h2><dl>'
        + "".join(
            f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>"
            for key, value in group.items()
        )
        + "</dl></section>"
        for title, group in groups.items()
    )


def _budget(summary: Facts) -> dict[str, str]:
    """What all arms of all runs have cost, in words."""
    totals = summary["totals"]
    first, count = summary["first_seed"], summary["seeds"]
    found = {
        "runs": str(summary["runs"]),
        "seeds": f"{first} … {first + count - 1}" if count > 1 else str(first),
    }
    if "steps_total" in totals:
        found["local steps"] = f"{totals['steps_total']:,.0f}"
    found["bytes sent"] = human_bytes(totals.get("bytes_total"))
    if totals.get("joules_total"):
        found["energy"] = human_energy(totals["joules_total"])
    return {**found, "wall time": human_time(summary["wall_s"])}


def _code(summary: Facts) -> dict[str, str]:
    code = summary["code"]
    return {
        name: str(code[name])[:16] for name in ("version", "source", "commit") if code.get(name)
    }


def _conditions(plan: ClaimPlan) -> list[dict[str, Any]]:
    seen = {trial.condition.title: trial.condition for trial in plan.trials}
    return [{"name": title, **condition.changes} for title, condition in seen.items()]


# --- for people with a repository -----------------------------------------------------------------


def markdown(
    plan: ClaimPlan,
    table: pd.DataFrame,
    charts: Sequence[Chart],
    summary: Facts,
    notes: Sequence[str],
) -> str:
    """The page as Markdown, which refers to the pictures beside it."""
    lines = [f"# {_title(plan)}", "", _subtitle(plan.claim, summary), ""]
    lines += [*(f"- {note}" for note in notes), ""] if notes else []
    for row in summary["verdicts"]:
        lines += [f"## {row['claim']}", "", f"**{row['verdict']}**: {row['because']}", ""]
        lines += [f"- Metric: {row['metric']}", f"- Rule: {row['rule']}"]
        if row.get("decided_by"):
            lines += [f"- What would decide it: {row['decided_by']}"]
        lines += [""]
    if told := paragraphs(plan.claim):
        lines += [f"## {RUN}", "", *(line for each in told for line in (each, ""))]
    for number, chart in enumerate(charts, 1):
        lines += [f"![{chart.title}]({picture(number)})", ""]
    if len(table.columns):
        cells = [[str(name) for name in table], ["---"] * len(table.columns)]
        cells += [[_cell(value) for value in row] for row in table.itertuples(index=False)]
        lines += [markdown_row(row) for row in cells] + ["", INTERVALS, ""]
    if plan.claim.untested:
        lines += [f"## {UNTESTED}", "", plan.claim.untested, ""]
    budget = ", ".join(f"{name} {value}" for name, value in _budget(summary).items())
    words = " ".join(f"{key}={value}" for key, value in plan.claim.settings.items())
    lines += ["## To repeat it", "", f"Budget: {budget}. Settings of every run: `{words}`.", ""]
    return "\n".join([*map(plain, lines), f"The command: `{plan.command}`.", ""])


def plain(text: str) -> str:
    """``text`` on one line, escaped so that no Markdown renderer takes it for HTML."""
    return " ".join(text.splitlines()).replace("<", "&lt;")


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(plain(cell).replace("|", "\\|") for cell in cells) + " |"
