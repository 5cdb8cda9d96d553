"""The fork server: imports what the workers need, then forks one for every request on its socket.

:class:`swarm.simulation.engine.prefork.ForkServer` starts it. It has one thread only: a fork copies
only the thread that forks, so a lock that a second one holds would stay locked in the child. Its
standard input is a pipe from the driver: when the driver ends, however it ends, the pipe closes,
and the server kills its workers, removes its folder and ends. A driver that ends in order writes
one byte first; the server then leaves the driver's other processes alone.

A connection lasts as long as its worker. If the client's end closes, the client was killed, and the
server kills the worker too. The worker's exit status is the last line that the client gets. If the
server dies, the kernel kills the workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm.simulation.engine.prefork.child import exec_worker, run_script
from swarm.simulation.engine.prefork.preload import load, probe
from swarm.simulation.engine.prefork.request import RefusedError, Request, close_files, receive

GRACE_SECONDS = 2.0  # between asking a worker to end and killing it
LOOK_SECONDS = 1.0  # how often the server checks that the driver is still its parent
NO_JOB = "ffffffff"  # the job of workers that Ray starts before there is a job


@dataclass
class Worker:
    """A forked process and the connection of the client that stands for it."""

    pid: int
    client: socket.socket
    kill_at: float | None = None


@dataclass
class Server:
    """The loop of the fork server, which forks a worker for each request on ``listener``.

    ``lifeline`` is the pipe from the driver, whose process id is ``driver``. ``late`` are modules
    to import for the first worker of a job, and ``adopted`` are the Ray variables that they read
    then. ``farewell`` says whether the driver ended in order.
    """

    listener: socket.socket
    lifeline: int
    driver: int
    late: Sequence[str] = ()
    adopted: dict[str, str] | None = None
    farewell: bool = False
    workers: dict[int, Worker] = field(default_factory=dict)  # by the connection's file number

    def __post_init__(self) -> None:
        self.waker, self.woken = socket.socketpair()
        for end in (self.waker, self.woken, self.listener):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)
        self.poll = select.poll()
        for fd in (self.listener.fileno(), self.lifeline, self.woken.fileno()):
            self.poll.register(fd, select.POLLIN)

    def serve(self) -> Request | None:
        """Serve requests until the driver has ended.

        Returns None in the server then, and in each forked child the request that it serves.
        """
        while os.getppid() == self.driver:
            soon = min(
                (w.kill_at for w in self.workers.values() if w.kill_at),
                default=time.monotonic() + LOOK_SECONDS,
            )
            for fd, _ in self.poll.poll(
                max(0.0, min(soon - time.monotonic(), LOOK_SECONDS)) * 1000
            ):
                if fd == self.lifeline:
                    self.farewell = bool(os.read(fd, 1))
                    return None
                if fd == self.listener.fileno():
                    request = self._accept()
                    if request is not None:
                        return request
                elif fd == self.woken.fileno():
                    self._drain()
                elif fd in self.workers:
                    self._abandoned(self.workers[fd])
            self._reap()
            self._kill_overdue()
        return None

    def _accept(self) -> Request | None:
        """Serve one client; only the forked child gets a request back."""
        try:
            client, _ = self.listener.accept()
        except (
            OSError
        ):  # the client has gone, or file numbers have run out; clients have a deadline themselves
            time.sleep(0.01)
            return None
        try:
            request = receive(client)
        except RefusedError as why:
            _tell(client, f"refused: {why}\n")
            client.close()
            return None
        try:
            self._adopt(request)
            pid = os.fork()
        except Exception as error:
            _tell(client, f"refused: {type(error).__name__}: {error}\n")
            client.close()
            pid = -1
        if pid == 0:
            self._leave(client)
            return request
        close_files(request.files)
        if pid > 0:
            client.setblocking(False)
            self.workers[client.fileno()] = Worker(pid, client)
            self.poll.register(client.fileno(), select.POLLIN)
            _tell(client, "ok\n")
        return None

    def _adopt(self, request: Request) -> None:
        """Import the late modules with the environment of the first worker of a job.

        Ray reads its variables (the job, the raylet to watch) once, when it is imported. So workers
        can share it if they have the same variables, which are those of one job on one node.
        """
        if not self.late or request.environ.get("RAY_JOB_ID", NO_JOB) == NO_JOB:
            return
        if self.adopted is None:
            os.environ.clear()
            os.environ.update(request.environ)
            # It worked in the probe. If it fails here, it fails for every worker, and none starts.
            load(self.late)
            self.adopted = ray_variables(request.environ)

    def fits(self, request: Request) -> bool:
        """Whether the late modules were imported with the Ray variables of this worker."""
        return self.adopted is None or self.adopted == ray_variables(request.environ)

    def _leave(self, client: socket.socket) -> None:
        """Close, in the child, all connections of the server."""
        signal.set_wakeup_fd(-1)
        for end in (
            self.listener,
            self.waker,
            self.woken,
            client,
            *(w.client for w in self.workers.values()),
        ):
            end.close()
        self.workers.clear()

    def _drain(self) -> None:
        while True:
            try:
                if not self.woken.recv(4096):
                    return
            except BlockingIOError:
                return

    def _abandoned(self, worker: Worker) -> None:
        """End the worker of a client that has closed its connection (or sent something)."""
        self.poll.unregister(worker.client.fileno())
        worker.kill_at = time.monotonic() + GRACE_SECONDS
        os.kill(worker.pid, signal.SIGTERM)  # not reaped yet, so the id is still this worker's

    def _kill_overdue(self) -> None:
        for worker in self.workers.values():
            if worker.kill_at is not None and worker.kill_at <= time.monotonic():
                worker.kill_at = None
                os.kill(worker.pid, signal.SIGKILL)

    def _reap(self) -> None:
        for fd, worker in list(self.workers.items()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            code = os.waitstatus_to_exitcode(status)
            _tell(worker.client, f"{code if code >= 0 else 128 - code}\n")
            with contextlib.suppress(KeyError):  # its client had closed the connection before
                self.poll.unregister(fd)
            worker.client.close()
            del self.workers[fd]

    def end(self, folder: Path) -> None:
        """Kill the workers and remove the folder; if the driver did not end in order, also kill its
        other processes that have a file of the folder open.
        """
        for worker in self.workers.values():
            os.kill(worker.pid, signal.SIGKILL)
        for worker in self.workers.values():
            os.waitpid(worker.pid, 0)
        until = time.monotonic() + GRACE_SECONDS
        while (
            not self.farewell
            and (left := set(users(folder)) - {self.driver})
            and time.monotonic() < until
        ):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def users(folder: Path) -> list[int]:
    """The ids of the other processes that have a file below ``folder`` open, such as Ray's agents.

    Those check only now and then whether their parent has died, and would stay for a minute or two.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has ended, or is another user's
            files = (str(fd.readlink()) for fd in (process / "fd").iterdir())
            if int(process.name) != os.getpid() and any(
                file.startswith(f"{folder}/") for file in files
            ):
                found.append(int(process.name))
    return found


