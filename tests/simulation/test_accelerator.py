"""Runs on a pretended accelerator, in a process of their own: torch starts threads for a device,
after which no process may be forked that learns, as other tests do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUNS = Path(__file__).with_name("accelerated.py")


def test_runs_on_an_accelerator() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(RUNS)]
    done = subprocess.run(
        command, cwd=RUNS.parents[2], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
