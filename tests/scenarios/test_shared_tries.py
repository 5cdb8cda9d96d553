"""Tries of one rung that are rows of one block: replicas of a device that learns alone, each with a
rate of its own, find what a loop of single tries finds.
"""

from __future__ import annotations

import itertools
import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swarm.cli.main import main
from swarm.experiments.resolved import with_lr
from swarm.experiments.runs.lr_search import search_lr
from swarm.experiments.runs.lr_search.tries import Pair, Part, go_on
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.measure import SwarmEvaluator
from swarm.simulation.replicas import ReplicaLoader
from tests.processes import CommandLine
from tests.support import prepared

POOLED = ("scenario.arms=[centralised]", "optimizer.lr=auto")
FIVE = "lr_search.lrs=[0.003,0.01,0.03,0.1,0.3]"
DIVERGING = "lr_search.lrs=[0.01,0.05,1.0e+8,1.0e+9]"
Facts = dict[str, Any]


def _searched(ready: PreparedRun, together: int | None = None) -> Facts:
    """The facts of the search of the first arm; ``together`` says how many tries share a block."""
    arm = ready.arms[0]
    if together is not None:
        arm = replace(arm, together=(together,) * len(arm.variants))
    return search_lr(ready, arm, ready.engine, lambda said: None)[1]


def _states(
    ready: PreparedRun, lrs: list[float], part: Part | None = None, rounds: int = 3
) -> list[Any]:
    """What a part of these tries finds, by default three rounds, and their states."""
    group: list[Pair] = [(0, lr) for lr in lrs]
    given, looks = part or Part([], 3, 3, keep=True), list[None]()
    found = go_on(ready, ready.arms[0], group, given, ready.engine, lambda: looks.append(None))
    assert len(looks) == rounds
    return found


# --- the same as one by one -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer=sgd",),
        ("optimizer=momentum", "optimizer.nesterov=true"),
        ("optimizer=adam", "lr_search.lrs=[0.0003,0.001,0.003,0.01]"),
        ("optimizer=adamw", "train.clip_norm=1.0"),
        ("optimizer=sgd", "schedule=cosine", "lr_search.method=grid"),
        ("update=online", "replay=reservoir"),
        ("data=linear_regression", "model=softmax", "partition=iid", DIVERGING),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_replicas_choose_what_a_loop_of_single_tries_chooses(words: tuple[str, ...]) -> None:
    ready = prepared(*POOLED, FIVE, "rounds=8", "lr_search.rounds=4", *words)
    assert ready.arms[0].together[0] > 1
    shared, single = _searched(ready), _searched(ready, together=1)
    assert {**shared, "tried": None} == {**single, "tried": None}
    for one, other in zip(shared["tried"], single["tried"], strict=True):
        assert (one["loss"] is None) is (other["loss"] is None)
        if other["loss"] is not None:
            assert one["score"] == pytest.approx(other["score"], abs=0.02)
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_a_rate_that_is_listed_twice_is_tried_once() -> None:
    ready = prepared(*POOLED, "lr_search.lrs=[0.1,0.03,0.1]", "lr_search.rounds=2")
    assert ready.arms[0].rates == (0.1, 0.03)
    lrs = [each["lr"] for each in _searched(ready)["tried"]]
    assert lrs.count(0.1) == lrs.count(0.03)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_what_a_row_learns_depends_on_no_other_row(optimizer: str) -> None:
    """To the last bit, also beside rows that diverge. From place to place the last bit may differ,
    as rows begin at other memory alignments, which some processors' products depend on.
    """
    ready = prepared(*POOLED, FIVE, f"optimizer={optimizer}")
    alike = {lr: _states(ready, [lr] * 4) for lr in (0.03, 0.1)}
    for lrs in list(itertools.permutations([0.03, 1e15, 0.1, 0.3], 4))[::5]:
        for place, (lr, (found, state)) in enumerate(
            zip(lrs, _states(ready, list(lrs)), strict=True)
        ):
            if lr == 1e15:
                assert found.found is None
                assert state is None
            elif lr in alike:
                expected = alike[lr][place]
                assert found == expected[0]
                for name, rows in expected[1].arrays.items():
                    assert torch.equal(state.arrays[name], rows), name


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_row_learns_the_same_in_whichever_place_but_for_rounding(optimizer: str) -> None:
    first, *others = _states(prepared(*POOLED, FIVE, f"optimizer={optimizer}"), [0.03] * 4)
    for found, state in others:
        assert found.found == pytest.approx(first[0].found, rel=1e-4)
        for name, rows in first[1].arrays.items():
            torch.testing.assert_close(state.arrays[name], rows, rtol=1e-3, atol=1e-4)


def test_replicas_go_on_from_where_each_of_them_stopped() -> None:
    ready = prepared(*POOLED, FIVE, "optimizer=adam", "replay=ring", "update=online")
    whole = _states(ready, [0.03, 0.1], Part([], 4, 4, keep=True), rounds=4)
    first = Part([], 2, 4, keep=True)
    half = [state for _, state in _states(ready, [0.03, 0.1, 0.3], first, rounds=2)]
    rest = _states(ready, [0.03, 0.1], Part(half[:2], 4, 4, keep=True), rounds=2)
    for (one, then), (other, now) in zip(whole, rest, strict=True):
        assert one == other
        assert then.arrays.keys() == now.arrays.keys()
        assert all(torch.equal(rows, now.arrays[name]) for name, rows in then.arrays.items())


