"""A contract test over every yaml of conf/scenario that judges a claim.

A new one joins by existing.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from scenarios.all import judging
from swarm.common.system import paths
from swarm.config.build import build, option
from swarm.config.settings import Settings
from swarm.experiments.claims.base import Claim
from swarm.experiments.claims.page.page import picture
from swarm.experiments.claims.plan import ClaimPlan, folder_of
from swarm.experiments.claims.results import Results
from swarm.experiments.resolved import resolve
from tests.conftest import composed

ROOT = Path(__file__).parents[3]


def plan(name: str, preset: str) -> ClaimPlan:
    return ClaimPlan.make(resolve(Settings.parse(composed(f"scenario={name}", f"preset={preset}"))))


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("name", judging())
def test_its_runs_can_be_and_stand_apart(name: str, preset: str, tmp_path: Any) -> None:
    made = plan(name, preset)
    assert made.name == name
    folders = [folder_of(tmp_path, trial) for trial in made.trials]
    assert len({str(folder).lower() for folder in folders}) == len(folders)
    assert all(len(folder.name) < 200 for folder in folders)
    seeds = {trial.seed for trial in made.trials}
    assert len(seeds) == made.claim.budget.seeds >= (5 if preset == "full" else 1)
    for trial in made.first:  # every condition under every seed: differences are paired
        assert {other.seed for other in made.first if other.condition == trial.condition} == seeds


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("name", judging())
def test_the_controls_are_among_its_runs(name: str, preset: str) -> None:
    arms = {
        arm
        for trial in plan(name, preset).trials
        for arm in trial.settings.scenario.get("arms", ())
    }
    assert {"swarm", "isolated", "centralised"} <= arms


@pytest.mark.parametrize("name", judging())
def test_what_is_claimed_is_on_record(name: str) -> None:
    claim = build(option("scenario", name), Claim, "scenario")
    assert claim.hypotheses
    for hypothesis in claim.hypotheses:
        for text in (hypothesis.statement, hypothesis.metric, hypothesis.rule):
            assert text.strip()
        assert "confirmed" in hypothesis.rule
        assert hypothesis.chart >= 1
        assert "refuted" in hypothesis.rule
    assert (type(claim).__doc__ or "").strip()


@pytest.mark.parametrize("name", judging())
def test_it_says_what_it_does_not_test(name: str) -> None:
    claim = build(option("scenario", name), Claim, "scenario")
    assert claim.untested.endswith(".")
    published = ROOT / "docs" / "claims" / name
    if published.is_dir():  # a claim is published once it has been judged
        page = (published / "README.md").read_text(encoding="utf-8")
        assert "## What this does not test\n\n" in page
        assert all((published / picture(h.chart)).is_file() for h in claim.hypotheses)


@pytest.mark.parametrize("name", judging())
def test_its_page_is_empty_as_long_as_no_run_is_finished(name: str) -> None:
    claim = build(option("scenario", name), Claim, "scenario")
    nothing = Results(pd.DataFrame(), pd.DataFrame())
    measured = [line for each in claim.charts(nothing) for line in each.lines if line.kind != "law"]
    assert not any(np.isfinite(line.y_K).any() for line in measured)
    assert len(claim.table(nothing))


@pytest.mark.parametrize("name", judging())
def test_its_yaml_says_what_it_is_and_lists_its_options(name: str) -> None:
    text = (paths.conf() / "scenario" / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    values = yaml.safe_load(text)
    claim = build(option("scenario", name), Claim, "scenario")
    options = set(inspect.signature(type(claim).__init__).parameters) - {"self", "preset"}
    assert options == values.keys() - {"_target_"}
    usual = {"first_seed"}  # 0 where a claim has not been judged before
    for preset in ("quick", "full"):
        assert type(claim).Budget.model_fields.keys() - usual == values[preset].keys() - usual


def test_a_claim_that_is_judged_anew_has_seeds_of_its_own() -> None:
    words = ("scenario=scaling", "preset=full", "seed=3", "scenario.full.seeds=5")
    made = ClaimPlan.make(resolve(Settings.parse(composed(*words))))
    assert {trial.seed for trial in made.trials} == set(range(603, 608))
    assert made.first_seed == 603
    assert {trial.seed for trial in plan("scaling", "quick").trials} == set(range(5))
