"""What cannot run is refused before anything is written, and a folder is never run by two processes
at once.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.cli.main import main
from swarm.common.errors import ConfigError
from swarm.results.folder import Folder

Small = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    "wrong",
    ["engine.shards=1000", "engine.block=foo", "evaluate.devices=101", "tracker.mode=sometimes"],
)
def test_a_refused_run_leaves_no_folder(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([wrong, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {wrong.split('=')[0]}=")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_sweep_is_no_success(tmp_path: Path) -> None:
    assert main(["-m", "devices=range(1,0)", f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_settings_may_stand_before_a_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["devices=16", "-m", "topology=ring,torsu", f"hydra.sweep.dir={tmp_path / 'sweep'}"])
        == 2
    )
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


@pytest.mark.parametrize("lacks", ["aiohttp", "opencensus", "prometheus_client"])
def test_a_dashboard_without_its_packages_is_refused(
    lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{lacks}.py").write_text(
        f"raise ModuleNotFoundError('No module named {lacks}', name='{lacks}')"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert main(["engine=ray", "engine.dashboard=true", f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "error: engine.dashboard=true: needs packages that `pip install '.[dashboard]'` brings ("
    )
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "setting", "said"),
    [
        ("wandb", "tracker=wandb", "tracker=wandb: needs wandb; `pip install wandb` brings it"),
        (
            "tensorboardX",
            "tracker=tensorboard",
            "tracker=tensorboard: needs tensorboardX; pip install '.[tensorboard]'",
        ),
    ],
)
def test_a_tracker_without_its_package_is_refused(
    module: str, setting: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A folder of that name, as W&B makes one in each run folder, is no package."""
    find: Any = importlib.util.find_spec
    mere = ModuleSpec(module, None, is_package=True)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: mere if name == module else find(name, *a)
    )
    assert main([setting, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert list(tmp_path.iterdir()) == []
    assert (
        main(
            [
                "tracker=wandb",
                "tracker.mode=disabled",
                "rounds=0",
                f"hydra.run.dir={tmp_path / 'run'}",
            ]
        )
        == 0
    )


def test_a_launcher_without_its_package_names_what_brings_it(tmp_path: Path) -> None:
    without = (
        "import sys; sys.modules['hydra_plugins.hydra_joblib_launcher'] = None; from swarm.cli.main"
        " import main; "
    )
    words = ["-m", "seed=0,1", "hydra/launcher=joblib", f"hydra.sweep.dir={tmp_path / 's'}"]
    done = subprocess.run([sys.executable, "-c", f"{without} sys.exit(main({words}))"], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: hydra/launcher=joblib: needs a package that `pip install '.[sweep]'` brings\n"
    )
    assert list(tmp_path.iterdir()) == []
