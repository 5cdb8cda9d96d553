"""Several processes that want one folder at the same moment: one has it, the others say so and
write nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

import swarm
from swarm.cli.main import main
from swarm.common.errors import SwarmError
from swarm.experiments import runner
from swarm.results.track.jsonl import read_jsonl
from tests.conftest import SMALL, composed
from tests.experiments.claims.conftest import TINY

RUN = (*SMALL, "devices=9", "rounds=2")
# nothing is imported again between the barrier and the race
FORK = multiprocessing.get_context("fork")
Work = Callable[[], int]


def race(home: Path, makes: list[Callable[[], Work]]) -> list[tuple[int, str]]:
    """Let a process for each get ready, release all at once, and return how each ended: exit code
    and stderr.
    """
    barrier = FORK.Barrier(len(makes))

    def child(number: int, make: Callable[[], Work]) -> None:
        with (
            (home / f"err{number}").open("w") as err,
            (home / f"out{number}").open("w") as out,
            redirect_stderr(err),
            redirect_stdout(out),
        ):
            work = make()
            barrier.wait(60)
            code = work()
        os._exit(code)

    processes = [
        FORK.Process(target=child, args=(number, make)) for number, make in enumerate(makes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [
        (process.exitcode or 0, (home / f"err{n}").read_text())
        for n, process in enumerate(processes)
    ]


def by_command(*words: str) -> Callable[[], Work]:
    return lambda: lambda: main(list(words))


def by_api(folder: Path, *words: str) -> Callable[[], Work]:
    """The check done, so that all are at the folder at the same moment."""

    def make() -> Work:
        cfg = composed(*words)
        prepared = runner.check(cfg)

        def work() -> int:
            try:
                runner.run(cfg, folder, prepared)
            except SwarmError as error:
                print(f"error: {error}", file=sys.stderr)
                return error.exit_code
            return 0

        return work

    return make


def the_winner(ends: list[tuple[int, str]]) -> int:
    """Its number; everybody else has been refused in a sentence."""
    (winner,) = [number for number, (code, _) in enumerate(ends) if code == 0]
    for number, (code, said) in enumerate(ends):
        if number != winner:
            assert (code, said.count("\n")) == (2, 1), said
            assert (
                "being run by another process" in said
                or "holds a run already" in said
                or "an empty folder" in said
            )
    return winner


@pytest.mark.parametrize("way", ["python", "command", "both"])
def test_one_of_several_gets_a_new_folder(way: str, tmp_path: Path) -> None:
    for attempt, exists in enumerate([False, True, False]):
        folder = tmp_path / f"runs{attempt}" / "run"
        if exists:
            folder.mkdir(parents=True)
        makes: list[Callable[[], Work]] = []
        for seed in range(4):
            if way == "python" or (way == "both" and seed % 2):
                makes.append(by_api(folder, *RUN, f"seed={seed}"))
            else:
                makes.append(by_command(*RUN, f"seed={seed}", f"hydra.run.dir={folder}"))
        winner = the_winner(race(tmp_path, makes))
        assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == winner
        assert json.loads((folder / "summary.json").read_text())["seed"] == winner
        assert {file.name for file in folder.iterdir()} - {"overrides.json"} == {
            ".lock", "config.yaml", "summary.json", "metrics.jsonl", "columns.json", "presentation.json", "progress.json", "checkpoints", "graph.json",
            "devices.parquet",
        }  # fmt: skip
        assert [r["round"] for r in read_jsonl(folder / "metrics.jsonl")] == [0, 1, 2]


def test_one_of_several_goes_on_with_a_run(tmp_path: Path) -> None:
    """Whoever comes when the first is done finds a finished run, or lengthens it further: never
    half of one and of another.
    """
    folder, whole = tmp_path / "run", tmp_path / "whole"
    assert main([*RUN, f"hydra.run.dir={folder}"]) == 0
    for rounds in (4, 6):
        ends = race(
            tmp_path,
            [by_command(f"resume={folder}", f"rounds={r}") for r in (rounds, rounds - 1) * 2],
        )
        assert {code for code, _ in ends} <= {0, 2}
        assert 0 in {code for code, _ in ends}
        config = yaml.safe_load((folder / "config.yaml").read_text())
        summary = json.loads((folder / "summary.json").read_text())
        assert config["rounds"] == summary["rounds"] == summary["arms"]["swarm"]["rounds"]
        assert [r["round"] for r in read_jsonl(folder / "metrics.jsonl")] == [
            *range(summary["rounds"] + 1)
        ]
    shutil.rmtree(whole, ignore_errors=True)
    swarm.run(composed(*RUN, f"rounds={summary['rounds']}", "schedule.rounds=2"), whole)
    found = [
        json.loads((f / "summary.json").read_text())["arms"]["swarm"]["params_sha256"]
        for f in (folder, whole)
    ]
    assert found[0] == found[1]


def test_one_of_several_judges_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = (
        "scenario.quick.topologies=[ring]",
        "scenario.quick.seeds=1",
        "scenario.quick.rounds=1",
        "report=false",
    )
    winner = the_winner(
        race(
            tmp_path, [by_command(*TINY, *short, f"seed={s}", "hydra.run.dir=c") for s in range(3)]
        )
    )
    assert yaml.safe_load(Path("c/config.yaml").read_text())["seed"] == winner
    assert json.loads(Path("c/summary.json").read_text())["first_seed"] == winner
    assert [run.name for run in Path("c/runs").iterdir()] == [f"topology=ring,seed={winner}"]
    Path("c/summary.json").unlink()
    ends = race(tmp_path, [by_command("resume=c")] * 3)
    assert 0 in {code for code, _ in ends}
    assert {code for code, _ in ends} <= {0, 2}
    assert Path("c/summary.json").exists()


def test_one_of_several_has_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They differ in more than the swept values, so the others cannot be further runs of the same
    sweep.
    """
    monkeypatch.chdir(tmp_path)
    words = ("-m", *SMALL, "devices=9", "seed=0,1", "hydra.sweep.dir=s")
    ends = race(tmp_path, [by_command(*words, f"rounds={rounds}") for rounds in (1, 2, 3)])
    (winner,) = [number for number, (code, _) in enumerate(ends) if code == 0]
    assert [code for code, _ in ends].count(2) == 2
    assert {
        json.loads(file.read_text())["rounds"] for file in Path("s").glob("seed=*/summary.json")
    } == {winner + 1}
    assert json.loads(Path("s/sweep.json").read_text())["base"]["rounds"] == winner + 1


