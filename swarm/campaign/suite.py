"""Several claims, one after the other; each has a folder of its own below the suite's."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm import checkpoint
from swarm.build import build, option
from swarm.campaign import run
from swarm.campaign.plan import Plan
from swarm.campaign.verdicts import print_verdicts
from swarm.claim.base import Suite
from swarm.errors import SwarmError
from swarm.folder import Folder
from swarm.report.load import load
from swarm.settings import Settings
from swarm.single import Result, overridden


@dataclass(frozen=True)
class Plans:
    """The claims of a suite, checked."""

    settings: Settings
    plans: tuple[Plan, ...]

    @property
    def outline(self) -> str:
        """What it would run, in a few words."""
        return "; ".join(f"{plan.name}: {plan.outline}" for plan in self.plans)

    @classmethod
    def checked(cls, settings: Settings) -> Plans:
        """Build and check every claim. Raises :class:`swarm.errors.ConfigError` for the first that cannot work."""
        suite = build(settings.scenario, Suite, "scenario", settings.plugins)
        each = [settings.model_copy(update={"scenario": option("scenario", name)}) for name in suite.members()]
        return cls(settings, tuple(Plan.checked(one) for one in each))


def start(plans: Plans, folder: Path) -> Result:
    """Judge them all in a new folder."""
    home = Folder.create(folder, plans.settings)
    with home.lock():
        return _judge(plans, home, {})


def resume(folder: Path, overrides: dict[str, Any]) -> Result:
    """Go on with a suite; a claim that is finished is not judged again."""
    home, config = Folder.open(folder)
    plans = Plans.checked(Settings.parse(overridden(config, overrides)))
    with home.lock():
        return _judge(plans, home, overrides)


def _judge(plans: Plans, home: Folder, overrides: dict[str, Any]) -> Result:
    summaries, failed = [], []
    for plan in plans.plans:
        place = home.path / plan.name
        try:
            if (place / "config.yaml").exists():
                run.resume(place, overrides)
            else:
                run.start(plan, place)
        except run.FailedTrialsError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append(plan.name)
        summaries.append(load(place).summary or {})
    rows = [{**row, "scenario": summary["scenario"]} for summary in summaries for row in summary["verdicts"]]
    total = {
        "schema": 1, "run": home.name, "scenario": "all", "preset": summaries[0]["preset"] if summaries else None,
        "verdicts": rows, "failed": failed, "wall_s": sum(summary["wall_s"] for summary in summaries),
    }  # fmt: skip
    checkpoint.write_json(home.path / "summary.json", total)
    print_verdicts(summaries)
    print(f"run folder: {home.path}")
    if failed:
        raise SwarmError(f"runs failed in {', '.join(failed)}; resume={home.path} tries them again")
    return Result(home.path, total)
