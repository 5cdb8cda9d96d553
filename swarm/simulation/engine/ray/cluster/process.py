"""Context managers for what starting Ray changes in our process; each restores it afterwards."""

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
    """Keep the process's own handler of SIGTERM while Ray starts in the block, and after it.

    Ray sets two handlers. One is in Python and exits the process from wherever it is. The other is
    in C++, prints a trace and aborts; Python does not know of it, and setting the old handler once
    more replaces it.
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
def few_processes() -> Iterator[None]:
    """A Ray that starts in the block has no autoscaler, nothing that collects what workers print,
    and no server for the dashboard, as no run without a dashboard uses them.

    Together they cost a start two seconds of a core, and Ray waits for the last of them. Where Ray
    has other names for them, they start as ever.
    """
    node: Any = getattr(sys.modules.get("ray._private.node"), "Node", None)
    unused = ("start_monitor", "start_log_monitor", "start_api_server")
    real = {name: getattr(node, name) for name in unused if hasattr(node, name)}
    for name in real:
        setattr(node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in real.items():
            setattr(node, name, method)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables within the block; afterwards also undo what Ray has set."""

    def ours(name: str) -> bool:
        # Ray sets some of these
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
    """A new temporary folder, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="swarm-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_files() -> Iterator[None]:
    """Raise the limit of open files to the most that is allowed, within the block. Ray's processes
    inherit the limit, and keep connections to every actor.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
