"""Runs several claims one after the other, each in a folder of its own below the suite's."""

from __future__ import annotations

import math
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from swarm.common.errors import ConfigError, SwarmError, counted
from swarm.config.build import option
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.experiments.claims import run
from swarm.experiments.claims.base import Suite
from swarm.experiments.claims.page.page import PAGE, badge, framed, inline_png
from swarm.experiments.claims.page.talk import TALK, chart_of, talk
from swarm.experiments.claims.page.verdicts import by_number, print_verdicts, sentence, summary_in
from swarm.experiments.claims.plan import ClaimPlan
from swarm.experiments.resolved import Resolved, resolve
from swarm.experiments.runs.describe import require_tracker
from swarm.experiments.runs.run import Result, attach, overridden
from swarm.experiments.runs.scenario import KindName
from swarm.results.folder import Folder
from swarm.results.schemas import closing
from swarm.results.track.units import human_time
from swarm.results.trust import admitted, below
from swarm.simulation import checkpoint

UNFINISHED = {"claim": "", "verdict": "undecided", "because": "not finished"}


@dataclass(frozen=True)
class SuitePlan:
    """The claims of a suite, checked."""

    kind: ClassVar[KindName] = "suite"

    settings: Settings
    plans: tuple[ClaimPlan, ...]

    @property
    def outline(self) -> str:
        """What the suite would run, in a few words."""
        return "; ".join(f"{plan.name}: {plan.outline}" for plan in self.plans)

    @classmethod
    def checked(cls, resolved: Resolved) -> SuitePlan:
        """Build and check every claim.

        Raises :class:`swarm.common.errors.ConfigError` for the first that cannot work.
        """
        settings, suite = resolved.settings, resolved.scenario
        assert isinstance(suite, Suite)
        require_tracker(settings)
        each = [
            settings.model_copy(update={"scenario": option("scenario", name)})
            for name in suite.members()
        ]
        print(f"checking the runs of {counted(len(each), 'claim')} before the first starts")
        return cls(settings, tuple(ClaimPlan.checked(resolve(one)) for one in each))


def start(plans: SuitePlan, folder: Path, words: Sequence[str] | None = None) -> Result:
    """Run and judge all claims in a new folder; ``words`` are the settings as they were typed.

    Raises :class:`~swarm.common.errors.SwarmError` if a claim has no verdict."""
    with Folder.create(folder, plans.settings, words) as home:
        return _run_all(plans, home, {})


def resume(folder: Path, overrides: dict[str, Any]) -> Result:
    """Go on with a suite; a claim that is finished is not judged again.

    Raises :class:`~swarm.common.errors.SwarmError` if a claim has no verdict."""
    home, _ = Folder.open(folder)
    with home.lock():
        _, settings = Folder.open(folder)
        plans = SuitePlan.checked(resolve(overridden(settings, overrides)))
        return _run_all(plans, home, overrides)


def redraw(folder: Path) -> list[Path]:
    """Draw the page of every claim that has begun, and the table of verdicts; returns the files."""
    home, _ = Folder.open(folder)
    claims = sorted((file.parent for file in folder.glob("*/config.yaml")), key=_first_number)
    files = []
    for claim in claims:
        try:
            files += run.redraw(claim)
        except SwarmError as error:  # the other claims are still drawn
            print(f"error: {error}", file=sys.stderr)
    return [*files, *_write_pages(home, [(claim, _summary(claim)) for claim in claims])]


def _run_all(plans: SuitePlan, home: Folder, overrides: dict[str, Any]) -> Result:
    failed: list[str] = []
    (home.path / "summary.json").unlink(missing_ok=True)
    for plan in plans.plans:
        try:
            _one(plan, home.path / plan.name, overrides)
        except SwarmError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append(plan.name)
        except Exception as error:  # the other claims are still judged
            traceback.print_exc()
            print(f"error: {plan.name}: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(plan.name)
    claims = [(home.path / plan.name, _summary(home.path / plan.name)) for plan in plans.plans]
    summaries = [summary for _, summary in claims if summary]
    total = {
        "schema": 1,
        "run": home.name,
        "scenario": choice("scenario", plans.settings.scenario),
        "preset": plans.settings.preset or "quick",
        "verdicts": [
            {**row, "scenario": summary["scenario"]}
            for summary in summaries
            for row in summary["verdicts"]
        ],
        "failed": failed,
        "wall_s": sum(summary["wall_s"] for summary in summaries),
    }
    pages = _write_pages(home, claims)
    checkpoint.write_json(home.path / "summary.json", closing(total))
    attach(plans.settings, home, pages, print)
    print_verdicts([(claim, summary) for claim, summary in claims if summary])
    print(f"run folder: {home.path}")
    if failed:
        raise SwarmError(f"no verdict from {', '.join(failed)}; resume={home.path} tries again")
    return Result(home.path, total)


def _one(plan: ClaimPlan, place: Path, overrides: dict[str, Any]) -> None:
    if (place / "config.yaml").exists():
        there = Folder.open(place)[1].model_dump()
        with admitted(place, overrides, below(there, plan.settings.model_dump())):
            run.resume(place, overrides)
    else:
        run.start(plan, place)


def _summary(claim: Path) -> dict[str, Any]:
    """The summary of a finished claim; empty for any other."""
    try:
        return summary_in(claim, "resume") or {}
    except ConfigError as error:
        warnings.warn(f"{error}; the suite is shown without it", stacklevel=2)
        return {}


def _first_number(claim: Path) -> tuple[float, str]:
    rows = _summary(claim).get("verdicts")
    return (rows[0]["number"] if rows else math.inf), claim.name


def _write_pages(home: Folder, claims: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[Path]:
    """Write the table of verdicts, with a link to the page of each claim, and the page for a talk;
    returns the files."""
    rows = [_row(claim, row) for claim, _, row in by_number(claims)]
    rows += [_row(claim, UNFINISHED) for claim, summary in claims if not summary.get("verdicts")]
    head = "<tr><th>claim</th><th>verdict</th><th>because</th><th>page</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    seconds = sum(summary.get("wall_s", 0.0) for _, summary in claims)
    presets = sorted({str(summary["preset"]) for _, summary in claims if summary})
    subtitle = f"preset={', '.join(presets) or '–'}: {len(claims)} claims, {human_time(seconds)}."
    body = (
        f'<section class="card verdicts"><div class="scroll">{table}</div></section>'
        f'<p class="hint"><a href="{TALK}">For a talk</a>: one claim, one picture, one sentence'
        " a screen.</p>"
    )
    pages = {
        PAGE: framed(home.name, "Verdicts", subtitle, body),
        TALK: talk(f"Verdicts of {home.name}", claims),
    }
    for name, page in pages.items():
        checkpoint.write_bytes(home.path / name, page.encode())
    return [home.path / name for name in pages]


def _row(claim: Path, row: Mapping[str, Any]) -> str:
    """A row of the table of verdicts: its picture, small, leads to the claim's page."""
    page, file = f"{quote(claim.name)}/{PAGE}", chart_of(claim, row)
    seen = escape(claim.name)
    if file:
        seen = f'<img class="small" alt="{seen}" src="{inline_png(file.read_bytes())}">'
    return (
        f"<tr><th>{escape(row['claim'])}</th><td>{badge(row['verdict'])}</td>"
        f"<td>{escape(sentence(row['because']))}</td>"
        f'<td><a href="{page}">{seen}</a></td></tr>'
    )
