"""Sweeps with the real runner: what is run, what is not run again, and what stands in the sweep's
folder afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf
from PIL import Image

from swarm.config.settings import Settings
from swarm.experiments import runner
from swarm.experiments.sweep import plan as plans
from swarm.experiments.sweep.job import Job
from swarm.experiments.sweep.launch import Task, outcome, share_cores
from swarm.results.status import note
from swarm.simulation import checkpoint
from tests.processes import CommandLine

from .conftest import SMALL, Command, Swept

ROOT = Path(__file__).parents[2]


def summary() -> dict[str, Any]:
    return dict(json.loads(Path("s/summary.json").read_text()))


def stamps(name: str = "summary.json") -> dict[str, int]:
    """When each run was closed: unchanged for those that were not run again."""
    return {file.parent.name: file.stat().st_mtime_ns for file in Path("s").glob(f"*/{name}")}


@pytest.mark.usefixtures("painted")
def test_a_sweep_ends_with_table_curves_picture_and_summary(command: Command) -> None:
    done = command("-m", "topology=ring,complete", "seed=range(0,3)", *SMALL)
    assert (done.code, done.err) == (0, "")
    assert "6 runs in s: 6 to run" in done.out
    table = pd.read_csv("s/table.csv")
    # the seed repeats, everything else distinguishes
    assert [*table["topology"]] == ["ring", "complete"]
    assert [*table["seeds"]] == [3, 3]
    runs = pd.read_csv("s/runs.csv")
    for row in table.to_dict("records"):
        mine = runs[runs["topology"] == row["topology"]]
        assert sorted(mine["seed"]) == [0, 1, 2]
        assert row["accuracy"] == pytest.approx(mine["accuracy"].mean())
        half = 4.302652729911275 * mine["accuracy"].std(ddof=1) / 3**0.5  # t(0.975, 2)
        assert row["accuracy_high"] - row["accuracy"] == pytest.approx(half)
        assert row["spectral_gap"] == pytest.approx(mine["spectral_gap"].iloc[0])
    curves = pd.read_csv("s/curves.csv")
    assert len(curves) == 2 * 4
    assert {"accuracy_low", "accuracy_high", "bytes_total", "virtual_s"} <= {*curves.columns}
    with Image.open("s/sweep.png") as picture:
        picture.load()
        assert picture.width == 1430
    assert "| ring | swarm |" in Path("s/table.md").read_text()
    assert summary()["counts"] == {"finished": 6}
    assert not [*Path("s").rglob("*.tmp")]


def test_a_finished_sweep_is_not_run_again_and_new_values_are_added(
    command: Command, swept: Swept
) -> None:
    swept(2)
    before = stamps()
    # these change no number
    again = command("-m", "seed=0,1", *SMALL, "engine.shards=2", "checkpoint.keep=1")
    assert (again.code, stamps()) == (0, before)
    assert "2 of 2 were there already" in again.out
    more = command("-m", "seed=2,1", *SMALL)
    assert "1 of 2 were there already, 1 to run" in more.out
    assert {name: stamp for name, stamp in stamps().items() if name != "seed=2"} == before
    assert [job["name"] for job in summary()["jobs"]] == ["seed=0", "seed=2", "seed=1"]
    assert pd.read_csv("s/table.csv")["seeds"].item() == 3


def test_the_same_values_are_one_run_whatever_their_order_and_the_name_of_the_folder(
    command: Command,
) -> None:
    assert command("-m", "train.clip_norm=1,2", "seed=0,1", *SMALL).code == 0
    for words in (
        ("seed=1,0", "train.clip_norm=2,1"),
        ("train.clip_norm=1,2", "seed=0,1", "hydra.sweep.subdir=${seed}-${train.clip_norm}"),
    ):
        again = command("-m", *words, *SMALL)
        assert (again.code, "4 of 4 were there already" in again.out) == (0, True)
        assert [*pd.read_csv("s/table.csv")["seeds"]] == [2, 2]


def test_other_code_runs_anew_and_throws_nothing_away(
    command: Command, swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept(2)
    before = stamps()
    monkeypatch.setattr(
        plans, "code_version", lambda plugins: {"version": "9", "source": "other", "commit": None}
    )
    done = command("-m", "seed=0,1", *SMALL)
    assert (done.code, "2 to run" in done.out) == (0, True)
    assert all(stamps()[name] > stamp for name, stamp in before.items())
    assert len([*Path("s/superseded").glob("seed=*/summary.json")]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("rounds=2",),
            "s: holds a sweep with rounds=3, and this one has rounds=2: choose another folder",
        ),
        (
            ("train.batch=4,8",),
            "s: holds a sweep of seed, and this one is of seed, train.batch: choose another folder",
        ),
    ],
)
def test_the_folder_of_another_sweep_is_refused(
    command: Command, swept: Swept, words: tuple[str, ...], said: str
) -> None:
    swept(2)
    before = {file: file.stat().st_mtime_ns for file in Path("s").rglob("*")}
    assert command("-m", "seed=0,1", *SMALL, *words).sentence == f"hydra.sweep.dir={said}"
    assert {file: file.stat().st_mtime_ns for file in Path("s").rglob("*")} == before


def test_an_impossible_combination_is_listed_and_the_others_run(command: Command) -> None:
    done = command(
        "-m",
        "topology=ring,torus",
        "devices=9,10",
        *(word for word in SMALL if "devices" not in word),
    )
    assert done.code == 1
    cause = "devices=10: a torus is rows × cols with sides of at least 3; 9 or 12 would do"
    assert done.err == f"error: {cause} (in the job topology=torus devices=10; the others run)\n"
    assert f"topology=torus devices=10: impossible: {cause}" in done.out
    assert summary()["counts"] == {"finished": 3, "impossible": 1}
    assert cause in Path("s/table.md").read_text()
    assert not Path("s/topology=torus,devices=10").exists()


def test_a_key_that_one_option_lacks_makes_that_combination_impossible(command: Command) -> None:
    done = command("-m", "topology=ring,small_world", "topology.k=2,4", *SMALL)
    assert done.code == 1
    assert done.err.count("no such key") == 2
    assert summary()["counts"] == {"finished": 2, "impossible": 2}


def test_a_key_of_a_swept_group_may_stand_beside_it(command: Command) -> None:
    done = command("-m", "compressor=top_k,qsgd", "compressor.fraction=0.5", *SMALL)
    assert done.err.count("no such key") == 1
    assert summary()["counts"] == {"finished": 1, "impossible": 1}


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


def test_the_runs_of_a_sweep_share_one_group(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(
        runner, "run", lambda cfg, folder, prepared=None, words=(): given.append(dict(cfg.tracker))
    )
    words = [word for word in SMALL if "tracker" not in word]
    command("-m", "seed=0,1", *words)
    names = [f"small_world · dpsgd · seed {i}" for i in (0, 1)]
    assert [t["name"] for t in given] == names
    assert {t["group"] for t in given} == {f"{Path.cwd().name}-s"}
    given.clear()
    command("-m", "seed=0,1", *words[:-1], "hydra.sweep.dir=t", "tracker.group=mine")
    assert [(t["group"], t["name"]) for t in given] == [("mine", name) for name in names]
    given.clear()
    monkeypatch.setenv("WANDB_RUN_GROUP", "theirs")
    command("-m", "devices=9,10", *words[1:-1], "hydra.sweep.dir=u")
    assert [t["name"] for t in given] == [
        f"small_world · dpsgd · devices {n} · seed 0" for n in (9, 10)
    ]
    assert {t["group"] for t in given} == {"theirs"}


def test_one_panel_of_wandb_has_every_combination(command: Command) -> None:
    pytest.importorskip("wandb")
    words, arms = (
        [word for word in SMALL if "tracker" not in word],
        "scenario.arms=[swarm,isolated]",
    )
    for _ in range(2):  # the second replaces the first, which was not uploaded
        assert (
            command("-m", "topology=ring,complete", "seed=0,1", *words, "tracker=wandb", arms).code
            == 0
        )
    (part,) = Path("s/wandb").glob("offline-run-*-sweep-*")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(part)]
    done = subprocess.run(inspect, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    records = [json.loads(line) for line in text.splitlines()]
    (run,) = (record["run"] for record in records if "run" in record)
    assert run["run_group"] == f"{Path.cwd().name}-s"
    assert "wandb/lineseries/v0" in text
    (table,) = part.glob("files/media/table/accuracy_by_bytes_total_table*.json")
    lines = pd.DataFrame(json.loads(table.read_text())["data"])
    assert {value for value in lines.stack() if isinstance(value, str)} == {
        "ring",
        "complete",
        "isolated",
    }


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
        def __init__(self, real: Any, task: Task) -> None:
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

    def dying(self: Plugins, *, task_function: Task, **how: Any) -> Dying:
        return Dying(real(self, task_function=task_function, **how), task_function)

    monkeypatch.setattr(Plugins, "instantiate_launcher", dying)
    assert command("-m", "seed=0,1,2,3", *SMALL).code == 1
    assert calls == [["seed=0", "seed=1", "seed=2", "seed=3"], ["seed=1"], ["seed=2"], ["seed=3"]]
    killed = "its process ended without a word: killed, perhaps for want of memory"
    found = [(job["state"], job["cause"]) for job in summary()["jobs"]]
    assert found == [("finished", None), ("failed", killed), ("finished", None), ("finished", None)]


@pytest.mark.parametrize(
    ("engine", "jobs"), [({}, 4), ({"actors": "auto"}, 1), ({"actors": 2}, 2), ({"actors": 9}, 1)]
)
def test_jobs_side_by_side_do_not_ask_for_more_cores_than_there_are(
    engine: dict[str, Any], jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launcher = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": -1,
                "batch_size": "auto"}  # fmt: skip
    cfg = OmegaConf.create({"hydra": {"launcher": launcher}})
    OmegaConf.set_readonly(cfg, True)
    job = Job("a", {}, Path("a"), settings=Settings.model_construct(engine=engine))
    share_cores(cfg, [job])
    assert (cfg.hydra.launcher.n_jobs, cfg.hydra.launcher.batch_size) == (jobs, "1")


def test_an_unreadable_folder_is_one_sentence(command: Command) -> None:
    Path("s").mkdir()
    Path("s/notes.txt").touch()
    said = command("-m", "seed=0,1", *SMALL).sentence
    assert said == "hydra.sweep.dir=s: must be a new or an empty folder; notes.txt is in s"


MODEL = """
import math
from torch import nn

