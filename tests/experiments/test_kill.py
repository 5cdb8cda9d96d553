"""``kill -9`` at any moment of a run, also while a learning rate is being chosen, costs no bit of
the result.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from swarm.cli.main import main
from swarm.results import report
from swarm.results.track.jsonl import read_jsonl
from tests.processes import CommandLine

RUN = ["devices=16", "topology=ring", "rounds=40", "lr_search.lrs=[0.1,0.3]", "lr_search.rounds=20", "tracker=none", "report=false",
       "scenario.arms=[swarm,isolated]", "checkpoint.every=7", "evaluate.every=2"]  # fmt: skip
DEADLINE = 120.0  # seconds


def _outcome(folder: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    arms = json.loads((folder / "summary.json").read_text())["arms"]
    records = read_jsonl(folder / "metrics.jsonl")
    return {n: a["params_sha256"] for n, a in arms.items()}, [
        {k: v for k, v in r.items() if not k.startswith("wall_s")} for r in records
    ]


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*RUN, f"hydra.run.dir={folder}"]) == 0
    return _outcome(folder)


def _killed_at(until: str, folder: Path, *words: str) -> None:
    """Start a run, and ``kill -9`` it as soon as there is such a file."""
    process = CommandLine(*RUN, *words, f"hydra.run.dir={folder}")
    try:
        end = time.monotonic() + DEADLINE
        while not any(folder.glob(until)):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait(DEADLINE)


@pytest.mark.parametrize(
    "until", ["config.yaml", "checkpoints/swarm/*.json", "checkpoints/isolated/*.json"]
)
def test_killed_and_resumed_equals_undisturbed(
    until: str, undisturbed: Any, tmp_path: Path
) -> None:
    """While the first learning rates are tried, in the midst of the first arm, and of the
    second.
    """
    folder = tmp_path / "run"
    _killed_at(until, folder)
    assert not (folder / "summary.json").exists()
    assert main([f"resume={folder}"]) == 0
    assert _outcome(folder) == undisturbed


def _written(folder: Path) -> dict[str, int]:
    """When what training writes was written."""
    parts = [*folder.glob("checkpoints/**/*"), folder / "metrics.jsonl", folder / "summary.json"]
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in parts}


PICTURES = ("curves.png", "graph.png", "report.html")


@pytest.mark.parametrize("until", ["summary.json", "curves.png*"])
def test_killed_before_its_report_gets_it_without_training(
    until: str, undisturbed: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    _killed_at(until, folder, "report=true")
    assert (folder / "summary.json").exists()
    assert not (folder / "report.html").exists()
    before = _written(folder)
    capfd.readouterr()
    assert main([f"resume={folder}"]) == 0
    assert "was finished but for its report, which is drawn now" in capfd.readouterr().out
    assert all((folder / name).exists() for name in PICTURES)
    assert _written(folder) == before
    assert _outcome(folder) == undisturbed
    assert main([f"resume={folder}"]) == 0
    assert "is finished already; nothing to do" in capfd.readouterr().out


SHORT = (
    "devices=9",
    "rounds=2",
    "optimizer.lr=0.1",
    "lr_search.lrs=null",
    "scenario.arms=[swarm]",
    "report=true",
)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_at_each_picture_a_longer_run_ends_with_its_own(
    stage: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report that is there when a run goes on is of fewer rounds: it does not pass for the new
    one.
    """
    folder = tmp_path / "run"
    assert main([*RUN, *SHORT, f"hydra.run.dir={folder}"]) == 0
    old = (folder / "report.html").read_bytes()
    real, calls = report.replace_file, []

    def replace_file(target: Path, write: Any) -> None:
        calls.append(target.name)
        if len(calls) > stage:
            raise KeyboardInterrupt
        real(target, write)

    with monkeypatch.context() as patched:
        patched.setattr(report, "replace_file", replace_file)
        assert main([f"resume={folder}", "rounds=3"]) == 130
    before = _written(folder)
    assert main([f"resume={folder}"]) == 0
    assert (folder / "report.html").read_bytes() != old
    assert all((folder / name).exists() for name in PICTURES)
    assert _written(folder) == before


def test_a_sweep_draws_the_reports_that_its_runs_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-m", *RUN, *SHORT, "seed=0,1", "hydra.sweep.dir=s"]
    assert main(words) == 0
    jobs = [Path("s/seed=0"), Path("s/seed=1")]
    (jobs[1] / "report.html").unlink()
    job = json.loads((jobs[1] / "job.json").read_text())
    (jobs[1] / "job.json").write_text(json.dumps(job | {"status": "running"}))
    before = [_written(folder) for folder in jobs]
    assert main(words) == 0
    assert (jobs[1] / "report.html").exists()
    assert [_written(folder) for folder in jobs] == before


def test_without_a_report_there_is_nothing_to_wait_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main([*RUN, *SHORT, "report=false", f"hydra.run.dir={folder}"]) == 0
    capfd.readouterr()
    assert main([f"resume={folder}"]) == 0
    assert capfd.readouterr().out == f"{folder} is finished already; nothing to do\n"
    assert not (folder / "report.html").exists()
