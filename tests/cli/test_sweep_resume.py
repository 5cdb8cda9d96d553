"""Sweeps that are interrupted, damaged or killed, and go on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hydra.core.plugins import Plugins

from swarm.experiments import runner
from swarm.experiments.sweep.job import Job
from swarm.experiments.sweep.launch import JobRunner, outcome
from swarm.results.status import note
from swarm.results.track.base import Tracker
from swarm.simulation import checkpoint
from tests.cli.sweeps import summary
from tests.processes import CommandLine

from .conftest import SMALL, Command, Swept


def test_a_failed_job_is_listed_with_its_cause_and_tried_again(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runner.run

    def bad(cfg: Any, folder: Path, ready: Any = None, words: object = ()) -> Any:
        if cfg.seed == 1:
            raise ZeroDivisionError("not my day")
        return real(cfg, folder, ready)

    monkeypatch.setattr(runner, "run", bad)
    done = command("-m", "seed=0,1,2", *SMALL)
    assert done.code == 1
    assert "seed=1: failed: ZeroDivisionError: not my day" in done.out
    assert "Traceback" in done.err
    job = summary()["jobs"][1]
    assert (job["state"], job["cause"]) == ("failed", "ZeroDivisionError: not my day")
    assert pd.read_csv("s/table.csv")["seeds"].item() == 2
    monkeypatch.setattr(runner, "run", real)
    again = command("-m", "seed=0,1,2", *SMALL)
    assert (again.code, "2 of 3 were there already, 1 to run" in again.out) == (0, True)


def test_a_tracker_that_names_no_jobs_ends_no_sweep(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> dict[str, str]:
        raise ZeroDivisionError("no name today")

    monkeypatch.setattr(Tracker, "options_of_job", fails)
    done = command("-m", "seed=0,1", *SMALL, "tracker=none")
    assert (done.code, done.err.count("warning: the tracker names no jobs: no name")) == (0, 2)


def test_a_damaged_run_is_listed_and_the_rest_is_shown(command: Command, swept: Swept) -> None:
    swept(3)
    Path("s/seed=1/metrics.jsonl").write_text("nonsense\n{}\n")
    done = command("-m", "seed=0,1,2", *SMALL)
    assert done.code == 1
    assert "seed=1: failed: metrics.jsonl=s/seed=1/metrics.jsonl: damaged; line 1" in done.out
    assert pd.read_csv("s/table.csv")["seeds"].item() == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_ends_in_the_middle_goes_on_where_it_was(
    command: Command, how: signal.Signals
) -> None:
    words = [word for word in SMALL if "rounds" not in word]
    process = CommandLine("-m", "seed=0,1", *words, "rounds=60")
    deadline = time.monotonic() + 120
    while not [*Path("s/seed=0/checkpoints").glob("swarm/round_*.json")]:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)
    busy = command("-m", "seed=0,1", *words, "rounds=60")
    assert busy.code == 2
    assert "is being run by another process right now" in busy.err
    process.send_signal(how)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert (
            "interrupted with 0 of 2 runs finished; the same command with hydra.sweep.dir=s goes on"
            in err
        )
    assert checkpoint.rounds_in(Path("s/seed=0/checkpoints/swarm"))[-1] < 60
    done = command("-m", "seed=0,1", *words, "rounds=60")
    assert (done.code, done.err) == (0, "")
    assert "1 goes on from where it was interrupted, 1 to run" in done.out
    whole = yaml.safe_load(Path("s/seed=0/config.yaml").read_text())
    runner.run(whole, "alone")
    hashes = [
        json.loads(Path(f, "summary.json").read_text())["arms"]["swarm"]["params_sha256"]
        for f in ("s/seed=0", "alone")
    ]
    assert hashes[0] == hashes[1]


DEADLY = """
import os, signal
from swarm.communication.topology.regular import Ring

