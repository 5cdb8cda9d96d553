"""Command lines in processes of their own, forked from a server that has imported the package.

A process that starts from nothing imports torch for seconds before it comes to what a test is
about. These have everything else that such a process has: a number of its own, a process group if
one is asked for, signals, files for its output, and an exit code.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["swarm.cli.main", "swarm.experiments.runner"])


def _run(
    words: Sequence[str], home: str, environment: Mapping[str, str], own_group: bool
) -> None:  # pragma: no cover, as it runs in the child
    if own_group:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a server ignores it
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # which the server may have looked up
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(Path(home, name), os.O_WRONLY | os.O_APPEND), number)
    from swarm.cli.main import main

    sys.argv = ["run_swarm.py", *words]
    try:
        code = main()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class CommandLine:
    """``python run_swarm.py WORDS`` in the current folder; it has been started.

    Its methods are those of :class:`subprocess.Popen`. ``own_group`` makes it the leader of a
    process group.
    """

    def __init__(self, *words: str, own_group: bool = False, **environment: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="command-line-")
        for name in ("out", "err"):
            Path(self._home.name, name).touch()
        given = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._process = SERVER.Process(target=_run, args=(words, self._home.name, given, own_group))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        weakref.finalize(self, self._process.kill)  # a test that failed leaves none behind

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return Path(self._home.name, "out").read_text()

    @property
    def err(self) -> str:
        """What it has printed to stderr so far."""
        return Path(self._home.name, "err").read_text()

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end; raises :class:`subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("run_swarm.py", timeout)
        return self.returncode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the end; returns what it printed, to stdout and to stderr."""
        self.wait(timeout)
        return self.out, self.err

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        self.send_signal(signal.SIGKILL)


def ended(*words: str, timeout: float = 300, **environment: str) -> Any:
    """Run a command line to its end; what :func:`subprocess.run` returns."""
    process = CommandLine(*words, **environment)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(words, process.wait(1), out, err)
