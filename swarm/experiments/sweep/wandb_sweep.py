"""Sends a sweep's curves, table and picture to W&B, as one run in the group of its jobs; each panel
has the curves of all combinations.
"""

from __future__ import annotations

import sys
from typing import Any

from swarm.experiments.sweep.gather import SweepResults
from swarm.experiments.sweep.launch import WANDB, group_name
from swarm.experiments.sweep.plan import SweepPlan
from swarm.results.track import wandb_environment
from swarm.results.track.wandb import WandbTracker, _quiet

SWEEP = "sweep"  # the job type
PANELS = {
    "round": "round",
    "bytes_total": "bytes sent by all devices",
    "virtual_s": "virtual seconds",
}


def upload(plan: SweepPlan, found: SweepResults) -> None:
    """Send the sweep to W&B, offline or online as its jobs did; nothing is sent if they used
    another tracker.

    A tracker that fails never ends a sweep: its error is printed as a warning.
    """
    tracker = next((job.settings.tracker for job in plan.jobs if job.settings is not None), {})
    options = dict(tracker)
    if options.pop("_target_", None) != WANDB or options.get("mode") == "disabled":
        return
    name = group_name(plan.place)
    try:
        group = options.get("group") or wandb_environment.group() or name
        options |= {"name": name, "group": str(group)[: wandb_environment.LONGEST_NAME]}
        _Sweep(plan.place, name, {"swept": plan.swept}, **options).send(found)
    except (Exception, SystemExit) as error:
        print(
            f"warning: the sweep's W&B run stopped: {' '.join(str(error).split())}", file=sys.stderr
        )


class _Sweep(WandbTracker):
    """The W&B run of the whole sweep. It is treated as an arm called ``sweep``: it replaces the W&B
    run of an earlier start, as arms do.
    """

    def send(self, found: SweepResults) -> None:
        if self.mode == "disabled" or not len(found.curves):
            return
        import wandb

        with _quiet():
            self._run = self._init(SWEEP, replaces=True)
            self._run.log(
                {
                    **_panels(wandb, found),
                    "table": wandb.Table(dataframe=found.table.astype(object)),
                    "picture": wandb.Image(str(self.folder / "sweep.png")),
                }
            )
        self._drop_replaced(SWEEP)
        self._end(0)


def _panels(wandb: Any, found: SweepResults) -> dict[str, Any]:
    """One panel for each abscissa, with a line for each combination of the leading arm and for each
    control.
    """
    grouped = found.curves.groupby([*found.keys, "arm"], sort=False)
    lines = [(found.title(rows.iloc[0].to_dict()), rows) for _, rows in grouped]
    panels = {}
    for x, title in PANELS.items():
        if x in found.curves and lines:
            xs, ys = (
                [[*map(float, rows[x])] for _, rows in lines],
                [[*rows[found.score]] for _, rows in lines],
            )
            name = f"{found.score}_by_{x}"
            panels[name] = wandb.plot.line_series(
                xs, ys, [name for name, _ in lines], title=name, xname=title
            )
    return panels