def ray_variables(environ: dict[str, str]) -> dict[str, str]:
    """The part of an environment that Ray reads."""
    return {name: value for name, value in environ.items() if name.startswith("RAY_")}


def _tell(client: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):  # the client may have gone
        client.sendall(line.encode())


def prepare(folder: Path, setting: dict[str, Any]) -> tuple[socket.socket, int, list[str]]:
    """Import the modules, listen on the socket, and report to the driver.

    Returns the listening socket, the lifeline and the modules to import later. If the imports fail,
    it reports why and ends the process.
    """
    late: list[str] = setting["late"]
    sys.modules.update(dict.fromkeys(setting["without"]))  # type: ignore[arg-type]  # None: importing it fails
    lifeline, report = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)
    try:
        load(setting["preload"])
        unshared = probe(late) if late else None
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(folder / "socket"))
        listener.listen(512)
    except Exception as error:
        _report(report, {"error": f"{type(error).__name__}: {error}"})
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)  # at once, even if the imports have left threads
    _report(report, {"unshared": unshared})
    return listener, lifeline, [] if unshared else late


def _report(pipe: int, said: dict[str, str | None]) -> None:
    with contextlib.suppress(OSError):  # the driver may have ended, which the lifeline shows next
        os.write(pipe, json.dumps(said).encode())
    os.close(pipe)


def main(setting: dict[str, Any], path: list[str]) -> None:
    """Serve until the driver ends; a forked child leaves the loop and runs its worker.

    ``setting`` is what :class:`~swarm.simulation.engine.prefork.ForkServer` sent. ``path`` is the
    interpreter's own ``sys.path``, which a worker starts with.
    """
    folder, starters = Path(setting["folder"]), [setting["python"], setting["executable"]]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # one connection for each worker
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener, lifeline, late = prepare(folder, setting)
    server, me = Server(listener, lifeline, setting["driver"], late), os.getpid()
    request = server.serve()
    if request is None:
        server.end(folder)
        return
    os.close(lifeline)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    run_script(exec_worker(request, me, path, starters, server.fits(request)), path)
