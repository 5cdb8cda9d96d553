"""``kill -9`` at any moment of a run, also while a learning rate is being chosen, costs no bit of the result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from swarm.cli import main
from swarm.track.jsonl import read_jsonl

ROOT = Path(__file__).resolve().parents[2]
RUN = ["devices=16", "topology=ring", "rounds=40", "tune.lrs=[0.1,0.3]", "tune.rounds=20", "tracker=none", "report=false",
       "scenario.arms=[swarm,isolated]", "checkpoint.every=7", "evaluate.every=2"]  # fmt: skip
DEADLINE = 120.0  # seconds


def _outcome(folder: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    arms = json.loads((folder / "summary.json").read_text())["arms"]
    records = read_jsonl(folder / "metrics.jsonl")
    return {n: a["params_sha256"] for n, a in arms.items()}, [
        {k: v for k, v in r.items() if not k.startswith("wall_s")} for r in records
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*RUN, f"hydra.run.dir={folder}"]) == 0
    return _outcome(folder)


@pytest.mark.parametrize("until", ["config.yaml", "checkpoints/swarm/*.json", "checkpoints/isolated/*.json"])
def test_killed_and_resumed_equals_undisturbed(until: str, undisturbed: Any, tmp_path: Path) -> None:
    """While the first learning rates are tried, in the midst of the first arm, and of the second."""
    folder = tmp_path / "run"
    command = [sys.executable, str(ROOT / "run_swarm.py"), *RUN, f"hydra.run.dir={folder}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + DEADLINE
        while not any(folder.glob(until)):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)
    assert not (folder / "summary.json").exists()
    assert main([f"resume={folder}"]) == 0
    assert _outcome(folder) == undisturbed
