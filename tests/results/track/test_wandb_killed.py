"""What a resume does for W&B runs that a ``kill -9`` cut short, as the tracker is on a thread of
its own and may be far behind the run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ended
from tests.results.track.wandb_runs import by_arm, history, inspected, laid_over

pytest.importorskip("wandb")

KILLED = """
import os, signal, sys, threading
from swarm.cli.main import main
from swarm.results.folder import Folder
from swarm.results.track.wandb import WandbTracker

record, began = WandbTracker.record, threading.Event()

def late(tracker, values):
    if values["round"] == 2:
        began.set()
        threading.Event().wait()
    record(tracker, values)

def killed(write):
    def then(folder, *given):
        write(folder, *given)
        if what == "finish" or given[0]["arms"]:
            began.wait()
            os.kill(os.getpid(), signal.SIGKILL)
    return then

what = sys.argv[1]
WandbTracker.record = late
setattr(Folder, what, killed(getattr(Folder, what)))
main(sys.argv[2:])
"""
RUN = ("devices=6", "topology=ring", "rounds=4", "optimizer.lr=0.3", "tracker=wandb",
       "scenario.arms=[swarm,isolated]", "checkpoint.every=2")  # fmt: skip
ROOT = Path(__file__).parents[3]
METRICS = ROOT / "tests/simulation/metrics/user_metrics.py"
DRIFTS = ("devices=6", "topology=ring", "rounds=8", "optimizer.lr=0.3", "tracker=wandb", "update=online",
          "drift=rotation", "partition=iid", "train.batch=8", "evaluate.every=2", f"plugins=[{METRICS}]",
          "metrics=[standard,{_target_:user_metrics.Imbalance}]",
          "scenario.arms=[swarm,isolated,centralised]")  # fmt: skip
W_AND_BS = ("_runtime", "_timestamp", "_wandb")
SAYS = "the tracker has not all of swarm, isolated"


def kill(until: str, *words: str) -> None:
    """Run until the W&B thread hangs in round 2 and the file that ``until`` writes is there."""
    # without WANDB_SERVICE, as the service of this process would hold the W&B run open
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, until, *words],
        capture_output=True, timeout=180, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("until", "report", "said"),
    [
        ("write_progress", "false", "isolated"),  # after the first of the two arms
        ("finish", "true", "was finished but for its report, which is drawn now"),
        ("finish", "false", SAYS),
    ],
    ids=["between two arms", "before the report", "after the last file"],
)
def test_each_arm_is_whole_after_a_resume(
    until: str, report: str, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    kill(until, *RUN, f"report={report}", f"hydra.run.dir={folder}")
    again = ended(f"resume={folder}")
    assert again.returncode == 0, again.stderr
    assert said in again.stdout
    assert (SAYS in again.stdout) == (until == "finish")
    parts = by_arm(folder)
    assert set(parts) == {"swarm", "isolated", *(["report"] if report == "true" else [])}
    for arm, topology in (("swarm", "Ring"), ("isolated", "Isolated")):
        assert [row["round"] for row in history(parts[arm])] == [0, 1, 2, 3, 4]
        assert laid_over(parts[arm], "summary")["rounds"] == 4
        told = laid_over(parts[arm], "config")
        assert (told["arm"], told["topology"]["_target_"].rpartition(".")[2]) == (arm, topology)
        assert inspected(parts[arm])[-1]["type"] == "exit"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert ended(f"resume={folder}").stdout == f"{folder} is finished already; nothing to do\n"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def told(folder: Path) -> dict[str, dict[str, object]]:
    """What each W&B run of a folder has of rounds, and ends with."""
    return {
        arm: {
            "rounds": [less_times(row) for row in history(part)],
            "summary": less_times(laid_over(part, "summary")),
        }
        for arm, part in by_arm(folder).items()
    }


def less_times(row: dict[str, object]) -> dict[str, object]:
    """A row without the values of what is another number in each run; its keys stay."""
    timed = (*W_AND_BS, "wall_s", "steps_per_s")
    return {key: None if key.startswith(timed) else value for key, value in row.items()}


@pytest.mark.parametrize("until", ["finish", "write_progress"])
def test_what_is_told_again_is_what_a_live_run_tells(until: str, tmp_path: Path) -> None:
    """The same rows with the same keys and steps, and the same summary: less a metric that is not
    for trackers, with what drift did to each arm, and with the gap closed."""
    live, killed = tmp_path / "live", tmp_path / "killed"
    assert ended(*DRIFTS, "report=false", f"hydra.run.dir={live}").returncode == 0
    kill(until, *DRIFTS, "report=false", f"hydra.run.dir={killed}")
    again = ended(f"resume={killed}")
    assert again.returncode == 0, again.stderr
    expected = told(live)
    assert told(killed) == expected
    swarm = expected["swarm"]
    assert isinstance(rows := swarm["rounds"], list)
    assert any(key.startswith("device_accuracy") for key in rows[-1])  # the histogram
    assert [row["_step"] for row in rows] == [*range(9)]
    assert isinstance(summary := swarm["summary"], dict)
    assert {"gap_closed", "forgetting", "accuracy_mean"} <= set(summary)
    assert "imbalance" not in {key for row in rows for key in row} | set(summary)


def test_a_report_that_is_told_later_has_the_figures_too(mirrored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(mirrored, folder)
    figures = laid_over(by_arm(folder)["report"], "summary")
    (folder / "report.html").unlink()
    assert ended(f"resume={folder}").returncode == 0
    again = laid_over(by_arm(folder)["report"], "summary")
    assert again["gap_closed"] == figures["gap_closed"]


def test_rounds_that_were_played_without_a_tracker_are_told_later(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert ended(*RUN[:-2], "scenario.arms=[swarm]", "report=false", f"hydra.run.dir={folder}").returncode == 0  # fmt: skip
    more = ended(f"resume={folder}", "rounds=6", "tracker.mode=disabled")
    assert more.returncode == 0, more.stderr
    again = ended(f"resume={folder}", "tracker.mode=offline")
    assert "the tracker has not all of swarm, and is told again now" in again.stdout
    assert [row["round"] for row in history(by_arm(folder)["swarm"])] == [*range(7)]
    assert "nothing to do" in ended(f"resume={folder}", "tracker.mode=offline").stdout


def test_a_sweep_makes_up_for_a_job_that_was_killed_after_its_last_file(tmp_path: Path) -> None:
    words = ["-m", *RUN[:-2], "scenario.arms=[swarm]", "report=false", "seed=0,1"]
    words.append(f"hydra.sweep.dir={tmp_path}")
    assert ended(*words).returncode == 0
    killed, other = tmp_path / "seed=0", tmp_path / "seed=1"
    (mark,) = killed.glob("wandb/ended-*")
    mark.unlink()
    job = killed / "job.json"
    job.write_text(json.dumps(json.loads(job.read_text()) | {"status": "running"}))
    parts = [by_arm(folder)["swarm"] for folder in (killed, other)]
    began = [part.stat().st_ino for part in parts]
    done = ended(*words)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 were there already, 1 goes on from where it was interrupted" in done.stdout
    assert mark.exists()
    again = [by_arm(folder)["swarm"] for folder in (killed, other)]
    assert [part.stat().st_ino == it for part, it in zip(again, began, strict=True)] == [
        False,
        True,
    ]
    assert [row["round"] for row in history(again[0])] == [0, 1, 2, 3, 4]
    assert json.loads(job.read_text())["status"] == "finished"
