"""What a Ray of this session changes in our own process, and what is as it was afterwards."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def own_signals() -> Iterator[None]:
    """SIGTERM means what it meant before, during the block and after.

    Ray has two handlers: one in Python, that leaves the process from wherever it is, and one below
    it, in C++, that prints a trace and aborts, and of which Python knows nothing: to set a handler
    once more takes its place.
    """
    utils: Any = sys.modules.get("ray._private.utils")
    setter = getattr(utils, "set_sigterm_handler", None)
    if setter is not None:
        utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        if setter is not None:
            utils.set_sigterm_handler = setter
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables for as long as the block lasts."""

    def ours(name: str) -> bool:
        # Ray sets some
        return name in values or name.startswith("RAY_") or name == "PYTHONBREAKPOINT"

    before = {name: value for name, value in os.environ.items() if ours(name)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in filter(ours, list(os.environ)):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="swarm-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_files() -> Iterator[None]:
    """As many open files as we may have: Ray's processes keep connections to every actor, and
    inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
