"""Writes the models that runs of a claim start from, each out of a run that is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save

from swarm.common.errors import SwarmError
from swarm.common.plugin import blamed
from swarm.experiments.claims.plan import ClaimPlan, Trial, folder_of
from swarm.experiments.claims.trials import Code
from swarm.results.load import load
from swarm.results.status import archive, note
from swarm.simulation import checkpoint

STARTS = "starts"
"""The folder of a claim in which these models lie, each in a file called by the run that starts
from it."""


def placed(plan: ClaimPlan, home: Path) -> ClaimPlan:
    """The plan in which every run that waits for another one has ``init=FILE``, a file in the
    claim's folder ``home`` that need not be there yet."""
    first, holdout = (
        tuple(_with_file(trial, home) for trial in trials) for trials in (plan.first, plan.holdout)
    )
    return replace(plan, first=first, holdout=holdout)


def write_starts(
    home: Path, waiting: Sequence[Trial], plan: ClaimPlan, code: Code
) -> dict[str, str]:
    """Write the model that each of these trials starts from. A trial that has begun from another
    one, as the run that gave it was run anew, is set aside.

    Returns the cause by the trial's name where a model cannot be had."""
    failed = {}
    for trial in waiting:
        folder, file = folder_of(home, trial), _file(home, trial)
        try:
            with blamed():
                model = _model(home, trial, plan)
        except Exception as error:
            said = (
                str(error) if isinstance(error, SwarmError) else f"{type(error).__name__}: {error}"
            )
            failed[trial.name] = " ".join(f"has no model to start from: {said}".split())
            note(folder, folder.name, code, "failed", failed[trial.name])
            continue
        if file.exists() and file.read_bytes() == model:
            continue
        if (folder / "config.yaml").exists():
            archive(folder, home)
        file.parent.mkdir(exist_ok=True)
        checkpoint.write_bytes(file, model)
    return failed


def _model(home: Path, trial: Trial, plan: ClaimPlan) -> bytes:
    """The file with the model that a trial starts from."""
    start = trial.condition.start
    assert start is not None
    (of,) = (
        each
        for each in plan.first
        if each.seed == trial.seed and dict(each.condition.values) == dict(start.values)
    )
    state = load(folder_of(home, of)).state_dict(start.arm, start.device)
    made = state if start.made is None else start.made(state)
    return save({name: value.detach().clone().contiguous() for name, value in made.items()})


def _with_file(trial: Trial, home: Path) -> Trial:
    if trial.condition.start is None:
        return trial
    # one path, wherever the command that goes on is typed: the run's settings hold it
    file = _file(home, trial).resolve()
    return replace(trial, settings=trial.settings.model_copy(update={"init": str(file)}))


def _file(home: Path, trial: Trial) -> Path:
    return home / STARTS / f"{trial.name}.safetensors"
