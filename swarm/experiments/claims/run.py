"""Leads a claim from its plan to its verdict: it runs the first trials, predicts, runs the holdout,
concludes, and writes the page.
"""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.plugin import blamed
from swarm.config.schema import read_json
from swarm.experiments.claims.base import Verdict, verdicts_of
from swarm.experiments.claims.page.page import PAGE, write_pages
from swarm.experiments.claims.page.verdicts import facts_of, print_verdicts, summary_in
from swarm.experiments.claims.plan import ClaimPlan, Trial, folder_of
from swarm.experiments.claims.results import Results, of_runs
from swarm.experiments.claims.starts import placed, write_starts
from swarm.experiments.claims.trials import (
    Code,
    Say,
    failures,
    finished,
    run_trials,
    set_outdated_aside,
)
from swarm.experiments.resolved import resolve
from swarm.experiments.runs.describe import versions
from swarm.experiments.runs.run import Result, attach, overridden
from swarm.results.folder import Folder
from swarm.results.load import load
from swarm.results.provenance import code_version
from swarm.results.schemas import ClaimSummary, Prediction, Seconds, closing
from swarm.results.status import SUPERSEDED, archive, noted, summary_of
from swarm.results.track.jsonl import tree
from swarm.simulation import checkpoint

PREDICTION = "prediction.json"
SECONDS = "seconds.json"
# says why conclude failed, though all runs are finished; removed once it succeeds
UNJUDGED = "unjudged.json"


class UnjudgedError(SwarmError):
    """Some runs of a claim failed, or its ``conclude`` did. Everything else is done and
    written."""


def start(plan: ClaimPlan, folder: Path, words: Sequence[str] | None = None) -> Result:
    """Run and judge a claim in a new folder; ``words`` are its settings as they were typed.

    Raises :class:`UnjudgedError` if runs or the verdict fail."""
    with Folder.create(folder, plan.settings, words) as home:
        return _run_and_conclude(plan, home)


def resume(folder: Path, overrides: dict[str, Any]) -> Result:
    """Go on with a claim: finished runs are kept, interrupted ones go on, failed ones are tried
    again. Of its config only ``engine`` and ``tracker`` may change. If only the verdict or the page
    is missing, no run is started.

    Raises :class:`ConfigError` for another change, and :class:`UnjudgedError` as :func:`start`
    does."""
    home, _ = Folder.open(folder)
    if "rounds" in overrides:
        raise ConfigError(
            "rounds",
            overrides["rounds"],
            "cannot change on resume of a scenario that judges a claim",
        )
    summary = summary_of(folder, ClaimSummary)
    if home.finished() and not overrides and summary and not summary["failed"]:
        print(f"{folder} is finished already; nothing to do")
        return Result(folder, summary)
    with home.lock():
        _, settings = Folder.open(folder)  # read again, as another process may have changed it
        plan = ClaimPlan.make(resolve(overridden(settings, overrides)))
        if (summary := summary_of(folder, ClaimSummary)) and not summary["failed"]:
            return _complete(plan, home, summary)
        if (folder / UNJUDGED).exists() and all(finished(folder, trial) for trial in plan.trials):
            files = redrawn(plan, home)
            attach(plan.settings, home, [*files, folder / PREDICTION], print)
            return Result(folder, summary_in(folder) or {})
        plan.check()
        return _run_and_conclude(plan, home)


def _complete(plan: ClaimPlan, home: Folder, summary: dict[str, Any]) -> Result:
    """The result of a claim that is judged; its page is drawn if it is missing."""
    if home.finished():
        print(f"{home.path} is finished already; nothing to do")
    else:
        attach(plan.settings, home, redrawn(plan, home), print)
        print(f"{home.path} was finished but for its page, which is drawn now")
    return Result(home.path, summary)


def redraw(folder: Path) -> list[Path]:
    """Draw the page of a claim again, finished or not; returns the files.

    It starts no run and imports no plug-in. It judges only if all runs are finished and
    ``conclude`` had failed.

    Raises :class:`ConfigError` for a claim whose class comes from a plug-in.
    """
    home, settings = Folder.open(folder)
    target = str(settings.scenario["_target_"])
    if settings.plugins and not target.startswith(("swarm.", "scenarios.")):
        valid = (
            "draws the page of this claim, and comes from a plug-in; a report runs no code that a"
            " folder names. If "
        )
        raise ConfigError("scenario", target, f"{valid}{PAGE} is missing, resume={folder} draws it")
    return redrawn(ClaimPlan.to_look_at(settings), home)