# --- used folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["notes.txt", "config.yaml", "metrics.jsonl", "old/file", ".hidden"]
)
def test_both_ways_refuse_a_used_folder(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main([*RUN, f"hydra.run.dir={folder}"]) == 2
    said = capfd.readouterr().err
    with pytest.raises(SwarmError) as refused:
        swarm.run(composed(*RUN), folder)
    assert said == f"error: {refused.value}\n"
    assert refused.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before
    assert (folder / name).read_text() == "mine"


@pytest.mark.parametrize("folder", ["", "file", "file/below", "x" * 300, "a\0b"])
def test_what_can_be_no_folder_is_one_sentence(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(
        SwarmError, match=r"hydra\.run\.dir=.*must be a (folder|path|new or an empty folder)"
    ) as refused:
        swarm.run(composed(*RUN), folder)
    assert "\n" not in str(refused.value)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_an_empty_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Any = tmp_path / "run"
    place.mkdir()
    monkeypatch.chdir(place)
    assert swarm.run(composed(*RUN), ".").summary["rounds"] == 2


def test_a_lock_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    with pytest.raises(SwarmError, match=r"cannot be locked.*\.lock in it must be a file"):
        swarm.run(composed(*RUN), tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == [".lock"]


@pytest.mark.parametrize("left", [".signature", "config.yaml.tmp"])
def test_a_start_that_was_killed_at_once_can_be_repeated(tmp_path: Path, left: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / left).write_text("half")
    swarm.run(composed(*RUN), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml.tmp").exists()
