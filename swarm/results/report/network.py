"""``graph.png``: the swarm's graph in round 1, its devices coloured by their final score."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from swarm.common.errors import counted
from swarm.results.load import Run
from swarm.results.report.style import literal, missing_signs

Floats = NDArray[np.float64]
HOSTILE = "#c8102e"  # of hostile devices
NAMED = 40  # of more devices the names would lie on one another


def draw_graph(run: Run, drawing: dict[str, Any], path: Path | IO[bytes]) -> None:
    """Draws ``drawing`` (:func:`swarm.results.report.layout.layout_graph`) into a PNG of 780 × 780
    pixels.
    """
    figure = Figure(figsize=(6, 6), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.12, 0.96, 0.81))
    xy_N2 = np.stack([drawing["x"], drawing["y"]], axis=1)
    size = float(np.clip(9000 / len(xy_N2), 8, 160))
    _links(axes, drawing, xy_N2)
    _devices(figure, axes, run, _scores(run, drawing["nodes"]), xy_N2, size)
    _hostile(axes, run, drawing["nodes"], xy_N2, size)
    if run.names and len(xy_N2) <= NAMED:
        _name(axes, [run.names[node] for node in drawing["nodes"]], xy_N2, size)
    axes.set_aspect("equal")
    axes.margins(0.04)
    axes.set_axis_off()
    note = f"\n{drawing['note']}" if drawing["note"] else ""
    figure.text(
        0.03,
        0.975,
        f"{counted(len(run.graph['edges']) if run.graph else 0, 'link')} in round 1{note}",
        fontsize=10,
        va="top",
    )
    with missing_signs("graph.png"):
        figure.savefig(path, format="png")


def _links(axes: Axes, drawing: dict[str, Any], xy_N2: Floats) -> None:
    ends_E2 = np.array(drawing["edges"], dtype=int).reshape(-1, 2)
    width = 0.4 if len(ends_E2) > 2000 else 0.9
    lines = list(xy_N2[ends_E2])
    for number, *control_2 in drawing["bent"]:
        lines[int(number)] = _curve(lines[int(number)], np.array(control_2))
    axes.add_collection(
        LineCollection(lines, colors="#8a93a3", linewidths=width, alpha=0.6, zorder=1)
    )


def _devices(
    figure: Figure, axes: Axes, run: Run, score_N: Floats | None, xy_N2: Floats, size: float
) -> None:
    """A dot for each device; in the colour of its score where there are scores."""
    common: dict[str, Any] = {"s": size, "edgecolors": "white", "linewidths": 0.6, "zorder": 2}
    if score_N is None:
        axes.scatter(xy_N2[:, 0], xy_N2[:, 1], c="#0072b2", **common)
        return
    shown = axes.scatter(
        xy_N2[:, 0], xy_N2[:, 1], c=score_N, cmap="viridis", plotnonfinite=True, **common
    )
    bar = figure.colorbar(
        shown, cax=figure.add_axes((0.2, 0.085, 0.6, 0.02)), orientation="horizontal"
    )
    bar.set_label(
        f"{run.main.label if run.main else ''} of the {literal(run.lead)}'s devices at the end",
        fontsize=9,
    )
    bar.ax.tick_params(labelsize=8)


def _hostile(axes: Axes, run: Run, nodes: list[int], xy_N2: Floats, size: float) -> None:
    """The hostile devices, which have no score, over their dots."""
    hostile = set((run.graph or {}).get("hostile") or [])
    at = [i for i, node in enumerate(nodes) if node in hostile]
    if at:
        looks: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.6, "zorder": 2.5}
        axes.scatter(xy_N2[at, 0], xy_N2[at, 1], s=size, c=HOSTILE, label="hostile", **looks)
        axes.legend(loc="lower right", fontsize=8, frameon=False)


def _name(axes: Axes, names: list[str | None], xy_N2: Floats, size: float) -> None:
    above = 0, np.sqrt(size) / 2 + 2
    for (x, y), name in zip(xy_N2, names, strict=True):
        text = literal((name or "")[:20])
        axes.annotate(
            text, (x, y), above, textcoords="offset points", ha="center", fontsize=7, zorder=3
        )


def _curve(ends_22: Floats, control_2: Floats) -> Floats:
    """Points of the quadratic Bézier curve (1 − t)²·a + 2t(1 − t)·c + t²·b."""
    t_T1 = np.linspace(0, 1, 24)[:, None]
    points_T2: Floats = (
        (1 - t_T1) ** 2 * ends_22[0] + 2 * t_T1 * (1 - t_T1) * control_2 + t_T1**2 * ends_22[1]
    )
    return points_T2


def _scores(run: Run, nodes: list[int]) -> Floats | None:
    if not run.score or not run.arms or run.score not in run.devices:
        return None
    rows = run.final_devices(run.lead).set_index("device")[run.score]
    found = rows[~rows.index.duplicated()].reindex(nodes).to_numpy(float)
    return found if np.isfinite(found).sum() > 1 else None
