"""A claim from its plan to its verdict: run, foretell, run what was foretold, judge, and write the page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from swarm import checkpoint
from swarm.campaign.page import write_pages
from swarm.campaign.plan import Plan, Trial, folder_of
from swarm.campaign.trials import Say, run_trials
from swarm.campaign.verdicts import facts_of, print_verdicts
from swarm.claim.base import Verdict
from swarm.claim.results import Results, of_runs
from swarm.errors import ConfigError, SwarmError
from swarm.folder import Folder
from swarm.provenance import code_version, read_json
from swarm.report.load import load
from swarm.settings import Settings
from swarm.single import Result, overridden
from swarm.study import versions
from swarm.track.jsonl import tree

PREDICTION = "prediction.json"
SECONDS = "seconds.json"


class FailedTrialsError(SwarmError):
    """Some runs of a claim failed. Everything else is done and written."""


def start(plan: Plan, folder: Path) -> Result:
    """Judge the claim in a new folder."""
    home = Folder.create(folder, plan.settings)
    with home.lock():
        return _judge(plan, home)


def resume(folder: Path, overrides: dict[str, Any]) -> Result:
    """Go on with a claim: finished runs are kept, interrupted ones go on, failed ones are tried again. Of its config only
    ``engine`` and ``tracker`` may change."""
    home, config = Folder.open(folder)
    if "rounds" in overrides:
        raise ConfigError("rounds", overrides["rounds"], "cannot change on resume of a scenario that judges a claim")
    plan = Plan.make(Settings.parse(overridden(config, overrides)))
    if home.finished() and not _summary(folder).get("failed"):
        print(f"{folder} is finished already; nothing to do")
        return Result(folder, _summary(folder))
    plan.check()
    with home.lock():
        return _judge(plan, home)


def _judge(plan: Plan, home: Folder) -> Result:
    say = _say(Console())
    code, began = code_version(plan.settings.plugins), time.perf_counter()
    claim, before = plan.claim, _seconds(home.path)
    (home.path / "summary.json").unlink(missing_ok=True)
    count = len(plan.trials)
    say(f"scenario={plan.name} preset={claim.preset}: {count} runs, {claim.budget.seeds} seeds, in {home.path}")
    failed = run_trials(home.path, plan.first, code, claim.jobs, say)
    if plan.later:
        if not failed:
            _foretell(plan, home.path, say)
            failed |= run_trials(home.path, plan.later, code, claim.jobs, say)
        else:
            say("the prediction needs all runs before it: nothing is foretold")
    seconds = before + time.perf_counter() - began
    checkpoint.write_json(home.path / SECONDS, {"seconds": seconds})
    results = _results(home.path, plan.trials)
    verdicts = _verdicts(plan, results, failed)
    summary: dict[str, Any] = {
        "schema": 1,
        "run": home.name,
        "scenario": plan.name,
        "preset": claim.preset,
        "seeds": claim.budget.seeds,
        "first_seed": plan.settings.seed,
        "verdicts": [facts_of(verdict, claim.preset) for verdict in verdicts],
        "failed": failed,
        "runs": count,
        "totals": _totals(results),
        "wall_s": seconds,
        "code": code,
        "versions": versions(),
    }
    summary = tree(summary)
    write_pages(plan, results, summary, home.path)
    checkpoint.write_json(home.path / "summary.json", summary)
    print_verdicts([summary])
    print(f"run folder: {home.path}")
    if failed:
        first = next(iter(failed.items()))
        raise FailedTrialsError(
            f"{len(failed)} of {count} runs failed, the first is {first[0]} ({first[1]}); resume={home.path} tries again"
        )
    return Result(home.path, summary)


def _foretell(plan: Plan, home: Path, say: Say) -> None:
    """Write the prediction down; one that is there already stands."""
    if not (home / PREDICTION).exists():
        foretold = plan.claim.foretell(_results(home, plan.first))
        checkpoint.write_json(home / PREDICTION, tree(foretold))
    say(f"the prediction stands in {home / PREDICTION}; now the runs it is about")


def _verdicts(plan: Plan, results: Results, failed: dict[str, str]) -> list[Verdict]:
    if failed:
        because = f"{len(failed)} of {len(plan.trials)} runs failed"
        return [hypothesis.verdict(None, because) for hypothesis in plan.claim.hypotheses]
    return plan.claim.judge(results)


def _results(home: Path, trials: Sequence[Trial]) -> Results:
    """Of the trials that are finished."""
    done = [trial for trial in trials if (folder_of(home, trial) / "summary.json").exists()]
    return of_runs((trial.condition.values, trial.seed, load(folder_of(home, trial))) for trial in done)


def _totals(results: Results) -> dict[str, Any]:
    """What all arms of all runs have cost."""
    names = ("steps_total", "bytes_total", "joules_total", "wall_s")
    return {name: float(results.finals[name].sum()) for name in names if name in results.finals}


def _seconds(home: Path) -> float:
    return float((read_json(home / SECONDS) or {}).get("seconds") or 0.0)


def _summary(folder: Path) -> dict[str, Any]:
    return load(folder).summary or {}


def _say(console: Console) -> Say:
    return lambda sentence: console.print(sentence, markup=False, highlight=False, soft_wrap=True)
