"""A full disk, or a folder that is gone, ends a run with one sentence; what is there goes on to the
same bits.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.cli.main import main
from swarm.common.errors import StorageError
from swarm.results.folder import Folder
from swarm.results.report.html import page as html
from swarm.results.track.jsonl import JsonlSink
from swarm.simulation import checkpoint
from tests.processes import CommandLine
from tests.support import config, logged, run

ROOT = Path(__file__).resolve().parents[2]
TINY = ("devices=4", "topology=ring", "rounds=6", "checkpoint.every=2", "evaluate.every=2", "model.hidden=[2]",
        "scenario.arms=[swarm,isolated]", "optimizer.lr=0.05", "report=true")  # fmt: skip
DEADLINE = 120.0


def _outcome(folder: Path) -> tuple[Any, Any]:
    arms = json.loads((folder / "summary.json").read_text())["arms"]
    return {name: arm["params_sha256"] for name, arm in arms.items()}, logged(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, *TINY)
    return folder


def _after(count: int, call: Callable[..., Any], number: int = errno.ENOSPC) -> Callable[..., Any]:
    """``call``, which fails as on a full disk from its ``count``-th time on."""
    left = [count]

    def full(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))
        return call(*args, **options)

    return full


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WRITERS = [(os, "fsync", 4), (os, "fsync", 9), (JsonlSink, "record", 5), (checkpoint, "write_json", 3),
           (checkpoint, "write", 1), (Folder, "finish", 0), (html, "page", 0)]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "name", "count", "number"),
    [(*each, number) for each, number in zip(WRITERS, itertools.cycle(FULL), strict=False)],
)
def test_a_full_disk_is_one_sentence_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    whole: Path,
    where: Any,
    name: str,
    count: int,
    number: int,
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(where, name, _after(count, getattr(where, name), number))
        if where is html:
            patch.setattr("swarm.results.report.page", _after(count, html.page, number))
        with pytest.raises(
            StorageError, match=f"when there is room, resume={folder} goes on"
        ) as caught:
            swarm.run(config(*TINY), folder)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    swarm.resume(folder, {})
    assert _outcome(folder) == _outcome(whole)
    assert not list(folder.rglob("*.tmp"))


def test_files_that_may_not_grow(tmp_path: Path, whole: Path) -> None:
    """A real limit instead of a pretended one: in a process whose files may have 3,000 bytes."""
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from swarm.cli.main import main\n"
        "import matplotlib.font_manager\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    folder = tmp_path / "run"
    words = [
        *TINY,
        "tracker=none",
        "train.batch=8",
        "train.local_steps=2",
        f"hydra.run.dir={folder}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 1
    assert "error: a file would be larger than it may be: " in done.stderr
    assert "Traceback" not in done.stderr
    if (folder / "config.yaml").exists():
        assert main([f"resume={folder}"]) == 0
        assert _outcome(folder) == _outcome(whole)


@pytest.mark.parametrize("how", ["removed", "renamed"])
@pytest.mark.parametrize("when", ["tuning", "running"])
def test_a_folder_that_goes_ends_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, when: str
) -> None:
    """It does not come back, and no rounds are run for nothing."""
    folder, rounds = tmp_path / "run", []

    def gone() -> None:
        if how == "removed":
            shutil.rmtree(folder)
        else:
            folder.rename(tmp_path / "elsewhere")

    from swarm.simulation.loop import Simulation

    records = Simulation.records

    def watched(self: Simulation, until: int) -> Any:
        for record in records(self, until):
            rounds.append(self.round)
            if len(rounds) == 3:
                gone()
            yield record

    monkeypatch.setattr(Simulation, "records", watched)
    tune = (
        ("optimizer.lr=auto", "lr_search.lrs=[0.1,0.3]", "lr_search.rounds=6")
        if when == "tuning"
        else ()
    )
    with pytest.raises(StorageError, match=r"was removed(,| or) renamed"):
        swarm.run(config(*TINY, *tune), folder)
    assert len(rounds) == 3
    assert not folder.exists()


def test_a_tracker_on_a_full_disk_ends_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX")
    from swarm.results.track.tensorboard import TensorBoardTracker

    monkeypatch.setattr(TensorBoardTracker, "record", _after(2, TensorBoardTracker.record))
    run(tmp_path / "run", *TINY, "tracker=tensorboard")
    assert _outcome(tmp_path / "run") == _outcome(whole)


def test_an_error_that_is_not_the_folder_s_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such file", "/nowhere/table.csv")

    monkeypatch.setattr(JsonlSink, "record", broken)
    with pytest.raises(FileNotFoundError):
        swarm.run(config(*TINY), tmp_path / "run")


def test_sigterm_ends_a_run_as_ctrl_c_does(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*TINY, "rounds=100000", "report=false", "tracker=none", f"hydra.run.dir={folder}"]
    process = CommandLine(*words)
    try:
        end = time.monotonic() + DEADLINE
        while not list(folder.glob("checkpoints/swarm/*.json")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait(DEADLINE)
    assert process.returncode == 143
    assert said == f"interrupted; go on with resume={folder}\n"
    before = len(logged(folder))
    Folder(folder).verify()
    assert before > 2
