"""Tells the tracker of a sweep's jobs how all of them went together, if it wants to know."""

from __future__ import annotations

import sys

from swarm.config.build import build, class_of
from swarm.experiments.sweep.gather import SweepResults
from swarm.experiments.sweep.launch import group_name
from swarm.experiments.sweep.plan import SweepPlan
from swarm.results.track.base import SweepRecord, Tracker


def tell(plan: SweepPlan, found: SweepResults) -> None:
    """Hand the sweep to the tracker of its first job that has settings.

    A tracker that fails never ends a sweep: its error is printed as a warning.
    """
    settings = next((job.settings for job in plan.jobs if job.settings is not None), None)
    if settings is None or not len(found.curves):
        return
    node, plugins = settings.tracker, settings.plugins
    try:
        kind = class_of(node, Tracker, "tracker", plugins)
        if kind.record_sweep is Tracker.record_sweep:
            return
        context = {
            "folder": plan.place,
            "run": group_name(plan.place),
            "config": {"swept": plan.swept},
            "versions": {},
        }
        tracker: Tracker = build(node, Tracker, "tracker", plugins, **context)
        tracker.record_sweep(_record(plan, found))
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        print(f"warning: the sweep's tracker stopped: {said}", file=sys.stderr)


def _record(plan: SweepPlan, found: SweepResults) -> SweepRecord:
    """A line for each combination of the leading arm and for each control."""
    grouped = found.curves.groupby([*found.keys, "arm"], sort=False)
    lines = [(found.title(rows.iloc[0].to_dict()), rows) for _, rows in grouped]
    return SweepRecord(found.score, lines, found.table, plan.place / "sweep.png")