def test_so_do_those_whose_place_is_another_one() -> None:
    ready = prepared(*POOLED, FIVE, "optimizer=adam", "replay=ring", "update=online")
    whole = _states(ready, [0.03, 0.1], Part([], 4, 4, keep=True), rounds=4)
    first = Part([], 2, 4, keep=True)
    half = [state for _, state in _states(ready, [0.1, 0.3, 0.03], first, rounds=2)]
    rest = _states(ready, [0.03, 0.1], Part([half[2], half[0]], 4, 4, keep=True), rounds=2)
    for (one, then), (other, now) in zip(whole, rest, strict=True):
        assert other.found == pytest.approx(one.found, rel=1e-4)
        for name, rows in then.arrays.items():
            torch.testing.assert_close(now.arrays[name], rows, rtol=1e-3, atol=1e-4)


def test_a_rate_that_diverged_once_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its loss comes back, and it is not measured again, as its numbers may be anything."""
    ready, real, measured = prepared(*POOLED, FIVE), SwarmEvaluator.scores, []

    def diverged(measure: SwarmEvaluator, happened: Any) -> Any:
        return np.array([False, happened.round == 2, False])

    def scores(measure: SwarmEvaluator, found: Any, *rest: Any) -> Any:
        measured.extend(found.devices_M)
        return real(measure, found, *rest)

    monkeypatch.setattr(SwarmEvaluator, "diverged", diverged)
    monkeypatch.setattr(SwarmEvaluator, "scores", scores)
    found = _states(ready, [0.03, 0.1, 0.3])
    assert [tried.found is None for tried, _ in found] == [False, True, False]
    assert [state is None for _, state in found] == [False, True, False]
    assert measured == [0, 2]


@pytest.mark.parametrize(
    "words",
    [
        ("update=online", "replay=reservoir"),
        ("data=digits_like", "model=cnn"),
    ],
)
def test_a_device_and_its_replicas_are_at_one_place(words: tuple[str, ...]) -> None:
    ready = prepared(*POOLED, FIVE, *words)
    arm, found = ready.arms[0], []
    for lrs in ((), (0.03, 0.03, 0.03)):
        ready.engine.start(ready.experiment(arm, with_lr(arm.first, 0.03), lrs))
        list(ready.engine.advance(3))
        found.append(ready.engine.snapshot())
        ready.engine.stop()
    one, three = found
    assert one.keys() == three.keys()
    for name, rows in one.items():
        torch.testing.assert_close(three[name], rows.repeat(3, *[1] * (rows.ndim - 1)))


def test_the_samples_of_replicas_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = ReplicaLoader._draw

    def counted(loader: ReplicaLoader, plan: Any, taking: Any, count: int) -> Any:
        drawn.append(len(taking))
        return draw(loader, plan, taking, count)

    monkeypatch.setattr(ReplicaLoader, "_draw", counted)
    _states(prepared(*POOLED, FIVE), [0.01, 0.03, 0.1])
    assert drawn == [1, 1, 1]


# --- where it is so -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "together"),
    [
        ((), 5),
        (("scenario.arms=[swarm]",), 1),
        (("scenario.arms=[isolated]",), 1),
        (("scenario.arms=[isolated]", "devices=1"), 5),
        (("init=independent",), 1),
        (("privacy=device_level", "privacy.noise_multiplier=1.0"), 1),
        (("optimizer=quantised_sgd",), 1),
        (("model.hidden=[4096,1024]",), 1),
        (("lr_search.lrs=[0.1]",), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_tries_share_a_block_where_each_learns_what_it_learns_alone(
    words: tuple[str, ...], together: int
) -> None:
    assert prepared(*POOLED, FIVE, *words).arms[0].together[0] == together


def test_no_more_tries_share_a_block_than_fit_into_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (*POOLED, FIVE, "rounds=6", "lr_search.rounds=4")
    whole = _searched(prepared(*words))
    monkeypatch.setattr("swarm.simulation.replicas.MOST_NUMBERS", 15_000)
    ready = prepared(*words)
    assert 1 < ready.arms[0].together[0] < 5
    assert [one["lr"] for one in _searched(ready)["tried"]] == [one["lr"] for one in whole["tried"]]


def test_a_block_of_replicas_counts_as_memory() -> None:
    parts = {part.name: part.bytes for part in prepared(*POOLED, FIVE).footprint.parts}
    one = {p.name: p.bytes for p in prepared(*POOLED, "optimizer.lr=0.1").footprint.parts}
    assert parts["the devices' parameters"] == 5 * one["the devices' parameters"]


# --- on any engine, and after any interruption ----------------------------------------------------

SAME = (*POOLED, FIVE, "rounds=8", "lr_search.rounds=4")


def test_shards_find_the_same_bits() -> None:
    assert _searched(prepared(*SAME, "engine.shards=3")) == _searched(prepared(*SAME))


def test_a_run_killed_while_replicas_learn_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    words = ["devices=12", "rounds=40", "lr_search.rounds=40", "tracker=none", "report=false",
             "evaluate.every=40", "scenario.arms=[centralised]", FIVE]  # fmt: skip
    folder, other = tmp_path / "run", tmp_path / "other"
    process = CommandLine(*words, f"hydra.run.dir={folder}")
    end = time.monotonic() + 60
    while not (folder / "progress.json").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not json.loads((folder / "progress.json").read_text())["tuning"]
    assert main([f"resume={folder}"]) == 0
    assert main([*words, f"hydra.run.dir={other}"]) == 0
    one, two = (json.loads((place / "summary.json").read_text()) for place in (folder, other))
    assert one["tuning"] == two["tuning"]
    hashes = {each["arms"]["centralised"]["params_sha256"] for each in (one, two)}
    assert len(hashes) == 1
