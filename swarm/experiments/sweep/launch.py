"""Runs the jobs of a sweep through the chosen launcher of Hydra, one or several at a time."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, read_write

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.system.files import appending
from swarm.common.system.machine import cores
from swarm.config.build import class_of
from swarm.config.composing.compose import Composer
from swarm.config.settings import Settings, plain
from swarm.experiments.sweep.job import Job, saved_config
from swarm.experiments.sweep.plan import SweepPlan
from swarm.results.status import CONSOLE, FILE, KILLED, finished, note, noted
from swarm.results.track.units import human_time

Complain = Callable[[SwarmError], int]


class JobRunner:
    """The function that the launcher calls for each job, in this process or in a worker: it runs or
    resumes the job, and notes its status in the job's folder.
    """

    def __init__(self, jobs: Sequence[Job], code: Mapping[str, Any], complain: Complain) -> None:
        self.titles = {str(job.folder.absolute()): job.title for job in jobs}
        self.typed = {str(job.folder.absolute()): _typed(job) for job in jobs}
        self.code, self.complain = dict(code), complain
        self.process = os.getpid()

    def __call__(self, cfg: DictConfig) -> None:
        """Run one job. Only Ctrl-C is raised; any other error is noted as this job's."""
        folder = Path(HydraConfig.get().runtime.output_dir)
        title = self.titles[str(folder)]
        place = f"[{list(self.titles).index(str(folder)) + 1} of {len(self.titles)}]"
        alone = os.getpid() == self.process
        if alone and sys.stdout.isatty():  # the run shows its progress in the terminal
            print(f"{place} {title}", flush=True)
            self._attempt(cfg, folder)
            return
        began = time.perf_counter()
        with _into(folder / CONSOLE, also_errors=not alone):
            status = self._attempt(cfg, folder)
        print(
            f"{place} {title}: {status} after {human_time(time.perf_counter() - began)}", flush=True
        )

    def _attempt(self, cfg: DictConfig, folder: Path) -> str:
        self.note(folder, "running", None)
        cause = None
        try:
            _start(cfg, folder, self.typed[str(folder)])
        except SwarmError as error:
            self.complain(error)
            cause = " ".join(str(error).split())
        except KeyboardInterrupt:
            self.note(folder, "interrupted", None)
            raise
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            cause = " ".join(f"{type(error).__name__}: {error}".split())
        status = "failed" if cause else "finished"
        self.note(folder, status, cause)
        return status

    def note(self, folder: Path, status: str, cause: str | None) -> None:
        """Note the status of the job in ``folder``, and the cause if it failed."""
        note(folder, self.titles[str(folder.absolute())], self.code, status, cause)


def _start(cfg: DictConfig, folder: Path, words: Sequence[str]) -> None:
    # imports torch, which a sweep that is refused need not wait for
    from swarm.experiments import runner
    from swarm.results.trust import below  # likewise

    if (folder / "config.yaml").exists():  # the plan has checked that it is this job's own
        runner.resume(folder, {}, trust=below(saved_config(folder), plain(cfg)))
    else:
        runner.run(cfg, folder, words=words)


@contextmanager
def _into(file: Path, also_errors: bool) -> Iterator[None]:
    """Redirect the output of a run into ``file``, if nobody follows it or others run beside it."""
    with io.TextIOWrapper(appending(file), encoding="utf-8") as out, ExitStack() as stack:
        stack.enter_context(redirect_stdout(out))
        if also_errors:
            stack.enter_context(redirect_stderr(out))
        yield


def launch(composer: Composer, plan: SweepPlan, complain: Complain) -> bool:
    """Run the jobs that are to run, and set the state of each; returns False if Ctrl-C ended the
    sweep."""
    to_do = plan.to_do
    task = JobRunner(to_do, plan.code, complain)
    for job in to_do:
        if (job.folder / FILE).exists():
            task.note(job.folder, "waiting", None)  # replaces the note of an earlier command
    batches = [to_do] if to_do else []
    try:
        while batches:
            batches += _launch_once(composer, plan, batches.pop(0), task)
    except (KeyboardInterrupt, SystemExit):
        return False
    finally:
        for job in to_do:
            job.state, job.cause = outcome(job)
    return True


