"""Forks Ray workers from a process that has imported torch and Ray already, so that hundreds of
actors start quickly and share memory.

An ordinary worker imports torch and Ray, which takes seconds of a core and hundreds of megabytes
each. Here one process imports them once, and workers are forked from it: they share its pages until
they write to them.

    with ForkServer(("swarm.simulation.shard",)) as server, server.as_python():
        ray.init(...)

Where forking cannot work, :func:`available` says why. A forked worker has the state of the server:
global random generators of the preloaded modules are equal in all workers, so draws must be keyed
(as they are in this package).
"""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from swarm.common.errors import SwarmError
from swarm.common.system.interrupts import undisturbed

# The server has the driver's module path, so that it finds the same modules; a worker starts with
# the interpreter's own path.
_SERVER = """
import json, sys
setting, own = json.loads(sys.stdin.readline()), sys.path[1:]
sys.path[:] = setting["path"]
from swarm.simulation.engine.prefork.server import main
main(setting, own)
"""
_HERE = Path(__file__).resolve().parent
_END_SECONDS = 10.0
# Ray, and the modules that its workers import the first time they serialise a value. The old
# classes of pydantic, which Ray looks for then, are 28 modules.
RAY = (
    "ray",
    "ray._common.pydantic_compat?",
    "pydantic.v1.fields?",
    "ray._common.usage.usage_lib?",
    "ray._private.arrow_serialization?",
    "ray.cloudpickle?",
)
LONGEST_SOCKET = 107  # bytes of a socket's path, the limit of sockaddr_un


class PreforkError(SwarmError):
    """The fork server could not start, or has died."""


def available() -> str | None:
    """The reason why workers cannot be forked on this machine; None if they can."""
    if not sys.platform.startswith("linux"):
        return f"it needs Linux, this is {sys.platform}"
    if not hasattr(socket, "AF_UNIX"):
        return "it needs Unix sockets"
    if not os.access("/bin/sh", os.X_OK):
        return "it needs /bin/sh"
    return None


class ForkServer:
    """A process that has imported ``preload`` and forks workers on request, for as long as the
    ``with`` block lasts.

    Its ``folder`` is private to the user and holds a socket, the executable, and Ray's temporary
    folder. However this process ends, the server ends with it, ends its workers and removes the
    folder. If this process is killed, or the block ends with an exception, the server also kills
    every process that has a file of the folder open.

    ``preload`` is imported at once. ``late`` is imported when the first worker of a job starts,
    with that worker's environment, which Ray reads when it is imported. ``without`` are modules
    that workers shall not find. ``seconds`` bounds the start, and this process does ``meanwhile``
    while the server imports.

    Entering the block raises :class:`PreforkError` if the server does not start.
    """

    def __init__(
        self,
        preload: Sequence[str] = ("torch",),
        late: Sequence[str] = RAY,
        without: Sequence[str] = (),
        seconds: float = 120.0,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        self.preload, self.late, self.without, self.seconds = (
            tuple(preload),
            tuple(late),
            tuple(without),
            seconds,
        )
        self.meanwhile = meanwhile
        # the reason why every worker imports the late modules for itself; None if they are shared
        self.unshared: str | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        why = available()
        if why is not None:
            raise PreforkError(f"workers cannot be forked here: {why}")
        self.folder = Path(tempfile.mkdtemp(prefix="swarm-"))
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def _start(self) -> None:
        if len(os.fsencode(self.folder / "socket")) > LONGEST_SOCKET:
            raise PreforkError(
                f"{self.folder} is too long for a socket: point TMPDIR to a shorter folder"
            )
        self.executable = self.folder / "python"
        client = [str(_HERE / "client.py"), str(self.folder / "socket")]
        command = [sys.executable, "-S", "-E", "-I", *client, sys.executable]
        self.executable.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        self.executable.chmod(0o700)
        if not os.access(self.executable, os.X_OK):
            raise PreforkError(
                f"{self.folder} does not allow programs: point TMPDIR to a folder that does"
            )
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            bufsize=0,  # so that closing the pipe never has to write anything, which could fail
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that Ctrl-C reaches the driver only
        )
        assert self.process.stdin is not None
        setting = {
            "path": [str(Path(p).absolute()) for p in sys.path],
            "folder": str(self.folder),
            "python": sys.executable,
            "executable": str(self.executable),
            "driver": os.getpid(),
            "preload": self.preload,
            "late": self.late,
            "without": self.without,
        }
        try:
            self.process.stdin.write(json.dumps(setting).encode() + b"\n")
        except OSError as error:
            raise PreforkError(f"the fork server did not start: {error}") from None
        self.meanwhile()
        report = self._report()
        if "error" in report:
            raise PreforkError(f"the fork server did not start: {report['error']}")
        self.unshared = report["unshared"]

    def _report(self) -> dict[str, Any]:
        """What the server reports: that it is ready, or why it could not start."""
        assert self.process is not None
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], self.seconds)[0]:
            raise PreforkError(
                f"the fork server did not import {', '.join(self.preload)} within"
                f" {self.seconds:g} s"
            )
        said = self.process.stdout.read()
        return dict(json.loads(said)) if said else {"error": "it ended without a report"}

    @property
    def pid(self) -> int:
        """The server's process id: the parent of every worker."""
        assert self.process is not None
        return self.process.pid

    @property
    def py_executable(self) -> str:
        """The command for ``runtime_env={"py_executable": …}``, quoted, as Ray hands it to a
        shell."""
        return shlex.quote(str(self.executable))

    @contextmanager
    def as_python(self) -> Iterator[None]:
        """Set ``sys.executable`` to the fork server's executable within the block, in which a local
        Ray is started; Ray starts all of its workers with that program.

        This is twice as fast as ``py_executable``, for which Ray first starts an ordinary Python
        that imports Ray to find out what to execute. The executable hands every other start on to
        the real interpreter.
        """
        real, sys.executable = sys.executable, str(self.executable)
        try:
            yield
        finally:
            sys.executable = real

    def check(self) -> None:
        """Raises :class:`PreforkError` if the server, and so its workers, have died."""
        if self.process is None or self.process.poll() is not None:
            code = None if self.process is None else self.process.returncode
            raise PreforkError(f"the fork server has died (status {code}), and its workers with it")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(in_order=kind is None)

    def _end(self, in_order: bool = True) -> None:
        """End the server. With ``in_order`` False it also kills what has a file of the folder open,
        as a Ray that failed to start may have left processes behind.
        """
        with undisturbed():
            self._end_now(in_order)

    def _end_now(self, in_order: bool) -> None:
        process, self.process = self.process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            if in_order:
                with suppress(OSError):  # it is dead already
                    process.stdin.write(b".")  # says that this process ends in order
            process.stdin.close()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)
