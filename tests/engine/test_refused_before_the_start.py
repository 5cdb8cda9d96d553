"""What cannot run is refused before anything is written, and a folder is never run by two processes at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.cli import main
from swarm.errors import ConfigError
from swarm.study.folder import Folder

Small = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    "wrong", ["engine.shards=1000", "engine.block=foo", "evaluate.sample=101", "tracker.mode=sometimes"]
)
def test_a_refused_run_leaves_no_folder(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([wrong, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {wrong.split('=')[0]}=")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_sweep_is_no_success(tmp_path: Path) -> None:
    assert main(["-m", "devices=range(1,0)", f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_settings_may_stand_before_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices=16", "-m", "topology=ring,torsu", f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 2
    assert "did you mean torus" in capsys.readouterr().err


def test_a_finished_run_still_refuses_nonsense(small: Small, tmp_path: Path) -> None:
    small()
    with pytest.raises(ConfigError, match=r"engine\.shards=1000"):
        swarm.resume(tmp_path / "run", {"engine.shards": 1000})


def test_records_that_went_missing_are_named(small: Small, tmp_path: Path) -> None:
    small()
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(ConfigError, match="lacks round 0 of the arm swarm"):
        swarm.resume(tmp_path / "run", {"rounds": 9})


def test_one_process_a_folder(small: Small, tmp_path: Path) -> None:
    small()
    home, _ = Folder.open(tmp_path / "run")
    with home.lock(), pytest.raises(ConfigError, match="run by another process"):
        swarm.resume(tmp_path / "run", {"rounds": 9})
