"""A sweep's curves, table and picture as one W&B run in the group of its jobs: one panel has every combination."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import pandas as pd

from swarm.settings import plain
from swarm.sweep.gather import Gathered, label
from swarm.sweep.launch import WANDB, group_name
from swarm.sweep.plan import Plan
from swarm.track.wandb import _quiet, run_id

PANELS = {"round": "round", "bytes_total": "bytes sent by all devices", "virtual_s": "virtual seconds"}


def mirror(plan: Plan, found: Gathered) -> None:
    """Send it, offline or online as the jobs did. A tracker that fails never ends a sweep: it is one warning."""
    config = next((job.config for job in plan.jobs if job.config is not None), None)
    tracker: dict[str, Any] = plain(config)["tracker"] if config is not None else {}
    if tracker.get("_target_") != WANDB or tracker.get("mode") == "disabled":
        return
    try:
        with _quiet():
            _send(plan, found, tracker)
    except (Exception, SystemExit) as error:
        print(f"warning: the sweep's W&B run stopped: {' '.join(str(error).split())}", file=sys.stderr)


def _send(plan: Plan, found: Gathered, tracker: dict[str, Any]) -> None:
    import wandb

    group = str(tracker.get("group") or group_name(plan.place))
    settings = wandb.Settings(
        console="off", silent=True, quiet=True, show_errors=False, show_warnings=False,
        init_timeout=tracker["init_timeout"],
    )  # fmt: skip
    online = tracker["mode"] == "online"
    run = wandb.init(
        project=tracker["project"], entity=tracker["entity"], tags=tracker["tags"] or None, group=group[:128],
        id=run_id(group, "sweep"), name="sweep", job_type="sweep", config={"swept": plan.swept}, dir=str(plan.place),
        mode="online" if online else "offline", resume="allow" if online else None, reinit="create_new",
        settings=settings,
    )  # fmt: skip
    run.log({**_panels(wandb, found), "table": wandb.Table(dataframe=found.table.astype(object)),
             "picture": wandb.Image(str(plan.place / "sweep.png"))})  # fmt: skip
    run.finish()
    if not online:  # the sweep's earlier state, where it was not uploaded, is in this one
        from pathlib import Path

        own = Path(run.settings.sync_dir)
        for part in own.parent.glob(f"offline-run-*-{run.id}"):
            if part != own and part.is_dir() and not any(part.glob("*.synced")):
                shutil.rmtree(part)


def _panels(wandb: Any, found: Gathered) -> dict[str, Any]:
    """One line for each combination of the leading arm and each control, in one panel for each abscissa."""
    lines: list[tuple[str, pd.DataFrame]] = []
    for names, rows in found.curves.groupby([*found.keys, "arm"], sort=False):
        values, arm = dict(zip(found.keys, map(str, names[:-1]), strict=True)), str(names[-1])
        what = arm if arm in found.common or not found.keys else label(values)
        lines.append((what if arm in (found.lead, *found.common) else f"{what}, {arm}", rows))
    panels = {}
    for x, title in PANELS.items():
        if x in found.curves and lines:
            xs, ys = [[*map(float, rows[x])] for _, rows in lines], [[*rows[found.score]] for _, rows in lines]
            name = f"{found.score}_by_{x}"
            panels[name] = wandb.plot.line_series(xs, ys, [name for name, _ in lines], title=name, xname=title)
    return panels