def redrawn(plan: ClaimPlan, home: Folder) -> list[Path]:
    """Write the pages of a claim from the runs that are finished; returns the files."""
    folder = home.path
    results, damaged = _results(folder, plan.trials)
    summary = summary_in(folder)
    if summary is None:
        done = sum(finished(folder, trial) for trial in plan.trials) - len(damaged)
        if done == len(plan.trials):
            code = noted(folder_of(folder, plan.trials[0])).code
            return _conclude(plan, home, code, results, {})[1]
        because = f"not finished: {done} of {len(plan.trials)} runs are"
        verdicts = [hypothesis.verdict(None, because) for hypothesis in plan.claim.hypotheses]
        failed = damaged | failures(folder, plan.trials)
        summary = _summary(plan, home, {}, verdicts, results, failed)
        return write_pages(plan, results, summary, folder, whole=False)
    return write_pages(plan, results, summary, folder, whole=not summary["failed"] and not damaged)


def _run_and_conclude(plan: ClaimPlan, home: Folder) -> Result:
    say = _say(Console())
    code, count = code_version(plan.settings.plugins), len(plan.trials)
    (home.path / "summary.json").unlink(missing_ok=True)
    say(f"scenario={plan.name} preset={plan.claim.preset}: {plan.outline}, in {home.path}")
    with _clock(home.path):
        failed = _run(plan, home.path, code, say)
    results, damaged = _results(home.path, plan.trials)
    failed |= damaged
    summary, files = _conclude(plan, home, code, results, failed)
    attach(plan.settings, home, [*files, home.path / PREDICTION], say)
    print_verdicts([(home.path, summary)])
    print(f"run folder: {home.path}")
    if failed:
        name, cause = next(iter(failed.items()))
        raise UnjudgedError(
            f"{len(failed)} of {count} runs failed, the first is {name} ({cause});"
            f" resume={home.path} tries again"
        )
    return Result(home.path, summary)


def _conclude(
    plan: ClaimPlan, home: Folder, code: Code, results: Results, failed: dict[str, str]
) -> tuple[dict[str, Any], list[Path]]:
    """Judge, and write the page and the summary. If ``conclude`` fails, the page is written without
    a summary, as the runs may have taken hours.

    Raises :class:`UnjudgedError` if ``conclude`` fails."""
    verdicts, defect = _verdicts(plan, results, failed)
    summary = _summary(plan, home, code, verdicts, results, failed)
    files = write_pages(plan, results, summary, home.path, whole=not failed and defect is None)
    if defect:
        print_verdicts([(home.path, summary)])
        checkpoint.write_json(home.path / UNJUDGED, {"because": defect})
        again = f"resume={home.path} judges again, and repeats no run"
        raise UnjudgedError(f"all {len(plan.trials)} runs are finished, but {defect}; {again}")
    checkpoint.write_json(home.path / "summary.json", closing(summary))
    (home.path / UNJUDGED).unlink(missing_ok=True)
    return summary, files


def _run(plan: ClaimPlan, home: Path, code: Code, say: Say) -> dict[str, str]:
    """Run all trials: those that start from the model of another one after all others, and those
    of the holdout after the prediction.

    Returns the causes of failures by trial.
    """
    plan = placed(plan, home)
    outdated = set_outdated_aside(home, plan.trials, code, say)
    # a prediction from runs that are moved away is moved away too
    if (home / PREDICTION).exists() and any(trial in plan.first for trial in outdated):
        (home / SUPERSEDED).mkdir(exist_ok=True)
        (home / PREDICTION).rename(home / SUPERSEDED / f"{time.time_ns()}-{PREDICTION}")
    failed = _run_in_order(home, plan.first, code, plan, say)
    if not plan.holdout:
        return failed
    if failed:
        say("the prediction needs all runs before it, so nothing is predicted")
        return failed
    _predict(plan, home, say)
    return _run_in_order(home, plan.holdout, code, plan, say)


