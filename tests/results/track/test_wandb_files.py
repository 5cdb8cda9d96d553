"""The files of W&B runs: what an interrupt, a resume and an upload leave, and what goes along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from swarm.results.track.wandb import WandbTracker
from swarm.results.track.wandb_files import run_id
from tests.results.track.wandb_runs import by_arm, history, inspected, laid_over, outside

pytest.importorskip("wandb")

SCRIPT = """
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from swarm.results.track import Fanout, JsonlSink, read_jsonl
from swarm.results.track.wandb import WandbTracker

folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
tracker = WandbTracker(folder, "a run/1", {"devices": 3, "model": {"widths": [64]}})
sink = Fanout(JsonlSink(folder / "metrics.jsonl"), [tracker], warn=lambda text: print("WARNING", text))
for arm in ("swarm", "isolated"):
    sink.start(arm, 4, first)
    for r in range(first, last + 1):
        sink.record({"arm": arm, "round": r, "virtual_s": 2.0 * r, "accuracy_mean": r / 4, "loss_mean": float("nan"),
                     "_device_accuracy": np.linspace(0, 1, 3)})
    sink.finish(arm, {"accuracy_mean": last / 4, "rounds": last, "diverged": None})
sink.close()
"""


def child(folder: Path, first: int, last: int) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(first), str(last)],
        capture_output=True, text=True, timeout=120, env=environment, cwd=folder, check=True,
    )  # fmt: skip


def test_what_the_swarm_gained_reaches_a_run_that_was_over_before_the_resume(
    tmp_path: Path,
) -> None:
    """The process died after the swarm's arm; the next one runs the controls."""
    script = """
import sys
from pathlib import Path
from swarm.results.track import Fanout, JsonlSink
from swarm.results.track.wandb import WandbTracker

folder = Path(sys.argv[1])
def arm(name):
    sink.configure(name, {"arm": name, "devices": 3})
    sink.start(name, 1, 0)
    for r in range(2):
        sink.record({"arm": name, "round": r, "accuracy_mean": r / 4})
    sink.finish(name, {"accuracy_mean": 0.25, "rounds": 1, "diverged": None})

sink = Fanout(JsonlSink(folder / "metrics.jsonl"), [WandbTracker(folder, "r", {})])
arm("swarm")
sink.close()
sink = Fanout(JsonlSink(folder / "metrics.jsonl"), [WandbTracker(folder, "r", {})])
sink.configure("swarm", {"arm": "swarm", "devices": 3})
arm("isolated")
facts = {"accuracy_mean": 0.25, "rounds": 1, "diverged": None}
sink.conclude({"gap_closed": 0.5, "arms": {"swarm": facts, "isolated": facts}})
sink.close()
"""
    outside(script, str(tmp_path))
    parts = by_arm(tmp_path)
    assert set(parts) == {"swarm", "isolated"}
    assert laid_over(parts["swarm"], "summary")["gap_closed"] == 0.5
    assert laid_over(parts["swarm"], "config")["devices"] == 3
    assert [row["round"] for row in history(parts["swarm"])] == [0, 1]


def test_offline_runs_are_complete_silent_and_survive_a_resume(tmp_path: Path) -> None:
    done = child(tmp_path, 0, 2)
    assert done.stdout == ""
    assert done.stderr == ""
    parts = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(parts) == 2
    assert len(history(parts[0])) == 3

    # Resumed at round 3: the same ids, each offline run whole again, the superseded parts gone.
    assert child(tmp_path, 3, 4).stderr == ""
    again = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert {p.name.split("-", 3)[3] for p in again} == {p.name.split("-", 3)[3] for p in parts}
    assert len(again) == 2
    rounds = history(again[-1])
    assert [row["round"] for row in rounds] == [0, 1, 2, 3, 4]
    assert rounds[-1]["virtual_s"] == 8.0
    assert "loss_mean" not in rounds[0]  # NaN is no value


def test_an_arm_that_begins_anew_replaces_what_it_had_begun(tmp_path: Path) -> None:
    """It was killed before its first checkpoint."""
    for _ in range(2):
        assert child(tmp_path, 0, 2).stderr == ""
    parts = by_arm(tmp_path)
    assert [[row["round"] for row in history(part)] for part in parts.values()] == [[0, 1, 2]] * 2