def _launch_once(
    composer: Composer, plan: SweepPlan, jobs: list[Job], task: JobRunner
) -> list[list[Job]]:
    """Call the launcher once.

    Returns the batches of jobs that are still to do, if a worker's death ended the launcher. If
    several jobs were running then, it is not known which was killed: each goes on alone, and fails
    if its process ends again.
    """
    callbacks = Callbacks(plan.cfg)
    context = HydraContext(config_loader=composer.loader, callbacks=callbacks)
    plugins = Plugins.instance()
    launcher = plugins.instantiate_launcher(
        hydra_context=context, task_function=task, config=plan.cfg
    )  # type: ignore[arg-type]
    try:
        with _without_chatter():
            launcher.launch([_words(plan, job) for job in jobs], initial_job_idx=0)
    except Exception as error:  # an error of the launcher, as jobs never raise
        jobs = [job for job in jobs if not finished(job.folder)]
        suspects = [job for job in jobs if _status(job) == "running"]
        said = KILLED if suspects else " ".join(f"{type(error).__name__}: {error}".split())
        if len(suspects) < 2:
            for job in suspects or jobs:
                task.note(job.folder, "failed", said)
            suspects = []
        rest = [job for job in jobs if _status(job) != "failed" and job not in suspects]
        return [*([job] for job in suspects), *([rest] if rest else [])]
    return []


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Silence the launchers' lists of every override of every job, as the sweep reports its jobs
    itself."""
    loggers = [logging.getLogger(name) for name in ("hydra", "hydra_plugins")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _status(job: Job) -> str | None:
    return noted(job.folder).status


def outcome(job: Job) -> tuple[str, str | None]:
    """The state of a job after the sweep, and the cause if it failed."""
    if finished(job.folder):
        return "finished", None
    facts = noted(job.folder)
    return ("failed", facts.cause) if facts.status == "failed" else ("unfinished", None)


def _words(plan: SweepPlan, job: Job) -> list[str]:
    """The overrides of one job: the user's, the planned folder, and options of the tracker, such as
    the job's group and name in W&B. A tracker that fails to say any is left with its own.
    """
    from swarm.results.track.base import Tracker

    words = [
        *_typed(job),
        f"hydra.sweep.dir={_quoted(plan.place)}",
        f"hydra.sweep.subdir={_quoted(job.folder.relative_to(plan.place))}",
    ]
    settings = _settings(job)
    kind = class_of(settings.tracker, Tracker, "tracker", settings.plugins)
    given: Mapping[str, str] = {}
    try:
        given = kind.options_of_job(group_name(plan.place), settings.model_dump(), job.values)
    except Exception as error:
        print(
            f"warning: the tracker names no jobs: {' '.join(str(error).split())}", file=sys.stderr
        )
    for key, text in given.items():
        if not settings.tracker.get(key):
            words.append(f"tracker.{key}={_quoted(text)}")
    return words


def _typed(job: Job) -> list[str]:
    """The words of one job that are about the run."""
    return [
        word for word in job.overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/"))
    ]


def _settings(job: Job) -> Settings:
    assert job.settings is not None, "a job without settings is impossible, and does not run"
    return job.settings


def group_name(place: Path) -> str:
    """What trackers call a sweep: the last two parts of its path, usually date and time."""
    return "-".join(place.resolve().parts[-2:])


def _quoted(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


# --- cores ----------------------------------------------------------------------------------------


def share_cores(cfg: DictConfig, jobs: Sequence[Job]) -> None:
    """Let the joblib launcher run as many jobs at a time as the cores allow, if each job keeps one
    core busy for each of its actors; warn if the user asks for more.

    Raises :class:`ConfigError` for ``hydra.launcher.n_jobs=0``.
    """
    launcher = cfg.hydra.launcher
    if not str(launcher.get("_target_")).startswith("hydra_plugins.hydra_joblib_launcher."):
        return
    if launcher.n_jobs == 0:
        raise ConfigError(
            "hydra.launcher.n_jobs", 0, "must be at least 1, or -1: as many as there are cores for"
        )
    there = cores()
    each = max((_cores_of(_settings(job).engine, there) for job in jobs), default=1)
    with read_write(launcher):
        if launcher.n_jobs < 0:
            launcher.n_jobs = max(1, there // each)
        elif launcher.n_jobs * each > there:
            said = (
                f"hydra.launcher.n_jobs={launcher.n_jobs}: {launcher.n_jobs * each} busy threads"
                f" share {there} cores"
            )
            print(
                f"warning: {said}; n_jobs=-1 takes as many jobs as there are cores", file=sys.stderr
            )
        if launcher.batch_size == "auto":
            # joblib would batch short jobs, and cores would wait for the last batch
            launcher.batch_size = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # set now, as workers inherit it


def _cores_of(engine: Mapping[str, Any], there: int) -> int:
    """The number of cores that one run keeps busy; the local engine keeps one busy, as it runs its
    shards one after the other."""
    actors = engine.get("actors")
    return 1 if actors is None else actors if isinstance(actors, int) else there
