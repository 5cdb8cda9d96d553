"""Imports the modules that forked workers share, and checks that they may share them."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.simulation.engine.prefork.fill_holes import fill_holes


def load(names: Sequence[str]) -> None:
    """Import the modules ``names`` and make sure that forking is safe afterwards.

    A module whose name ends in ``?`` may be missing. Raises ``ImportError`` for another that is
    missing, and ``RuntimeError`` if the imports have started threads.
    """
    for name in names:
        try:
            importlib.import_module(name.removesuffix("?"))
        except ImportError:
            if not name.endswith("?"):
                raise
    if "torch" in sys.modules:
        # before any parallel region, so that torch never starts a thread pool in this process
        importlib.import_module("torch").set_num_threads(1)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(
            f"the fork server must have one thread, but importing {', '.join(names)} left {threads}"
        )
    gc.collect()
    # A garbage collection in a child would otherwise write to, and so copy, the shared objects.
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)  # frees the memory that only the imports needed
    fill_holes()


def probe(names: Sequence[str]) -> str | None:
    """The reason why workers may not share the modules ``names``; None if they may.

    A child process imports them to find out. The import must not draw the random number that
    identifies a worker to Ray, or all workers would have the same.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            load(names)
            draw: Any = getattr(sys.modules.get("ray"), "WorkerID", None)
            for _ in range(2 if draw else 0):
                if os.fork() == 0:
                    os.write(theirs, draw.from_random().binary())
                    os._exit(0)
                os.wait()
            os.write(theirs, b"ok")
        except BaseException as error:
            os.write(theirs, f"{type(error).__name__}: {error}".encode()[:4096])
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as said:  # noqa: PTH123 (a file number)
        answer = said.read()
    os.waitpid(pid, 0)
    if not answer.endswith(b"ok"):
        return answer.decode(errors="replace") or "the import ended the process"
    half = len(answer) // 2 - 1
    return (
        "two forked processes draw the same random numbers"
        if half and answer[:half] == answer[half:-2]
        else None
    )
