"""Importing what forked workers share, and finding out whether they may share it."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def load(names: Sequence[str]) -> None:
    """Import ``names`` and make sure that forking is safe afterwards.

    A name that ends in ``?`` may be missing.
    """
    for name in names:
        try:
            importlib.import_module(name.removesuffix("?"))
        except ImportError:
            if not name.endswith("?"):
                raise
    if "torch" in sys.modules:
        # before any parallel region: no pool is ever started here
        importlib.import_module("torch").set_num_threads(1)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(
            f"the fork server must have one thread, but importing {', '.join(names)} left {threads}"
        )
    gc.collect()
    # a collection in a child must not touch, and so copy, what it shares with the others
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)  # what the imports needed only for a while


def probe(names: Sequence[str]) -> str | None:
    """Why workers may not share these modules, found out in a child that imports them; None if they
    may.

    Whatever identifies a worker must still be undrawn after the import, or all workers would be the
    same one.
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