def _run_in_order(
    home: Path, trials: Sequence[Trial], code: Code, plan: ClaimPlan, say: Say
) -> dict[str, str]:
    """Run trials, those that start from the model of another one last. Returns the causes of
    failures by trial."""
    jobs = plan.claim.jobs
    alone = [trial for trial in trials if trial.condition.start is None]
    failed = run_trials(home, alone, code, jobs, say) if alone else {}
    waiting = [trial for trial in trials if trial.condition.start is not None]
    if not waiting:
        return failed
    if failed:
        say("runs that start from the models of others wait until all of these are finished")
        return failed
    failed = write_starts(home, waiting, plan, code)
    ready = [trial for trial in waiting if trial.name not in failed]
    return failed | run_trials(home, ready, code, jobs, say)


def _predict(plan: ClaimPlan, home: Path, say: Say) -> None:
    """Write the prediction down before any run of the holdout; one that is there already is
    kept."""
    if not (home / PREDICTION).exists():
        for trial in plan.holdout:
            if folder_of(home, trial).exists():  # a run for an earlier prediction
                archive(folder_of(home, trial), home)
        results, _ = _results(home, plan.first)
        checkpoint.write_json(home / PREDICTION, tree(plan.claim.predict(results)))
    say(f"the prediction is in {home / PREDICTION}; the runs that it predicts start now")


def _verdicts(
    plan: ClaimPlan, results: Results, failed: dict[str, str]
) -> tuple[list[Verdict], str | None]:
    """The verdicts, and the reason if the claim's ``conclude`` failed (else None). If it or any run
    failed, all verdicts are undecided."""
    because, defect = f"{len(failed)} of {len(plan.trials)} runs failed", None
    if not failed:
        try:
            with blamed():
                return verdicts_of(plan.claim, results), None
        except SwarmError as error:
            because = defect = f"the judge of {plan.name} failed ({error})"
        except Exception as error:
            traceback.print_exc()
            because = defect = f"the judge of {plan.name} failed ({type(error).__name__}: {error})"
    return [hypothesis.verdict(None, because) for hypothesis in plan.claim.hypotheses], defect


def _results(home: Path, trials: Sequence[Trial]) -> tuple[Results, dict[str, str]]:
    """The results of the finished trials, and the causes why some of them cannot be read."""
    runs, damaged = [], {}
    for trial in trials:
        if finished(home, trial):
            try:
                runs.append((trial.condition.values, trial.seed, load(folder_of(home, trial))))
            except ConfigError as error:
                damaged[trial.name] = str(error)
    file = home / PREDICTION
    prediction = read_json(file, Prediction, "resume") if file.exists() else None
    return of_runs(runs, prediction), damaged


def _summary(
    plan: ClaimPlan,
    home: Folder,
    code: Code,
    verdicts: Sequence[Verdict],
    results: Results,
    failed: dict[str, str],
) -> dict[str, Any]:
    found = {
        "schema": 1,
        "run": home.name,
        "scenario": plan.name,
        "preset": plan.claim.preset,
        "seeds": plan.claim.budget.seeds,
        "first_seed": plan.first_seed,
        "verdicts": [
            facts_of(verdict, plan.claim.preset, plan.claim.budget.seeds) for verdict in verdicts
        ],
        "failed": failed,
        "runs": len(plan.trials),
        "totals": _totals(results),
        "wall_s": _seconds(home.path),
        "code": code,
        "versions": versions(),
    }
    return dict(tree(found))


def _totals(results: Results) -> dict[str, Any]:
    """What all arms of all runs have cost."""
    names = ("steps_total", "bytes_total", "joules_total", "wall_s")
    return {name: float(results.finals[name].sum()) for name in names if name in results.finals}


@contextmanager
def _clock(home: Path) -> Iterator[None]:
    """Add the seconds of the block to those of earlier starts, also if it is interrupted."""
    began, before = time.perf_counter(), _seconds(home)
    try:
        yield
    finally:
        checkpoint.write_json(home / SECONDS, {"seconds": before + time.perf_counter() - began})


def _seconds(home: Path) -> float:
    if not (home / SECONDS).exists():
        return 0.0
    try:
        return float(read_json(home / SECONDS, Seconds, "resume")["seconds"])
    except ConfigError as error:
        warnings.warn(f"{error}; the wall time is counted from here on", stacklevel=2)
        return 0.0


def _say(console: Console) -> Say:
    return lambda sentence: console.print(sentence, markup=False, highlight=False, soft_wrap=True)