@pytest.mark.parametrize("said", [None, ("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true")])
def test_disabled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[str, str] | None
) -> None:
    """By the config, or in the environment, where W&B's own users say it."""
    if said is not None:
        monkeypatch.setenv(*said)
    tracker = WandbTracker(tmp_path, "r", {}, mode="disabled" if said is None else None)
    tracker.start("swarm", 1, 0)
    tracker.record({"arm": "swarm", "round": 0})
    tracker.finish("swarm", {})
    tracker.conclude({"gap_closed": 0.5, "arms": {"swarm": {"rounds": 1}}})
    tracker.attach([tmp_path / "curves.png"])
    tracker.close()
    assert not list(tmp_path.iterdir())


def test_ids_are_stable_slugs_that_never_collide() -> None:
    assert run_id("2026-01-02_03-04-05", "swarm") == "2026-01-02_03-04-05-swarm"
    names = ["a/b", "a b", "a-b", "ä-b", "x" * 90, "x" * 91]
    ids = {run_id(name, "swarm") for name in names}
    assert len(ids) == len(names)
    assert all(
        len(i) <= 64 and set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for i in ids
    )


def test_the_id_is_kept_in_the_run_folder(tmp_path: Path) -> None:
    """A moved folder stays the same run; another folder of the same name is another run."""
    first = tmp_path / "one"
    first.mkdir()
    known = WandbTracker(first, "a-run", {})._id("swarm")
    assert WandbTracker(first, "a-run", {})._id("swarm") == known
    assert WandbTracker(first, "a-run", {})._id("isolated") != known
    moved = first.rename(tmp_path / "moved")
    assert WandbTracker(moved, "another-name", {})._id("swarm") == known
    first.mkdir()
    assert WandbTracker(first, "a-run", {})._id("swarm") != known
    (first / "wandb.json").write_text("[1")
    assert len(WandbTracker(first, "x" * 200, {})._id("swarm")) <= 64


def test_pictures_page_config_and_versions_go_along(mirrored: Path) -> None:
    folder = mirrored
    ids = json.loads((folder / "wandb.json").read_text())
    (part,) = (folder / "wandb").glob(f"offline-run-*-{ids['report']}")
    names = {path.name for path in part.rglob("*")}
    assert {"config.yaml", "summary.json", "report.html", "curves.png", "graph.png"} <= names
    media = {path.name.split("_")[0] for path in (part / "files" / "media").rglob("*.*")}
    assert {"curves", "graph", "report"} <= media
    (arm,) = (folder / "wandb").glob(f"offline-run-*-{ids['swarm']}")
    text = json.dumps(inspected(arm))
    assert "versions" in text
    assert "swarm-sim" in text
    assert "accuracy_p10" in text  # quantiles over devices


def test_only_what_was_not_uploaded_is_replaced_and_only_once_the_new_part_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one second W&B gives the new part the old one's name, or that name and ``-1``, and a
    run does not know which.
    """
    import wandb

    parts = tmp_path / "wandb"
    for name in ("2-the-id", "2-the-id-1", "1-the-id", "1-another"):
        (parts / f"offline-run-{name}").mkdir(parents=True)
    (parts / "offline-run-1-the-id" / "run.wandb.synced").touch()
    (tmp_path / "wandb.json").write_text('{"swarm": "the-id"}')
    for own in ("offline-run-2-the-id", "offline-run-2-the-id-1"):
        monkeypatch.setattr(wandb, "init", lambda own=own, **_: (parts / own).mkdir())
        tracker = WandbTracker(tmp_path, "r", {})
        tracker._init("swarm", replaces=True)
        assert (parts / f"replaced-{own}").is_dir()  # a crash from here on loses nothing
        tracker._drop_replaced("swarm")
        assert {part.name for part in parts.iterdir()} == {
            own,
            "offline-run-1-the-id",
            "offline-run-1-another",
        }
        (parts / own).rename(parts / "offline-run-2-the-id-1")


def test_two_parts_in_one_second_leave_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With W&B itself, whose names of folders have only seconds, and whose service keeps the
    directory it was started in.
    """
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        for _ in range(3):
            WandbTracker(Path("r"), "r", {}).attach([Path("r/table.csv")])
        (part,) = Path("r/wandb").glob("*-run-*")
        assert [*part.glob("run-*.wandb")]


def test_files_are_kept_without_a_word_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also on a thread of the tracker's own, where the streams are those of the main thread."""
    (tmp_path / "table.csv").write_text("round\n1\n")
    with ThreadPoolExecutor(1) as thread:
        thread.submit(WandbTracker(tmp_path, "r", {}).attach, [tmp_path / "table.csv"]).result()
    assert [*tmp_path.glob("wandb/*/files/table.csv")]
    assert capfd.readouterr() == ("", "")
