"""How a learning rate is chosen: in stages, at which cost, and what is said meanwhile."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.config.settings import Settings
from swarm.experiments.runs.lr_search import TriedRate, costly, search_lr
from swarm.experiments.runs.lr_search import stages as of_stages
from swarm.experiments.runs.lr_search import tries as of_tries
from swarm.experiments.runs.lr_search.stages import Stage, Watch, stages
from swarm.experiments.runs.lr_search.tries import Part, go_on, survivors
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results.folder import Folder
from swarm.results.provenance import identity
from tests.support import config, prepared, run

LRS = ("optimizer.lr=auto", "lr_search.lrs=[0.003,0.01,0.03,0.1,0.3]")
CLEAR = (*LRS, "rounds=40", "lr_search.rounds=8", "partition=iid", "schedule=cosine")
HALVING, GRID = "lr_search.method=halving", "lr_search.method=grid"
Facts = dict[str, Any]


def _searched(ready: PreparedRun) -> tuple[Facts, int]:
    """The facts of a search, and the rounds that it took."""
    looks: list[None] = []
    _, facts = search_lr(
        ready, ready.arms[0], ready.engine, lambda said: None, lambda: looks.append(None)
    )
    return facts, len(looks)


# --- successive halving ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tries", "rounds", "expected", "cost"),
    [
        (2, 20, [(2, 0, 20)], 40),
        (3, 20, [(3, 0, 10), (2, 10, 20)], 50),
        (5, 20, [(5, 0, 5), (3, 5, 10), (2, 10, 20)], 60),
        (10, 20, [(10, 0, 3), (5, 3, 5), (3, 5, 10), (2, 10, 20)], 75),
        (5, 1, [(5, 0, 1), (3, 1, 1), (2, 1, 1)], 5),
        (1, 20, [], 0),
    ],
)
def test_half_of_the_tries_go_on_to_twice_the_rounds(
    tries: int, rounds: int, expected: list[tuple[int, int, int]], cost: int
) -> None:
    words = (*LRS, HALVING, "rounds=100", f"lr_search.rounds={rounds}")
    found = stages(Settings.parse(config(*words)), tries)
    assert found == [Stage(*each) for each in expected]
    assert sum(stage.rounds for stage in found) == cost


def test_halving_finds_the_rate_of_the_grid_in_fewer_rounds() -> None:
    grid, all_rounds = _searched(prepared(*CLEAR, GRID))
    halved, rounds = _searched(prepared(*CLEAR, HALVING))
    assert halved["lr"] == grid["lr"]
    assert all_rounds == 5 * 8
    assert rounds == 5 * 2 + 3 * 2 + 2 * 4
    whole = {one["lr"]: one for one in grid["tried"]}
    last = [one for one in halved["tried"] if one["rounds"] == 8]
    assert len(last) == 2
    assert all(one == whole[one["lr"]] for one in last), "what goes on in parts is the whole try"


def test_halving_is_the_default_and_runs_of_before_had_the_grid() -> None:
    today, grid = config(*LRS), config(*LRS, GRID)
    assert today["lr_search"]["method"] == "halving"
    assert grid["lr_search"].pop("method") == "grid"
    assert identity(grid) == identity(config(*LRS, GRID))
    assert identity(grid) != identity(today)
    assert Settings.parse(grid).lr_search.method == "grid"


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_rates_that_tie_go_on_from_where_they_stopped_if_they_had_the_rates_of_the_run(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three tie by decree; what is found in full is that of runs from the start."""
    ready = prepared(
        "optimizer.lr=auto", "lr_search.lrs=[0.03,0.1]", "rounds=20", "partition=iid", HALVING,
        f"schedule={schedule}",
    )  # fmt: skip
    arm, engine = ready.arms[0], ready.engine
    whole = [go_on(ready, arm, [(0, lr)], Part([], 20, 20), engine)[0][0] for lr in arm.rates]

    def tied(*args: Any) -> list[tuple[TriedRate, Any]]:
        return [
            ((replace(found, found=(0.5, 1.0)) if found.rounds < 20 else found), state)
            for found, state in go_on(*args)
        ]

    monkeypatch.setattr(of_tries, "go_on", tied)
    facts, rounds = _searched(ready)
    assert facts["tried"][2:] == [each.facts() for each in whole]
    again = 20 if schedule == "cosine" else 15
    assert rounds == 2 * 5 + 2 * again


def test_an_interrupted_search_and_one_in_shards_choose_the_same() -> None:
    ready = prepared(*CLEAR, HALVING, "engine.block=3")
    expected, _ = _searched(ready)

    calls = itertools.count()

    def interrupted() -> None:
        if next(calls) == 19:  # in the second stage
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_lr(ready, ready.arms[0], ready.engine, lambda said: None, interrupted)
    assert _searched(ready)[0] == expected
    assert _searched(prepared(*CLEAR, HALVING, "engine.block=3", "engine.shards=4"))[0] == expected


