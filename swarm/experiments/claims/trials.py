"""Runs several trials at a time, each in a folder of its own that a later start finds again."""

from __future__ import annotations

import io
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

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.plugin import blamed
from swarm.common.system.files import appending
from swarm.common.system.machine import cores
from swarm.common.system.storage import storing
from swarm.config.settings import Settings
from swarm.experiments.claims.plan import Trial, folder_of
from swarm.experiments.runs import run as one_run
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results import status as many
from swarm.results.folder import Folder
from swarm.results.load import load
from swarm.results.provenance import identity, same_code
from swarm.results.status import CONSOLE, KILLED, archive, note, noted
from swarm.results.track.units import human_time
from swarm.results.trust import admitted, below

Say = Callable[[str], None]
Code = Mapping[str, Any]


def set_outdated_aside(home: Path, trials: Sequence[Trial], code: Code, say: Say) -> list[Trial]:
    """Move away trials that were run by other code or with other settings, and damaged ones, which
    are all run again. Returns the trials of other code or settings."""
    outdated = []
    for trial in trials:
        folder = folder_of(home, trial)
        if not (folder / "config.yaml").exists():
            continue
        try:
            run, there = Folder.open(folder)
            same = identity(there.model_dump()) == identity(trial.settings.model_dump())
            if finished(home, trial):
                load(folder)
            else:
                run.verify()
        except ConfigError as error:
            say(f"{trial.name}: {error}; it is set aside and run anew")
        else:
            if same and same_code(noted(folder).code, code):
                continue
            outdated.append(trial)
        archive(folder, home)
    return outdated


def finished(home: Path, trial: Trial) -> bool:
    """Whether the trial is finished."""
    return many.finished(folder_of(home, trial))


def status(home: Path, trial: Trial) -> str | None:
    """The status of a trial: ``running``, ``interrupted``, ``failed`` or ``finished``; None if it
    has not begun."""
    return noted(folder_of(home, trial)).status


def failures(home: Path, trials: Sequence[Trial]) -> dict[str, str]:
    """The causes of trials that failed when they were last tried, by the trials' names."""
    each = {
        trial.name: noted(folder_of(home, trial)) for trial in trials if not finished(home, trial)
    }
    return {name: str(facts.cause) for name, facts in each.items() if facts.status == "failed"}


def run_trials(
    home: Path, trials: Sequence[Trial], code: Code, jobs: int | Literal["auto"], say: Say
) -> dict[str, str]:
    """Run the trials that are not finished: an interrupted one goes on, a failed one is tried
    again, and a failure does not stop the others.

    Returns the cause of each failure by the trial's name."""
    to_do = [trial for trial in trials if not finished(home, trial)]
    done = len(trials) - len(to_do)
    if done:
        say(f"{done} of {len(trials)} runs were there already")
    if not to_do:
        return {}
    failed: dict[str, str] = {}
    count = min(len(to_do), _at_a_time(to_do, jobs))
    outcomes = _here(home, to_do, code) if jobs == 1 else _outcomes(home, to_do, code, count)
    for trial, cause, seconds in outcomes:
        done += 1
        if cause:
            failed[trial.name] = cause
        say(
            f"[{done} of {len(trials)}] {trial.name}:"
            f" {f'failed: {cause}' if cause else human_time(seconds)}"
        )
    return failed


def _at_a_time(trials: Sequence[Trial], jobs: int | Literal["auto"]) -> int:
    """The number of trials at a time for ``jobs``: ``auto`` is as many as there are cores, or one
    if the trials have actors of their own.
    """
    if jobs != "auto":
        return jobs
    if any(trial.settings.engine.get("actors") is not None for trial in trials):
        return 1
    return cores()


def _here(
    home: Path, trials: Sequence[Trial], code: Code
) -> Iterator[tuple[Trial, str | None, float]]:
    """Run the trials one after the other in this process, without workers, so that a debugger can
    follow; yields each with its cause of failure and its seconds.
    """
    for trial in trials:
        yield (trial, *_attempt(folder_of(home, trial), trial.settings.model_dump(), code))


def _outcomes(
    home: Path, trials: Sequence[Trial], code: Code, count: int
) -> Iterator[tuple[Trial, str | None, float]]:
    """Run the trials in worker processes; yields each as it ends, with its cause of failure (None:
    none) and its seconds."""
    left = list(trials)
    while left:
        for trial in left:  # a trial noted as running was interrupted when its process was killed
            if status(home, trial) == "running":
                note(folder_of(home, trial), trial.name, code, "interrupted")
        suspects: list[Trial] = []
        with _pool(count) as pool:
            waiting = _submit(pool, home, left, code)
            for future in as_completed(waiting):
                trial = waiting[future]
                try:
                    cause, seconds = future.result()
                except BrokenProcessPool:  # one worker was killed, so the pool ended the others
                    suspects.append(trial)
                    continue
                yield trial, cause, seconds
        if count > 1:  # it is not known which was killed, so they run again one at a time
            left, count = suspects, 1
            continue
        ran = [trial for trial in suspects if status(home, trial) == "running"]
        guilty = ran or suspects  # if none ran, workers die before they begin
        for trial in guilty:
            note(folder_of(home, trial), trial.name, code, "failed", KILLED)
            yield trial, KILLED, 0.0
        left = [trial for trial in suspects if trial not in guilty]


def _submit(
    pool: ProcessPoolExecutor, home: Path, trials: Sequence[Trial], code: Code
) -> dict[Future[Any], Trial]:
    """Start the workers with Ctrl-C blocked from the beginning, as the parent ends them."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return {
            pool.submit(_attempt, folder_of(home, trial), trial.settings.model_dump(), code): trial
            for trial in trials
        }
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of worker processes with one thread each, within the block.

    Workers are forked from a server that has imported what a run needs, which takes seconds. Ctrl-C
    ends them at once; their runs can go on from their checkpoints.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # which they inherit
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([one_run.__name__])
    pool = ProcessPoolExecutor(count, context, _begin, (dict(os.environ),))
    try:
        yield pool
    except BaseException:
        # the same as terminate_workers() of Python 3.14
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(environment: dict[str, str]) -> None:
    """Initialise a worker with the ``environment`` of the process that it works for: it ignores
    Ctrl-C, which that process handles, and ends when that process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in case the inherited signal mask is not kept
    os.environ.clear()
    os.environ.update(environment)
    parent = multiprocessing.parent_process()  # not the server, which is the parent of the fork
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _attempt(folder: Path, values: dict[str, Any], code: Code) -> tuple[str | None, float]:
    """Run one trial; returns the cause if it failed (else None), and its seconds."""
    began, cause = time.perf_counter(), None
    note(folder, folder.name, code, "running")
    console = io.TextIOWrapper(appending(folder / CONSOLE), encoding="utf-8")
    with console as out, redirect_stdout(out), redirect_stderr(out):
        try:
            with blamed(), storing(folder):
                if (folder / "config.yaml").exists():
                    there = Folder.open(folder)[1].model_dump()
                    with admitted(folder, {}, below(there, values)):
                        one_run.resume(folder, {})
                else:
                    one_run.execute(PreparedRun.prepare(Settings.parse(values)), folder)
        except SwarmError as error:
            # it may come from a plug-in, whose author finds the traceback in console.txt
            if error.__cause__ is not None:
                traceback.print_exc()
            cause = " ".join(str(error).split())
        except Exception as error:
            traceback.print_exc()
            cause = " ".join(f"{type(error).__name__}: {error}".split())
    note(folder, folder.name, code, "failed" if cause else "finished", cause)
    return cause, time.perf_counter() - began