class Net(nn.Sequential):
    def __init__(self, features: tuple[int, ...], outputs: int, width: int = 4) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(features), width), nn.ReLU(), nn.Linear(width, outputs))
"""


def test_an_option_that_is_given_once_and_left_out_once_makes_another_sweep(
    command: Command,
) -> None:
    Path("nets_of_a_sweep.py").write_text(MODEL)
    mine = ("plugins=[nets_of_a_sweep.py]", "model=custom", "model._target_=nets_of_a_sweep.Net")
    assert command("-m", "seed=0,1", *SMALL, *mine).code == 0
    said = (
        "hydra.sweep.dir=s/seed=0: holds a run without model.width, and this one is with it: choose"
        " another folder"
    )
    for seeds in ("seed=0,1", "seed=2,3"):
        assert command("-m", seeds, *SMALL, *mine, "+model.width=5").sentence == said


def test_runs_of_other_code_are_in_no_table_with_those_that_are_added(
    command: Command, swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept(2)
    monkeypatch.setattr(
        plans, "code_version", lambda plugins: {"version": "9", "source": "other", "commit": None}
    )
    done = command("-m", "seed=1,2", *SMALL)
    assert (
        done.code,
        "2 runs in s: 2 to run; 2 that other code made moved to superseded" in done.out,
    ) == (0, True)
    assert sorted(pd.read_csv("s/runs.csv")["seed"]) == [1, 2]
    assert len([*Path("s/superseded").glob("seed=*/summary.json")]) == 2


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


@pytest.mark.parametrize("subdir", [".", "../x${seed}", "/x${seed}"])
def test_a_run_lies_in_its_sweep(command: Command, subdir: str) -> None:
    said = command("-m", "seed=0", *SMALL, f"hydra.sweep.subdir={subdir}").sentence
    assert said.startswith("hydra.sweep.subdir=")
    assert said.endswith(": must be a folder in s; auto makes one for each job")


def test_no_jobs_at_a_time_are_refused(command: Command) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    said = command(
        "-m", "seed=0,1", *SMALL, "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"
    ).sentence
    assert said.startswith("hydra.launcher.n_jobs=0: must be at least 1, or -1")


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
