"""A fork server, and workers forked from it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm.simulation.engine.prefork import ForkServer

SECONDS = 30.0
SLEEP = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"


def eventually(true: Callable[[], bool], seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended; whether its parent has noticed is the parent's business."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def server() -> Iterator[ForkServer]:
    with ForkServer(("colorsys",), late=()) as server:  # a module that nothing else imports
        yield server


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """A program under the name that Ray gives to its workers'."""

    def write(text: str) -> str:
        file = tmp_path / "default_worker.py"
        file.write_text(text)
        return str(file)

    return write


Script = Callable[[str], str]


def start(server: ForkServer, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(server.executable), *arguments], stdout=subprocess.PIPE, text=True, **options
    )


def sleeper(
    server: ForkServer, script: Script, text: str = SLEEP
) -> tuple[subprocess.Popen[str], int]:
    client = start(server, script(text))
    assert client.stdout is not None
    return client, int(client.stdout.readline())
