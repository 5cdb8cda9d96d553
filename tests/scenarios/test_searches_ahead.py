"""Learning rates that are chosen, and reports that are drawn, in other processes beside the run: the
numbers are the same, and nothing is lost with such a process.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarm.cli.main import main
from swarm.common.system.processes import child as of_children
from swarm.experiments.runs import arms as of_arms
from swarm.experiments.runs import memory
from swarm.experiments.runs.lr_search import WorkAhead, search_lr
from swarm.experiments.runs.lr_search import ahead as of_searches
from swarm.experiments.runs.lr_search import stages as of_stages
from swarm.experiments.runs.memory import with_searches
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results import report as of_reports
from swarm.results.report import write_report
from swarm.results.track.jsonl import read_jsonl
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.footprint import Footprint, Part
from tests.processes import CommandLine
from tests.support import prepared

ALL = "scenario.arms=[swarm,isolated,centralised,fedavg]"
SEARCH = ("optimizer.lr=auto", "lr_search.lrs=[0.03,0.1,0.3]", "rounds=10")


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(of_children, "cores", lambda: 2)
    monkeypatch.setattr(of_children, "_only_thread", lambda: True)
    monkeypatch.setattr(of_children, "POLL_S", 0.02)


def _alone(ready: PreparedRun) -> dict[str, tuple[Any, list[str]]]:
    """What is found and said of each later arm without any child."""
    found: dict[str, tuple[Any, list[str]]] = {}
    for arm in ready.arms[1:]:
        said: list[str] = []
        found[arm.name] = search_lr(ready, arm, ready.engine, said.append)[1], said
    return found


def _beside(ready: PreparedRun, children: int = 1) -> dict[str, tuple[Any, list[str]]]:
    found: dict[str, tuple[Any, list[str]]] = {}
    beside = replace(ready, children=children)
    with WorkAhead(beside, ready.arms[1:], lambda: None, Path()) as ahead:
        for arm in ready.arms[1:]:
            said: list[str] = []
            found[arm.name] = ahead.facts(arm, said.append), said
    return found


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("engine.shards=3", "engine.block=2", "lr_search.method=grid"),
        ("lr_search.lrs=[0.299,0.3,0.301]", "lr_search.rounds=null", "rounds=15"),  # they tie
        (
            "lr_search.lrs=[3000,100000]",
            "rounds=2",
            "data=digits_like",
            "model=cnn",
            "devices=4",
            "topology=ring",
            "scenario.arms=[swarm,isolated]",
        ),
    ],
)
def test_a_child_finds_and_says_what_is_found_here(words: tuple[str, ...], two_cores: None) -> None:
    ready = prepared(ALL, *SEARCH, *words)
    assert ready.children == 1
    assert _beside(ready) == _alone(ready)


def test_how_far_a_search_was_is_not_said_when_it_is_over(
    two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_stages, "SAID_EVERY_S", 0.0)
    ready = prepared("scenario.arms=[swarm,isolated]", *SEARCH)
    said: list[str] = []
    with WorkAhead(ready, ready.arms[1:], lambda: None, Path()) as ahead:
        pid = ahead._children[0].pid
        assert pid is not None
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ahead.facts(ready.arms[1], said.append) is not None
    assert said
    assert not any("left" in line for line in said)


def test_more_cores_have_more_children(two_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.setattr(of_children, "cores", lambda: 9)
    ready = prepared(ALL, *SEARCH, "rounds=5")
    assert ready.children == 3
    assert _beside(ready, ready.children) == _alone(ready)


def _killed(parent: Any, facts: Any) -> None:
    if facts[0] == "found":
        os.kill(os.getpid(), signal.SIGKILL)


def _hangs(parent: Any, facts: Any) -> None:
    time.sleep(60)


def test_a_run_whose_child_is_lost_ends_with_the_same_numbers(
    two_cores: None, monkeypatch: pytest.MonkeyPatch, small: Any
) -> None:
    words = (*SEARCH, "scenario.arms=[swarm,isolated]", "lr_search.rounds=3")
    here: list[str] = []

    def searched(ready: PreparedRun, arm: Any, *rest: Any) -> Any:
        here.append(arm.name)
        return search_lr(ready, arm, *rest)

    monkeypatch.setattr(of_arms, "search_lr", searched)
    found = [small(*words, name="beside")]
    assert here == ["swarm"]
    monkeypatch.setattr(of_children, "PATIENCE_S", 0.2)
    for send in (_killed, _hangs):
        monkeypatch.setattr(of_children.Parent, "send", send)
        here.clear()
        found.append(small(*words, name=send.__name__))
        assert here == ["swarm", "isolated"]
    monkeypatch.setattr(of_searches, "spare_cores", lambda: 0)
    found.append(small(*words, name="alone"))
    for name in ("tuning", "arms"):
        first, *others = (_without_times(each[name]) for each in found)
        assert others == [first] * 3


@pytest.mark.parametrize("child", ["draws", "is killed", "fails as the run does"])
def test_a_child_draws_the_report_and_without_it_the_run_does(
    child: str, two_cores: None, monkeypatch: pytest.MonkeyPatch, small: Any, tmp_path: Path
) -> None:
    own, pids = os.getpid(), tmp_path / "pids"

    def drawn(folder: Path) -> list[Path]:
        with pids.open("a") as file:
            print("here" if os.getpid() == own else "there", file=file)
        assert (folder / "summary.json").exists(), "the run is complete"
        if child == "is killed" and os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        if child == "fails as the run does":
            raise OSError("the disk is full")
        return write_report(folder)

    monkeypatch.setattr(of_reports, "write_report", drawn)
    words = (*SEARCH, "scenario.arms=[swarm,isolated]", "lr_search.rounds=3", "report=true")
    if child == "fails as the run does":
        with pytest.raises(OSError, match="the disk is full"):
            small(*words)
    else:
        small(*words)
    assert pids.read_text().split() == ["there"] + ["here"] * (child != "draws")
    if child == "draws":
        names = ("curves.png", "graph.png", "report.html")
        found = [(tmp_path / "run" / name).read_bytes() for name in names]
        write_report(tmp_path / "run")
        assert found == [(tmp_path / "run" / name).read_bytes() for name in names]


def _without_times(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    timed = ("wall_s", "steps_per_s")
    return {k: _without_times(v) for k, v in values.items() if not k.startswith(timed)}


def test_what_is_decided_or_has_nothing_to_wait_for_is_searched_here(
    two_cores: None, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed with rates for its arms makes no child; nor does an arm that is the
    first to run."""
    words = (*SEARCH, "scenario.arms=[swarm,isolated]", "rounds=4")
    small(*words)
    made: list[Any] = []
    monkeypatch.setattr(of_searches, "Child", lambda work: made.append(work))
    assert main([f"resume={tmp_path / 'run'}", "rounds=6"]) == 0
    small("optimizer.lr=0.1", "scenario.arms=[swarm,isolated]", name="given")
    assert made == []


