"""What a claim runs, in which order, what it says in the end, and what it refuses before anything
is written.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from swarm.common.statistics import Bound, Interval, interval
from swarm.config.build import build, option
from swarm.experiments.claims.base import Claim, Hypothesis
from swarm.experiments.claims.page.verdicts import facts_of
from tests.cli.conftest import Command

from .conftest import TINY, Tiny, facts, hashes, stamps


def test_conditions_are_crossed_with_seeds_and_paired(judged: Path) -> None:
    names = {
        f"topology={name},seed={seed}" for name in ("ring", "complete", "star") for seed in (0, 1)
    }
    assert {run.name for run in (judged / "runs").iterdir()} == names
    for name in names:
        config = yaml.safe_load((judged / "runs" / name / "config.yaml").read_text())
        topology, _, seed = name.removeprefix("topology=").partition(",seed=")
        assert (config["seed"], config["topology"]) == (int(seed), option("topology", topology))
        assert (config["devices"], config["rounds"]) == (4, 2)
    (verdict,) = facts(judged)["verdicts"]
    runs = pd.read_csv(judged / "runs.csv").pivot(
        index="seed", columns="topology", values="accuracy_mean"
    )
    expected = interval(runs["ring"] - runs["complete"])
    assert verdict["figures"]["difference"] == pytest.approx([*expected])
    assert facts(judged)["runs"] == 6


def test_the_prediction_stands_before_the_later_runs_begin_and_for_good(
    judged: Path, command: Command
) -> None:
    prediction = judged / "prediction.json"
    stamp = prediction.stat().st_mtime_ns
    for run in (judged / "runs").iterdir():
        later = "star" in run.name
        assert (
            min(file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()) > stamp
        ) is later
        assert ((run / "summary.json").stat().st_mtime_ns > stamp) is later
    foretold = json.loads(prediction.read_text())
    assert facts(judged)["verdicts"][0]["figures"]["foretold"] == foretold
    (judged / "summary.json").unlink()
    assert command("resume=c").code == 0
    assert (prediction.stat().st_mtime_ns, json.loads(prediction.read_text())) == (stamp, foretold)


def test_no_later_run_is_older_than_the_prediction(judged: Path, command: Command) -> None:
    for name in ("summary.json", "prediction.json"):
        (judged / name).unlink()
    before = stamps()
    done = command("resume=c")
    assert (done.code, done.err) == (0, "")
    assert {name for name, stamp in stamps().items() if stamp != before[name]} == {
        f"topology=star,seed={seed}" for seed in (0, 1)
    }


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("quick", ("indicates yes", "indicates no", "undecided")),
        ("full", ("confirmed", "refuted", "undecided")),
    ],
)
def test_a_quick_preset_only_indicates(preset: str, words: tuple[str, ...]) -> None:
    hypothesis = Hypothesis(1, "statement", "metric", "rule")
    said = [hypothesis.verdict(holds, "because").word(preset) for holds in (True, False, None)]  # type: ignore[arg-type]
    assert tuple(said) == words


def test_a_full_preset_judges_over_five_seeds(tiny: Tiny) -> None:
    done = tiny("preset=full")
    assert (done.code, done.err) == (0, "")
    assert "confirmed" in done.out
    assert facts()["verdicts"][0]["verdict"] == "confirmed"
    assert sorted(hashes()) == [f"topology=ring,seed={seed}" for seed in range(5)]


def test_the_first_seed_moves_all(tiny: Tiny) -> None:
    assert tiny("seed=7", "scenario.quick.seeds=1", "scenario.quick.topologies=[ring]").code == 0
    assert [*hashes()] == ["topology=ring,seed=7"]
    assert facts()["verdicts"][0]["verdict"] == "indicates yes"
    assert "seed=7 scenario" not in Path("c/verdict.md").read_text()
    assert "seed=7" in Path("c/verdict.md").read_text()


def test_a_preset_may_begin_with_another_seed(tiny: Tiny) -> None:
    words = ("+scenario.quick.first_seed=2", "scenario.quick.seeds=1", "seed=7")
    assert tiny(*words, "scenario.quick.topologies=[ring]").code == 0
    assert [*hashes()] == ["topology=ring,seed=9"]
    assert facts()["first_seed"] == 9


def test_as_many_at_a_time_as_one_likes(judged: Path, tiny: Tiny) -> None:
    assert tiny("scenario.jobs=2", "scenario.quick.foretold=[star]", folder="two").code == 0
    assert hashes("two") == hashes(judged)
    assert facts("two")["verdicts"] == facts(judged)["verdicts"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scenario=drift", "devices=5"), "devices=5: is set by scenario=drift for its own runs"),
        (
            ("scenario=drift", "topology=ring"),
            "topology=ring: is set by scenario=drift for its own runs",
        ),
        (
            ("scenario=drift", "topology.k=4"),
            "topology.k=4: is set by scenario=drift for its own runs",
        ),
        (("scenario=drift", "preset=half"), "preset=half: must be one of quick, full or null"),
        (
            ("scenario=compare", "preset=quick"),
            "preset=quick: is for scenarios that judge claims, and compare is one run",
        ),
        (("scenario=drfit",), "scenario=drfit: no such option (did you mean drift?)"),
        (("scenario=drift", "scenario.full.seeds=4"), "scenario.full.seeds=4: must be at least 5"),
        (
            ("scenario=drift", "+scenario.quick.sede=3"),
            "scenario.quick.sede=3: no such key (did you mean seeds?)",
        ),
        (
            ("scenario=drift", "scenario.quick.sede=3"),
            "scenario.quick.sede=3: no such key (did you mean seeds?)",
        ),
        (
            ("scenario=drift", "scenario.quick.seeds=0"),
            "scenario.quick.seeds=0: must be a whole number from 1",
        ),
        (
            ("scenario=drift", "scenario.settings=[rounds]"),
            "scenario.settings=rounds: must be a list of settings",
        ),
        (
            ("scenario=drift", 'scenario.settings=["rounds=1,2"]'),
            "scenario.settings=rounds=1,2: must be a list of plain",
        ),
        (
            ("scenario=drift", 'scenario.quick.settings=["model=mpl"]'),
            "no such option (did you mean mlp?)",
        ),
        (("scenario=drift", "scenario.jobs=0"), "scenario.jobs=0: must be"),
        (("scenario=drift", "tracker.mode=of"), "tracker.mode=of: must be one of"),
        (
            ("scenario=all", "scenario.claims=[drfit]"),
            "scenario.claims=[drfit]: must be null or a list out of",
        ),
        (
            ("-m", "scenario=drift", "seed=0,1"),
            "scenario=drift judges a claim by many runs: start it without -m",
        ),
        (("-m", "scenario=drift,compare"), "scenario=drift judges a claim by many runs"),
        (("-m", "scenario=all", "preset=quick,full"), "scenario=all judges a claim by many runs"),
    ],
)
def test_what_cannot_be_is_refused(command: Command, words: tuple[str, ...], said: str) -> None:
    assert said in command(*words).sentence


def test_a_key_without_a_usual_value_is_refused_too(command: Command) -> None:
    words = (*TINY, 'scenario.settings=["schedule.rounds=9"]', "schedule.rounds=5")
    assert command(*words).sentence.startswith(
        "schedule.rounds=5: is set by scenario=tiny.Tiny for its own runs"
    )


@pytest.mark.parametrize(
    ("topologies", "said"),
    [
        ("[ring,ring]", "has two conditions of the values topology=ring"),
        ("[]", "has no conditions"),
    ],
)
def test_conditions_must_have_folders_of_their_own(tiny: Tiny, topologies: str, said: str) -> None:
    assert said in tiny(f"scenario.quick.topologies={topologies}").sentence


def test_settings_are_read_as_they_are_typed() -> None:
    node = option("scenario", "drift") | {
        "settings": ["optimizer.lr=1e-3", "scenario.arms=[swarm]", "topology=ring"]
    }
    claim = build(node, Claim, "scenario")
    wanted = {"optimizer.lr": 1e-3, "scenario.arms": ["swarm"], "topology": "ring"}
    assert {key: claim.settings[key] for key in wanted} == wanted


WIDE, NEAR, FAR = (
    interval([-1.0, 2.0, 2.0]),
    interval([-8.0, 9.0, 2.0]),
    interval([-3.0, 1.0, -1.0]),
)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        # both means are on the right side: as many as the one that needs most
        ({"a": WIDE, "b": NEAR}, "about 283 seeds instead of 3 (b), if mean and scatter stay"),
        # one is on the wrong side: as many as make that certain
        ({"a": NEAR, "c": FAR}, "about 18 seeds instead of 3 (c), if mean and scatter stay"),
        ({"on": interval([-1.0, 1.0])}, "no number of seeds that can be had, as the mean (on)"),
        ({"one": interval([1.0])}, "two seeds or more, as one has no interval"),
    ],
)
def test_an_undecided_verdict_says_how_many_seeds_would_decide_it(
    bounds: dict[str, Interval], said: str
) -> None:
    hypothesis = Hypothesis(1, "statement", "metric", "rule")
    found = {name: Bound(each, above=0) for name, each in bounds.items()}
    verdict = hypothesis.judged(found, "because")
    assert (verdict.holds, verdict.figures) == (None, bounds)
    assert facts_of(verdict, "full", 3)["decided_by"].startswith(said)
    assert facts_of(verdict, "quick", 3)["decided_by"].startswith("preset=full")
    missing = hypothesis.judged(found, "because", "a longer ruler")
    assert facts_of(missing, "full", 3)["decided_by"] == "a longer ruler"


def test_a_decided_verdict_asks_for_nothing_more() -> None:
    hypothesis = Hypothesis(1, "statement", "metric", "rule")
    sure = {"a": Bound(interval([1.0, 1.1]), above=0)}
    assert facts_of(hypothesis.judged(sure, "because", "more"), "full", 2)["decided_by"] == ""
    assert facts_of(hypothesis.verdict(None, "because"), "full", 2)["decided_by"] == ""
