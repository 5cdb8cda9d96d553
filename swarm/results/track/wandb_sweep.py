"""The panels of a sweep's W&B run, each of which has the curves of all combinations."""

from __future__ import annotations

from typing import Any

from swarm.results.track.base import SweepRecord

SWEEP = "sweep"  # the job type; it is treated as an arm, and replaces the run of an earlier start
PANELS = {
    "round": "round",
    "bytes_total": "bytes sent by all devices",
    "virtual_s": "virtual seconds",
}


def panels(wandb: Any, found: SweepRecord) -> dict[str, Any]:
    """One panel for each abscissa that the curves have, with all lines; the table and the picture
    of the sweep beside them."""
    made: dict[str, Any] = {}
    for x, title in PANELS.items():
        lines = [(name, rows) for name, rows in found.lines if x in rows]
        if lines:
            xs, ys = (
                [[*map(float, rows[x])] for _, rows in lines],
                [[*rows[found.score]] for _, rows in lines],
            )
            name = f"{found.score}_by_{x}"
            made[name] = wandb.plot.line_series(
                xs, ys, [name for name, _ in lines], title=name, xname=title
            )
    made["table"] = wandb.Table(dataframe=found.table.astype(object))
    made["picture"] = wandb.Image(str(found.image))
    return made