class Deadly(Ring):
    def __init__(self, devices: int, deadly: bool = False) -> None:
        if deadly and os.environ["SWARM_TEST_PARENT"] != str(os.getpid()):
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__(devices)
"""


def test_a_killed_worker_fails_its_job(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes joblib's whole pool down."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    Path("deadly.py").write_text(DEADLY)
    monkeypatch.setenv("SWARM_TEST_PARENT", str(os.getpid()))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    mine = (
        "plugins=[deadly.py]",
        "topology=ring",
        "topology._target_=deadly.Deadly",
        "hydra/launcher=joblib",
    )
    done = command("-m", "+topology.deadly=true", *SMALL, *mine)
    assert done.code == 1
    (job,) = summary()["jobs"]
    killed = "its process ended without a word: killed, perhaps for want of memory"
    assert (job["state"], job["cause"]) == ("failed", killed)


def test_of_jobs_that_ran_when_a_worker_died_each_goes_on_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four were running, and one of these kills its worker again; the fourth had not begun."""
    calls: list[list[str]] = []

    class Dying:
        def __init__(self, real: Any, task: JobRunner) -> None:
            self.real, self.task = real, task

        def launch(self, jobs: list[list[str]], initial_job_idx: int) -> None:
            seeds = [next(word for word in words if word.startswith("seed=")) for words in jobs]
            calls.append(seeds)
            if len(jobs) == 4:
                self.real.launch(jobs[:1], initial_job_idx)
            if len(jobs) == 4 or seeds == ["seed=1"]:
                for seed in seeds[1:3] or seeds:
                    self.task.note(Path("s", seed), "running", None)
                raise RuntimeError("a worker was terminated")
            self.real.launch(jobs, initial_job_idx)

    real = Plugins.instantiate_launcher

    def dying(self: Plugins, *, task_function: JobRunner, **how: Any) -> Dying:
        return Dying(real(self, task_function=task_function, **how), task_function)

    monkeypatch.setattr(Plugins, "instantiate_launcher", dying)
    assert command("-m", "seed=0,1,2,3", *SMALL).code == 1
    assert calls == [["seed=0", "seed=1", "seed=2", "seed=3"], ["seed=1"], ["seed=2"], ["seed=3"]]
    killed = "its process ended without a word: killed, perhaps for want of memory"
    found = [(job["state"], job["cause"]) for job in summary()["jobs"]]
    assert found == [("finished", None), ("failed", killed), ("finished", None), ("finished", None)]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "summary.json",
            "{}",
            (
                "summary.json=s/seed=1/summary.json: is damaged: its `seal` is not the hash of the"
                " rest, as it was written"
            ),
        ),
        (
            "summary.json",
            '{"schema": 1}',
            "s/seed=1/summary.json: damaged; must have `arms` and `seed`",
        ),
        (
            "summary.json",
            "{",
            "summary.json=s/seed=1/summary.json: damaged; must be one JSON mapping",
        ),
        ("job.json", '{"ti', "hydra.sweep.dir=s/seed=1: has a damaged job.json"),
        ("config.yaml", "{}", "hydra.sweep.dir=s/seed=1: has a damaged config.yaml (it is empty)"),
    ],
)
def test_one_damaged_file_costs_one_run_and_says_how_to_mend_it(
    command: Command, swept: Swept, file: str, text: str, said: str
) -> None:
    swept(3)
    Path("s/seed=1", file).write_text(text)
    done = command("-m", "seed=0,1,2", *SMALL)
    assert done.code == 1
    assert f": {said}; remove that folder to run the job anew" in done.out
    assert pd.read_csv("s/table.csv")["seeds"].item() == 2


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "must be one JSON mapping"),
        ("{}", "`swept` is missing"),
        ('{"swept": 3}', "`swept` must be a valid array, and is 3"),
        ('{"swept": ["seed"], "base": {}, "jobs": [{"name": "x"}]}', "`jobs.0.folder` is missing"),
    ],
)
def test_a_damaged_list_of_jobs_is_refused(
    command: Command, swept: Swept, text: str, wrong: str
) -> None:
    swept(2)
    Path("s/sweep.json").write_text(text)
    said = (
        f"has a damaged sweep.json (damaged; {wrong}), which says what was swept; choose another"
        " folder"
    )
    assert command("-m", "seed=0,1", *SMALL).sentence == f"hydra.sweep.dir=s: {said}"


def test_what_another_process_finished_meanwhile_is_in_the_tables(
    command: Command, swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept(2)
    Path("s").rename("elsewhere")
    real = runner.check

    def check(cfg: Any) -> Any:
        if Path("elsewhere").exists():  # after the plan has looked, before the folder is locked
            Path("elsewhere").rename("s")
        return real(cfg)

    monkeypatch.setattr(runner, "check", check)
    assert command("-m", "seed=2,1", *SMALL).code == 0
    assert sorted(pd.read_csv("s/runs.csv")["seed"]) == [0, 1, 2]


def test_a_failed_run_that_was_resumed_by_hand_is_finished(command: Command, swept: Swept) -> None:
    swept(2)
    facts = json.loads(Path("s/seed=1/job.json").read_text())
    Path("s/seed=1/job.json").write_text(
        json.dumps({**facts, "status": "failed", "cause": "no room"})
    )
    assert command("-m", "seed=2,3", *SMALL).code == 0
    assert summary()["counts"] == {"finished": 4}


def test_the_files_say_what_is_finished_not_its_note(command: Command, swept: Swept) -> None:
    """In a sweep as for a single run: a note that says finished does not make up for a missing
    summary.
    """
    swept(2)
    job, _ = (
        Job(f"seed={seed}", {"seed": str(seed)}, Path(f"s/seed={seed}").absolute())
        for seed in (0, 1)
    )
    note(job.folder, job.name, {}, "failed", "a tracker")
    assert outcome(job) == ("finished", None)
    note(job.folder, job.name, {}, "finished")
    (job.folder / "summary.json").unlink()
    assert outcome(job) == ("unfinished", None)
    note(job.folder, job.name, {}, "failed", "no memory")
    assert outcome(job) == ("failed", "no memory")


def test_what_an_earlier_command_failed_at_is_not_blamed_on_one_that_was_interrupted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[BaseException] = [
        ZeroDivisionError("not my day"),
        ZeroDivisionError("nor mine"),
        KeyboardInterrupt(),
    ]

    def bad(cfg: Any, folder: Path, ready: Any = None, words: object = ()) -> Any:
        raise raised.pop(0)

    monkeypatch.setattr(runner, "run", bad)
    assert command("-m", "seed=0,1", *SMALL).code == 1
    assert command("-m", "seed=0,1", *SMALL).code == 130
    assert [(job["state"], job["cause"]) for job in summary()["jobs"]] == [("unfinished", None)] * 2
