"""Turns a forked child into the worker that Ray asked for."""

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
    """Give this forked child the files, folder and environment of the process that Ray started;
    returns the arguments to run.

    ``path`` gets the entries of the request's PYTHONPATH. ``starters`` are the interpreter and the
    client. A start that asks for another interpreter, or for more than environment variables, or
    that does not fit what is loaded (``fits``), is executed as an ordinary process instead.
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
    # Ray sets this for the process that it started, which is the client, so that workers are killed
    # before the driver when memory runs out.
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
    """The worker's own arguments in a Ray start command, and the variables to set; None if the
    command asks for more than that.

    Ray runs ``setup_worker.py OPTIONS default_worker.py …``, which imports all of Ray to apply an
    environment that is nearly always empty, and then executes the rest. ``-s`` and ``-S`` come from
    the driver's command line.
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
    """Cancel the finalizers that were registered before the fork, as they are the server's to run.

    torch alone would have each worker undo more than a hundred registrations of operators, and copy
    26 MiB of shared pages for it."""
    for each in list(getattr(weakref.finalize, "_registry", ())):
        each.atexit = False


def _code(stop: SystemExit) -> int:
    """The exit code that Python gives for a ``SystemExit``: without a code 0, for a number that
    number, for anything else 1, after printing it."""
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def _leave(code: int) -> NoReturn:
    """End as an interpreter does: wait for threads, run the exit functions, flush the streams.

    But do not finalise the interpreter: that would write to, and so copy, every page that is shared
    with the fork server, a hundred MiB in each of the workers, which all end at the same time."""
    try:
        # joins all threads that are no daemons; Python has it since 3.0
        join = getattr(threading, "_shutdown", None)
        if join is not None:
            join()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            # a stream may be closed, broken or None
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        ctypes.CDLL(None).fflush(None)
    finally:
        os._exit(code)
