"""Runs trials several at a time, each in a folder of its own that a later start finds again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

from swarm import checkpoint, single
from swarm.campaign.plan import Trial, folder_of
from swarm.errors import ConfigError, SwarmError
from swarm.folder import Folder
from swarm.provenance import JOB, identity, read_json, same_code, set_aside
from swarm.settings import Settings
from swarm.study import Study
from swarm.track.units import human_time

CONSOLE = "console.txt"  # in a trial's folder: what it printed
KILLED = "its process ended without a word: killed, perhaps for want of memory"
WATCH_S = 2.0  # seconds between two looks at whether the parent is still there
Say = Callable[[str], None]
Code = Mapping[str, Any]


def run_trials(
    home: Path, trials: Sequence[Trial], code: Code, jobs: int | Literal["auto"], say: Say
) -> dict[str, str]:
    """Run what is not there yet. Returns the cause of each failure by the trial's name; one failure stops nothing.

    A trial that other code has made is set aside and run anew; an interrupted one is resumed; a failed one tried again.
    """
    to_do = [trial for trial in trials if not _settled(home, trial, code)]
    there = len(trials) - len(to_do)
    if there:
        say(f"{there} of {len(trials)} runs were there already")
    if not to_do:
        return {}
    count = min(len(to_do), _at_a_time(to_do, jobs))
    failed: dict[str, str] = {}
    done = there
    for trial, cause, seconds in _outcomes(home, to_do, code, count):
        done += 1
        if cause:
            failed[trial.name] = cause
        how = f"failed: {cause}" if cause else f"{human_time(seconds)}"
        say(f"[{done} of {len(trials)}] {trial.name}: {how}")
    return failed


def _settled(home: Path, trial: Trial, code: Code) -> bool:
    """Whether the trial is finished. What lies in its place and is not this trial by this code is moved away."""
    folder = folder_of(home, trial)
    if not (folder / "config.yaml").exists():
        return False
    facts = read_json(folder / JOB) or {}
    try:
        same = identity(Folder.open(folder)[1]) == identity(trial.settings.model_dump())
    except ConfigError:
        same = False
    if not same or not same_code(facts.get("code") or {}, code):
        set_aside(folder, home)
        return False
    return (folder / "summary.json").exists() and facts.get("status") != "failed"


def _at_a_time(trials: Sequence[Trial], jobs: int | Literal["auto"]) -> int:
    """As many as there are cores, where each keeps one busy; one at a time with actors of its own."""
    if jobs != "auto":
        return jobs
    if any(trial.settings.engine.get("actors") is not None for trial in trials):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcomes(home: Path, trials: Sequence[Trial], code: Code, count: int) -> Iterator[tuple[Trial, str | None, float]]:
    """Each trial as it ends, with the cause if it failed, and its seconds."""
    left = list(trials)
    while left:
        suspects: list[Trial] = []
        with _pool(count) as pool:
            waiting: dict[Future[Any], Trial] = {
                pool.submit(_attempt, folder_of(home, t), t.settings.model_dump(), code): t for t in left
            }
            for future in as_completed(waiting):
                trial = waiting[future]
                try:
                    cause, seconds = future.result()
                except BrokenProcessPool:  # one worker was killed, and took the others with it
                    suspects.append(trial)
                    continue
                yield trial, cause, seconds
        ran = [t for t in suspects if (read_json(folder_of(home, t) / JOB) or {}).get("status") == "running"]
        if count == 1 or len(ran) == 1:
            for trial in ran:
                _note(folder_of(home, trial), code, "failed", KILLED)
                yield trial, KILLED, 0.0
            left = [t for t in suspects if t not in ran]
        else:  # who of them was killed is not known: one at a time it will be
            left, count = suspects, 1


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes with one thread each. Ctrl-C ends them at once: what they were doing goes on from its checkpoints."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # which they inherit
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin, (os.getpid(),))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):  # as terminate_workers() of Python 3.14 does
            process.terminate()
        raise
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int) -> None:
    """In a worker: leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _attempt(folder: Path, values: dict[str, Any], code: Code) -> tuple[str | None, float]:
    """One trial, in a worker: the cause if it failed, and its seconds."""
    began, cause = time.perf_counter(), None
    _note(folder, code, "running", None)
    with (folder / CONSOLE).open("a", encoding="utf-8") as out, redirect_stdout(out), redirect_stderr(out):
        try:
            if (folder / "config.yaml").exists():
                single.resume(folder, {})
            else:
                single.run(Study.prepare(Settings.parse(values)), folder)
        except SwarmError as error:
            cause = " ".join(str(error).split())
        except Exception as error:
            traceback.print_exc()
            cause = " ".join(f"{type(error).__name__}: {error}".split())
    _note(folder, code, "failed" if cause else "finished", cause)
    return cause, time.perf_counter() - began


def _note(folder: Path, code: Code, status: str, cause: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(folder / JOB, {"title": folder.name, "code": code, "status": status, "cause": cause})
