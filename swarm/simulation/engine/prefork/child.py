"""What a forked child does to become the worker that its client stands for."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import runpy
import signal
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from swarm.simulation.engine.prefork.reduce_wakeups import reduce_wakeups
from swarm.simulation.engine.prefork.request import Request, close_files

PR_SET_PDEATHSIG = 1


def exec_worker(
    request: Request, server: int, path: list[str], starters: Sequence[str], fits: bool
) -> list[str]:
    """Make this forked child what the client would have been; returns the arguments to run.

    ``path`` gets the entries of the request's PYTHONPATH. ``starters`` are the interpreter and the
    client: a start that asks for anything else, or for more than variables, or that does not fit
    what is loaded, is executed as an ordinary one instead.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(70)  # the server died before the line above
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number, fd in enumerate(request.files):
        os.dup2(fd, number)
    close_files([fd for fd in request.files if fd > 2])
    os.environ.clear()
    os.environ.update(request.environ)
    time.tzset()
    os.chdir(request.cwd)
    # Ray does this to the process it started, which is the client: when memory runs out, workers go
    # before the driver.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    plain = unwrap(request.argv, starters) if fits else None
    if plain is None:
        print(
            "prefork: this start asks for more than a fork can give; an ordinary process is"
            " started",
            file=sys.stderr,
        )
        os.execv(starters[0], [starters[0], *request.argv])
    argv, variables = plain
    reduce_wakeups()
    os.environ.update(variables)
    path[:0] = [
        p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p not in path
    ]
    return argv


def unwrap(argv: list[str], starters: Sequence[str]) -> tuple[list[str], dict[str, str]] | None:
    """The worker's own arguments out of a Ray start command and the variables to set, or None if
    that is not all it asks.

    Ray runs ``setup_worker.py OPTIONS default_worker.py …``, which imports all of Ray to apply an
    environment that is nearly always empty, and then executes the rest. ``-s`` and ``-S`` are
    passed on from the driver's command line.
    """
    rest, wrapped, asked = list(argv), Path(argv[0]).name == "setup_worker.py", {}
    if wrapped:
        rest = []
        for item in argv[1:]:
            name, _, value = item.partition("=")
            if name == "--serialized-runtime-env-context":
                try:
                    asked = dict(json.loads(value or "{}"))
                except ValueError:
                    return None
            elif name == "--language" and value != "PYTHON":
                return None
            elif name != "--language":
                rest.append(item)
    while rest and rest[0] in ("-s", "-S"):
        del rest[0]
    variables = asked.pop("env_vars", None) or {}
    foreign = asked.pop("py_executable", None) not in (None, *starters) or any(asked.values())
    if wrapped and (not rest or Path(rest[0]).name != "default_worker.py"):
        return None
    if foreign or not rest or any("$" in v for v in variables.values()):
        return None
    return rest, variables


def run_script(argv: list[str], path: list[str]) -> NoReturn:
    """Run a script as ``python SCRIPT …`` would, and end the process with its exit code."""
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    sys.argv[:] = argv
    sys.path[:] = [str(Path(argv[0]).resolve().parent), *path]
    _disown()
    code = 0
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as stop:
        code = _code(stop)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]  # there is an exception
        code = 1
    finally:
        _leave(code)


def _disown() -> None:
    """What was to be cleared away when the server ends is the server's to clear away. torch alone
    would have each worker take back more than a hundred registrations of operators, and copy 26 MiB
    for it."""
    for each in list(getattr(weakref.finalize, "_registry", ())):
        each.atexit = False


def _code(stop: SystemExit) -> int:
    """The exit code that Python makes of it: none is 0, anything but a number is said and is 1."""
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def _leave(code: int) -> NoReturn:
    """End as an interpreter does: wait for threads, run what is registered for the exit, write out
    what is buffered. But do not take the interpreter apart: that writes to, and so copies, every
    page that is shared with the fork server, a hundred MiB in each of all the workers, which end at
    the same time."""
    try:
        # of all threads that are no daemons: since Python 3.0
        join = getattr(threading, "_shutdown", None)
        if join is not None:
            join()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            # closed, broken, or none
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        ctypes.CDLL(None).fflush(None)
    finally:
        os._exit(code)
