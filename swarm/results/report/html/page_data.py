"""The numbers that the page's script draws, as one JSON document that cannot break out of its
script element.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from pandas.api.types import is_numeric_dtype

from swarm.results.columns import Score, by_concept, on
from swarm.results.load import Run
from swarm.results.report.html.histories.device_history import device_history, subsample
from swarm.results.report.html.histories.graph_history import graph_history
from swarm.results.report.layout import layout_graph
from swarm.results.report.style import changes, colours, dashes, named_label
from swarm.results.track.units import rho_of, virtual_time

ROWS = 500  # rounds of a curve at most
NAMES_KEPT = 500_000  # characters
_DASH = {"solid": "", "dashed": "7 4", "dashdot": "9 3 2 3", "dotted": "2 4"}


def page_data(run: Run, drawing: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything that is drawn: curves (at most ``ROWS`` rounds of each arm), every device's
    scores, and the graph.

    ``drawing`` saves laying out the graph again.
    """
    shown = device_history(run)
    metrics, axes = _metrics(run), _axes(run)
    score = run.main
    band = [key for key in score.band if key in run.metrics] if score else []
    columns = list(dict.fromkeys([*axes, "round", *metrics, *band]))
    first = score.mean if score else run.distance.mean
    return {
        "arms": [
            {"name": arm, "light": light, "dark": dark, "dash": _DASH[dashes(arm, run)]}
            for arm, (light, dark) in colours(run).items()
        ],
        "score": run.score,
        "scoreLabel": score.label if score else None,
        "distance": run.distance.mean,
        "shares": _shares(run, metrics),
        "labels": {m: named_label(run, m) for m in metrics},
        "axes": axes,
        "first": first if first in metrics else (metrics or [""])[0],
        "band": band if len(band) == 2 else [],
        "lead": run.lead,
        "rho": rho_of(run.summary) if run.summary and not score else None,
        "lossless": bool((run.summary or {}).get("rho_lossless")),
        "series": {
            arm: _series(run.arm(arm), _comparable(run, arm, columns), score) for arm in run.arms
        },
        "changes": {arm: found for arm in run.arms if (found := _changes(run, arm, list(axes)))},
        "frames": shown,
        "names": _names(run),
        "cohorts": _cohorts(run),
        "graph": _graph(run, drawing, shown["rounds"] if shown else []),
        "scale": [to_hex(colormaps["viridis"](i / 15)) for i in range(16)],
    }


def _metrics(run: Run) -> list[str]:
    """The numbers of the records that have a curve: those that have a label, and a value."""
    known = [column.key for column in on(run.columns, "page")]
    concepts = sorted(name for name in map(str, run.metrics) if by_concept(name, run.columns))
    sparse = {column.key for column in run.columns if column.sparse}
    return [
        name
        for name in dict.fromkeys((*known, *concepts))
        if name in run.metrics and _has_curve(run, name, name in sparse)
    ]


def _has_curve(run: Run, name: str, sparse: bool) -> bool:
    values = run.metrics[name]
    if not is_numeric_dtype(values) or not values.notna().any():
        return False
    if sparse:
        return bool((values.fillna(0) != 0).any())
    return name != "lr" or run.learns


def _shares(run: Run, metrics: list[str]) -> list[str]:
    """The metrics that are written with three decimals: scores without a unit, for which higher is
    better."""
    better = {column.key for column in run.columns if column.better == "higher" and not column.unit}
    return [name for name in metrics if name in better or by_concept(name, run.columns)]


def _axes(run: Run) -> dict[str, str]:
    """What the curves can be drawn against; the rounds also of a run that diverged at once, whose
    only round is 0."""
    paid = {
        column.key: column.label
        for column in on(run.columns, "axis")
        if column.key in run.metrics and run.metrics[column.key].max() > 0
    }
    return {"round": "round"} | paid


def _names(run: Run) -> list[str | None] | None:
    """What the devices are called, by number; None where they have no names, names that differ by
    run, or too many.
    """
    names = run.names
    if names is None and "name" in run.devices:  # several runs, which have no graph in common
        pairs = run.devices[["device", "name"]].dropna().drop_duplicates()
        known = (
            dict(zip(pairs["device"], pairs["name"], strict=True))
            if pairs["device"].is_unique
            else {}
        )
        names = [known.get(device) for device in range(max(known, default=-1) + 1)] or None
    return names if names and sum(len(name or "") for name in names) <= NAMES_KEPT else None


def _cohorts(run: Run) -> list[str | None] | None:
    """The cohort of each device, by number; None where all have one model, where runs differ in it,
    or where that is too much text."""
    if "cohort" not in run.devices:
        return None
    pairs = run.devices[["device", "cohort"]].dropna().drop_duplicates()
    known = dict(zip(pairs["device"], pairs["cohort"].astype(str), strict=True))
    if not pairs["device"].is_unique or sum(map(len, known.values())) > NAMES_KEPT:
        return None
    return [known.get(device) for device in range(max(known, default=-1) + 1)] or None


def _changes(run: Run, arm: str, axes: list[str]) -> list[dict[str, Any]]:
    """Where on each axis the concept changes, and to which."""
    rows = changes(run, arm)
    columns = [name for name in _comparable(run, arm, ["round", "concept", *axes]) if name in rows]
    return [{name: _number(row[name], 15) for name in columns} for row in rows.to_dict("records")]


def _comparable(run: Run, arm: str, columns: list[str]) -> list[str]:
    """The ``columns`` without virtual time, if that of this arm counts ticks and that of the others
    is what their hardware took.
    """
    finals = {name: run.final(name) for name in run.arms}
    timed = virtual_time(finals[arm], finals.values()) is not None
    return [name for name in columns if timed or name != "virtual_s"]


def script_json(value: Any) -> str:
    """JSON without any character that could end a script element or a line of JavaScript."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _number(value: Any, digits: int = 6) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short


def _series(rows: pd.DataFrame, columns: list[str], score: Score | None) -> dict[str, list[Any]]:
    if len(rows) > ROWS:
        evaluated = np.flatnonzero(rows[score.mean].notna()) if score else np.arange(0)
        picks = [subsample(evaluated, ROWS // 2), subsample(np.arange(len(rows)), ROWS // 2)]
        rows = rows.iloc[np.unique(np.concatenate(picks))]
    wanted = [name for name in columns if name in rows and rows[name].notna().any()]
    digits = {"round": 15}
    return {
        name: [_number(v, digits.get(name, 6)) for v in rows[name].to_numpy(float)]
        for name in wanted
    }


def _graph(run: Run, drawing: dict[str, Any] | None, rounds: list[int]) -> dict[str, Any] | None:
    """The drawing of the graph, and its links in each of ``rounds`` where they change and can be
    had.
    """
    if run.graph is None or run.graph["n"] < 1:
        return None
    drawing = drawing or layout_graph(run.graph)
    return {
        **drawing,
        "directed": bool(run.graph.get("directed")),
        "hostile": run.graph.get("hostile") or [],
        "changing": graph_history(run, rounds, drawing["nodes"]),
    }
