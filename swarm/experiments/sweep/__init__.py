"""A sweep: many runs of one command (``-m``), and their results together.

``plan`` decides which jobs run, ``launch`` runs them, ``gather`` reads the runs, ``tables`` and
``picture`` show them, ``tracked`` tells their tracker.

Modules that need torch are imported inside functions, so that a sweep that is refused need not wait
for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm.common.errors import counted

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from swarm.config.composing.compose import Composer
    from swarm.experiments.sweep.launch import Complain
    from swarm.experiments.sweep.plan import SweepPlan

INTERRUPTED = 130


def sweep(composer: Composer, cfg: DictConfig, overrides: Sequence[str], complain: Complain) -> int:
    """Run the sweep ``cfg`` and return its exit code: 0, 1 if a job failed or was impossible, 130
    if it was interrupted.

    Raises :class:`swarm.common.errors.SwarmError`, before anything is written, if the command as a
    whole cannot work.
    """
    from swarm.experiments.sweep.plan import SweepPlan

    plan = SweepPlan.make(composer, cfg, overrides)
    for job in plan.jobs:
        if job.state == "impossible":
            print(f"error: {job.cause} (in the job {job.title}; the others run)", file=sys.stderr)
    from swarm.common.system.storage import storing
    from swarm.experiments.sweep.launch import launch, share_cores

    share_cores(plan.cfg, plan.to_do)
    again = f"the same command with hydra.sweep.dir={plan.place} goes on"
    with storing(plan.place, again), plan.begun():
        print(_begin(plan), flush=True)
        whole = launch(composer, plan, complain)
        try:
            _finish(plan)
        except KeyboardInterrupt:  # files are written atomically, so none is damaged
            whole = False
    if not whole:
        done = sum(job.state in ("finished", "there") for job in plan.jobs)
        print(
            f"interrupted with {done} of {counted(len(plan.jobs), 'run')} finished; {again}",
            file=sys.stderr,
        )
        return INTERRUPTED
    return 0 if all(job.state in ("finished", "there") for job in plan.jobs) else 1


def _begin(plan: SweepPlan) -> str:
    """The line that a sweep begins with: ``25 runs in FOLDER: 3 of 25 were there already, …``."""
    from swarm.results.status import SUPERSEDED

    states = [job.state for job in plan.jobs]
    count, there, resumed = len(states), states.count("there"), states.count("resumed")
    parts = [f"{there} of {count} were there already"] if there else []
    where = "goes on from where it was" if resumed == 1 else "go on from where they were"
    parts += [f"{resumed} {where} interrupted"] if resumed else []
    parts += [f"{new} to run"] if (new := states.count("new")) else []
    parts += [f"{wrong} impossible"] if (wrong := states.count("impossible")) else []
    aside = (
        f"; {plan.superseded} that other code made moved to {SUPERSEDED}" if plan.superseded else ""
    )
    return f"{count} {'run' if count == 1 else 'runs'} in {plan.place}: {', '.join(parts)}{aside}"


def _finish(plan: SweepPlan) -> None:
    """Write tables and pictures of all runs in the folder, also those of earlier commands."""
    from swarm.experiments.sweep import gather, tables, tracked
    from swarm.experiments.sweep.launch import outcome

    for job in plan.earlier:
        state, job.cause = outcome(job)  # it may have been resumed by hand
        job.state = "there" if state == "finished" else state
    jobs = [*plan.earlier, *plan.jobs]
    try:
        found = gather.gather(jobs)
    except (OSError, KeyError, TypeError, ValueError) as error:
        print(
            f"warning: the sweep cannot be tabulated: {type(error).__name__}: {error}",
            file=sys.stderr,
        )
        found = None
    subject = tables.subject_of(jobs)
    tables.write(plan, jobs, found, subject)
    tables.show(plan, jobs, found)
    if found is not None:
        tracked.tell(plan, found)
