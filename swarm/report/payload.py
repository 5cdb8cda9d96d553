"""The numbers that the page's script draws, as one JSON document that cannot break out of its script element."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from swarm.report.layout import picture
from swarm.report.load import Run
from swarm.report.style import LABELS, SCORES, colours, dashes, lead
from swarm.track.units import rho_of, virtual_time

ROWS, FRAMES, SORTED = 500, 24, 400  # at most: rounds of a curve, rounds of the graph, points of a distribution
_AXES = {"round": "round", "bytes_total": "bytes sent by all devices", "virtual_s": "virtual time",
         "wall_s": "wall time"}  # fmt: skip
_DASH = {"solid": "", "dashed": "7 4", "dashdot": "9 3 2 3"}


def payload(run: Run) -> dict[str, Any]:
    """Everything that is drawn: curves (at most ``ROWS`` rounds of each arm), distributions, and the graph."""
    metrics = [name for name in LABELS if name in run.metrics and run.metrics[name].notna().any()]
    axes = {name: label for name, label in _AXES.items() if name in run.metrics and run.metrics[name].max() > 0}
    band = [f"{run.score}_{q}" for q in ("p10", "p90") if f"{run.score}_{q}" in run.metrics]
    columns = list(dict.fromkeys([*axes, "round", *metrics, *band]))
    first = f"{run.score}_mean" if run.score else "consensus_distance"
    return {
        "arms": [{"name": arm, "light": light, "dark": dark, "dash": _DASH[dashes(arm)]}
                 for arm, (light, dark) in colours(run.arms).items()],
        "score": run.score, "scoreLabel": SCORES.get(run.score or ""), "labels": {m: LABELS[m] for m in metrics},
        "axes": axes or {"round": "round"}, "first": first if first in metrics else (metrics or [""])[0],
        "band": band if len(band) == 2 else [], "lead": lead(run.arms),
        "rho": rho_of(run.summary) if run.summary and not run.score else None,
        "series": {arm: _series(run.arm(arm), _comparable(run, arm, columns), run.score) for arm in run.arms},
        "devices": {arm: _sorted(run.final_devices(arm), run.score) for arm in run.arms} if run.score else {},
        "graph": _graph(run) if run.graph is not None and run.graph["n"] > 0 else None,
        "scale": [to_hex(colormaps["viridis"](i / 15)) for i in range(16)],
    }  # fmt: skip


def _comparable(run: Run, arm: str, columns: list[str]) -> list[str]:
    """Without virtual time where the arm's counts ticks, and that of the others what their hardware took."""
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


def _series(rows: pd.DataFrame, columns: list[str], score: str | None) -> dict[str, list[Any]]:
    if len(rows) > ROWS:
        evaluated = np.flatnonzero(rows[f"{score}_mean"].notna()) if score else np.arange(0)
        picks = [_thin(evaluated, ROWS // 2), _thin(np.arange(len(rows)), ROWS // 2)]
        rows = rows.iloc[np.unique(np.concatenate(picks))]
    wanted = [name for name in columns if name in rows and rows[name].notna().any()]
    digits = {"round": 15}
    return {name: [_number(v, digits.get(name, 6)) for v in rows[name].to_numpy(float)] for name in wanted}


def _thin(index: np.ndarray[Any, np.dtype[np.int64]], most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return index if len(index) <= most else index[np.linspace(0, len(index) - 1, most, dtype=np.int64)]


def _sorted(rows: pd.DataFrame, score: str | None) -> list[list[Any]]:
    """(share of devices, score, device) from the worst to the best."""
    if score is None or score not in rows or not len(rows):
        return []
    rows = rows.dropna(subset=[score]).sort_values(score, kind="stable")
    n = len(rows)
    picks = _thin(np.arange(n), SORTED)
    values, ids = rows[score].to_numpy(float), rows["device"].to_numpy(int)
    return [[_number(i / max(n - 1, 1), 4), _number(values[i], 4), int(ids[i])] for i in picks]


def _graph(run: Run) -> dict[str, Any]:
    """The drawing of the graph and, for each arm with as many devices, their scores at some evaluated rounds."""
    assert run.graph is not None
    drawing = picture(run.graph)
    values: dict[str, Any] = {}
    for arm in run.arms if run.score and run.score in run.devices else []:
        rows = run.devices[run.devices["arm"] == arm]
        if rows["device"].nunique() < 2 or rows["device"].max() >= run.graph["n"]:
            continue  # one pooled device has no place in the graph
        rounds = _thin(np.sort(rows["round"].unique()), FRAMES)
        table = rows.pivot_table(index="round", columns="device", values=run.score)
        table = table.reindex(index=rounds, columns=drawing["nodes"])
        values[arm] = {"rounds": [int(r) for r in rounds],
                       "scores": [[_number(v, 3) for v in row] for row in table.to_numpy(float)]}  # fmt: skip
    return {**drawing, "values": values, "directed": bool(run.graph.get("directed"))}