def _tries(*found: tuple[float, float] | None) -> list[TriedRate]:
    return [TriedRate(0, float(lr), 5, each) for lr, each in enumerate(found)]


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ([(0.5, 1.0), (0.9, 2.0), (0.7, 1.0), (0.8, 1.0)], [1, 3]),
        ([(0.8, 1.0), (0.9, 2.0), (0.8, 3.0), (0.7, 0.1)], [0, 1, 2]),
        ([None, (0.2, 2.0), None, None], [1]),
        ([None, None, None, None], []),
    ],
    ids=["the best", "and who shares the last one's score", "one learns", "none does"],
)
def test_who_goes_on(found: list[tuple[float, float] | None], kept: list[int]) -> None:
    assert [lr for _, lr in survivors(_tries(*found), 2)] == kept


def test_where_only_one_rate_does_not_diverge_it_is_taken_at_once() -> None:
    ready = prepared(
        "data=linear_regression", "model=softmax", "partition=iid", "optimizer.lr=auto", HALVING,
        "lr_search.lrs=[0.05,1.0e+8,1.0e+9,1.0e+10]", "lr_search.rounds=8", "rounds=20",
    )  # fmt: skip
    facts, _ = _searched(ready)
    assert facts["lr"] == 0.05
    assert [one["rounds"] for one in facts["tried"]] == [4, 4, 4, 4]


def test_the_states_between_stages_count_as_memory() -> None:
    def parts(*words: str) -> dict[str, int]:
        return {part.name: part.bytes for part in prepared(*CLEAR, *words).footprint.parts}

    more = parts()
    assert more.pop("tries of a learning rate") == 5 * more["the devices' parameters"]
    assert more == parts(GRID)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lr_search\.method=half: must be one of grid, halving"):
        prepared("lr_search.method=half")


def test_a_run_that_ends_while_it_chooses_goes_on_as_if_it_had_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*LRS, HALVING, "rounds=4", "partition=iid")
    whole = run(tmp_path / "whole", *words)
    assert "warning: choosing learning rates takes 12 rounds" in capsys.readouterr().out
    calls = itertools.count()

    def gone(folder: Folder) -> None:
        if next(calls) == 11:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "require_there", gone)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "ended", *words)
    assert not json.loads((tmp_path / "ended" / "progress.json").read_text())["tuning"]
    swarm.resume(tmp_path / "ended", {})
    again = json.loads((tmp_path / "ended" / "summary.json").read_text())
    assert again["tuning"] == whole["tuning"]
    arms = [each["arms"]["swarm"]["params_sha256"] for each in (whole, again)]
    assert arms[0] == arms[1]


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "figures"),
    [
        (("rounds=40", "lr_search.rounds=10", GRID), ("50 rounds", "40 of the run", "(31 rounds)")),
        (("rounds=40", "lr_search.rounds=10"), None),
        (("rounds=50", "lr_search.rounds=10", GRID), None),
        (("rounds=4", GRID), ("20 rounds", "4 of the run", "(12 rounds)")),
        (("rounds=4",), ("12 rounds", "4 of the run")),
        (("rounds=0",), None),
        (("rounds=4", "optimizer.lr=0.1"), None),
    ],
)
def test_choosing_that_costs_more_than_the_run_is_said_before(
    words: tuple[str, ...], figures: tuple[str, ...] | None
) -> None:
    ready = prepared(*LRS, *words)
    found = costly(ready.settings, ready.arms)
    if figures is None:
        assert found is None
        return
    assert found is not None
    assert all(each in found for each in figures), found
    assert costly(ready.settings, []) is None, "as after a resume"


def test_how_far_a_search_is_and_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes with each round: in three stages, 5 · 2 + 3 · 2 + 2 · 4 of them."""
    seconds, said = [0.0], []
    monkeypatch.setattr(of_stages.time, "perf_counter", lambda: seconds[0])
    monkeypatch.setattr(of_stages, "SAID_EVERY_S", 3.0)
    begin = Watch.begin

    def begins(watch: Watch, *about: Any) -> None:
        begin(watch, *about)
        seconds[0] -= watch._round < 0  # the record of round 0 takes no time

    monkeypatch.setattr(Watch, "begin", begins)

    def round_is_over() -> None:
        seconds[0] += 1

    ready = prepared(*CLEAR, HALVING)
    search_lr(ready, ready.arms[0], ready.engine, said.append, round_is_over)
    lines = [line for line in said if " left" in line]
    assert lines[0] == (
        "swarm: choosing a learning rate, try 2 of 5, round 1 of 2; about 21 s left"
    )
    left = [float(re.findall(r"about ([\d.]+) s left", line)[0]) for line in lines]
    assert left == [21, 18, 15, 12, 9, 6, 3, 0][: len(left)]
    assert len(left) >= 7


def test_a_search_that_is_quick_says_nothing_of_it() -> None:
    said: list[str] = []
    ready = prepared(*CLEAR)
    search_lr(ready, ready.arms[0], ready.engine, said.append)
    assert not [line for line in said if " left" in line]
