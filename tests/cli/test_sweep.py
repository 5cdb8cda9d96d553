"""Sweeps with the real runner: what is run, what is not run again, and what stands in the sweep's
folder afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from swarm.config.settings import Settings
from swarm.experiments import runner
from swarm.experiments.sweep import plan as plans
from swarm.experiments.sweep.job import Job
from swarm.experiments.sweep.launch import share_cores
from tests.cli.sweeps import summary

from .conftest import SMALL, Command, Swept

ROOT = Path(__file__).parents[2]


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