def test_where_a_fork_would_not_work_there_is_none(two_cores: None) -> None:
    assert prepared(ALL, *SEARCH, "rounds=2", "engine=ray").children == 0
    for device, compiled, may in (
        ("cpu", False, True),
        ("cpu", True, False),
        ("cuda", False, False),
    ):
        settings = SimpleNamespace(compute=SimpleNamespace(compile=compiled))
        made: Any = SimpleNamespace(device=SimpleNamespace(type=device), settings=settings)
        assert LocalEngine().may_fork(made) is may


def test_memory_is_stated_with_the_children_that_fit(
    two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_children, "cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    run, small, large = (Footprint((Part("rows", size),)) for size in (100, 10, 30))
    shared = large.with_parts([Part("the data", 1000, there=True)])
    for there, expected in {
        None: (3, 150),
        150: (3, 150),
        149: (2, 140),
        130: (1, 130),
        129: (0, 100),
    }.items():
        monkeypatch.setattr(memory, "available_bytes", lambda there=there: there)
        children, needed = with_searches(run, [small, shared, small])
        assert (children, needed.total) == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert with_searches(run, [small]) == (0, run)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_however_a_run_ends_no_child_is_left_and_it_can_go_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    if of_children.cores() < 2:
        pytest.skip("there is one core")
    words = ["devices=12", "rounds=30", "tracker=none", "report=false", "evaluate.every=30",
             "scenario.arms=[swarm,isolated]", "lr_search.lrs=[0.1,0.3]"]  # fmt: skip
    folder = tmp_path / "run"
    process = CommandLine(*words, f"hydra.run.dir={folder}", OMP_NUM_THREADS="2", own_group=True)
    end = time.monotonic() + 60
    while not (children := _children(process.pid)):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    process.wait(60)
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not (folder / "summary.json").exists()
    if number == signal.SIGKILL and (folder / "config.yaml").exists():
        other = tmp_path / "other"
        assert main([f"resume={folder}"]) == 0
        assert main([*words, f"hydra.run.dir={other}"]) == 0
        one, two = (_outcome(place) for place in (folder, other))
        assert one == two


def _outcome(folder: Path) -> Any:
    summary = json.loads((folder / "summary.json").read_text())
    records = [_without_times(line) for line in read_jsonl(folder / "metrics.jsonl")]
    return summary["tuning"], _without_times(summary["arms"]), records
