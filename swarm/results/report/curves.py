"""``curves.png``: a run in one picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from swarm.results.columns import Score
from swarm.results.load import Run
from swarm.results.report import contraction
from swarm.results.report.axes import INK, decorate, empty, legend, line, score_limits
from swarm.results.report.style import (
    SOFT,
    changes,
    colours,
    literal,
    missing_signs,
    subject,
    verdict,
)
from swarm.results.track.units import human_bytes

DIGIT = 14  # pixels
NAME = 12  # points: the height of an arm's name with its margin


def draw(run: Run, path: Path | IO[bytes]) -> None:
    """Draws the picture of a run into a PNG of 1,560 × 572 pixels, higher where the arms need
    several lines.

    With learning: the mean score of each arm by round and its band from the worst to the best
    decile of devices; the score against the bytes sent (against the consensus distance where
    nothing is sent); the devices' final scores, sorted. Without: the consensus distance on a
    logarithmic axis beside ρᵗ.
    """
    columns = _columns(run)
    height = 4.4 + 0.24 * (math.ceil(max(_entries(run), 1) / columns) - 1)
    figure = Figure(figsize=(12, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=0.055, right=0.985, top=(0.715 * 4.4) / height, bottom=0.55 / height, wspace=0.19
    )
    score, distance = run.main, run.distance.mean
    if score is not None:
        left, middle, right = figure.subplots(1, 3)
        _by_round(left, run, score)
        _by_cost(middle, run, score)
        _by_device(right, run, score)
    elif distance in run.metrics and run.metrics[distance].notna().any():
        left, right = figure.subplots(1, 2)
        contraction.distance(left, run)
        contraction.ratio(right, run)
    else:
        empty(figure.subplots(1, 1), "no evaluated round yet")
    _headings(figure, run, columns)
    with missing_signs("curves.png"):
        figure.savefig(path, format="png")


def _headings(figure: Figure, run: Run, columns: int) -> None:
    height = figure.get_figheight()
    figure.text(
        0.012,
        1 - 0.154 / height,
        literal(subject(run)),
        fontsize=13,
        fontweight="bold",
        color=INK,
        va="top",
    )
    figure.text(
        0.012, 1 - 0.47 / height, literal(verdict(run)), fontsize=10.5, color=SOFT, va="top"
    )
    handles, labels = [], []
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    if handles:
        figure.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(0.004, 1 - 0.638 / height),
            ncols=columns,
            frameon=False,
            fontsize=9.5,
            handlelength=2.4,
            columnspacing=1.6,
        )


def _entries(run: Run) -> int:
    """The number of entries of the legend: the arms, and what else is drawn beside them."""
    return len(run.arms) + (1 if run.score is None or _drifting(run) else 0)


def _columns(run: Run) -> int:
    """The number of columns of the legend: its longest entries must fit beside one another."""
    longest = max((len(arm) for arm in run.arms), default=0) + 8
    return max(1, min(max(_entries(run), 2), 6, 150 // longest))


def _by_round(axes: Axes, run: Run, score: Score) -> None:
    decorate(axes, "Mean over devices, band p10–p90", "round")
    shown = []
    for arm, (colour, _) in colours(run).items():
        rows = run.arm(arm).dropna(subset=[score.mean])
        r, mean = rows["round"].to_numpy(float), rows[score.mean].to_numpy(float)
        if not len(rows):
            axes.plot([], [], color=colour, label=legend(run, arm, score))
            continue
        if set(score.band) <= set(rows.columns):
            p10, p90 = (rows[key].to_numpy(float) for key in score.band)
            axes.fill_between(r, p10, p90, color=colour, alpha=0.16, linewidth=0)
            shown += [p10, p90]
        shown.append(mean)
        axes.plot(r, mean, label=legend(run, arm, score), **line(arm, run, colour, len(rows)))
        if run.final(arm).get("diverged"):
            axes.plot(
                r[-1],
                mean[-1],
                marker="X",
                color=colour,
                markersize=9,
                markeredgecolor="white",
                zorder=5,
            )
    axes.set_ylabel(score.label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    score_limits(axes, shown)
    _changes(axes, run, "round")


def _changes(axes: Axes, run: Run, column: str) -> None:
    """An upright line where the concept changes: grey where it does so for all arms alike, else in
    the arm's colour.
    """
    of = {
        arm: [
            (float(x), int(c))
            for x, c in changes(run, arm)[[column, "concept"]].to_numpy()
            if x > 0
        ]
        for arm in _drifting(run)
    }
    label: str | None = "concept changes"
    marks = sorted({change for found in of.values() for change in found})
    axes.get_xlim()  # settles the scale that the places below are taken on
    at = [float(axes.transData.transform((x, 1))[0]) for x, _ in marks]
    for change, room in zip(marks, np.diff([*at, np.inf]), strict=True):
        whose = [arm for arm, found in of.items() if change in found]
        colour = SOFT if len(whose) == len(of) else colours(run)[whose[0]][0]
        axes.axvline(
            change[0],
            color=colour,
            linewidth=1.1,
            linestyle=(0, (4, 2)),
            alpha=0.8,
            zorder=2,
            label=label,
        )
        label = None
        if room < DIGIT * len(str(change[1])):
            continue  # two numbers in one place say neither
        axes.annotate(
            str(change[1]),
            (change[0], 0.01),
            xycoords=axes.get_xaxis_transform(),
            fontsize=8,
            color=colour,
            xytext=(2, 0),
            textcoords="offset points",
        )


def _drifting(run: Run) -> list[str]:
    return [arm for arm in run.arms if len(changes(run, arm))]


def _by_cost(axes: Axes, run: Run, score: Score) -> None:
    total, distance = "bytes_total", run.distance.mean
    if total in run.metrics and (run.metrics[total] > 0).any():
        column, label = total, "bytes sent by all devices"
    elif distance in run.metrics and (run.metrics[distance] > 0).any():
        column, label = distance, run.distance.label
    else:
        column, label = "round", "round"
    decorate(
        axes,
        "Against what was sent (dotted: nothing)" if column == total else f"Against {label}",
        label,
    )
    ys, free = [], []
    for arm, (colour, _) in colours(run).items():
        rows = run.arm(arm).dropna(subset=[score.mean])
        if not len(rows):
            continue
        ys.append(rows[score.mean].to_numpy(float))
        paid = rows[rows[column] > 0] if column in rows else rows[:0]
        if len(paid):
            axes.plot(paid[column].to_numpy(float), paid[score.mean].to_numpy(float),
                      **line(arm, run, colour, len(paid)))  # fmt: skip
        else:
            free.append((arm, colour, float(ys[-1][-1])))
    if column != "round":
        axes.set_xscale("log")
    for _, colour, y in free:
        axes.axhline(y, color=colour, linewidth=1.2, linestyle=(0, (1, 2)))
    if column == total:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value)))
        # 4⁵ = 1024: ticks at 1, 4, 16, 64, 256 of a unit
        axes.xaxis.set_major_locator(LogLocator(base=4, numticks=7))
        axes.xaxis.set_minor_locator(NullLocator())
        _changes(axes, run, total)
    score_limits(axes, ys)
    _name_levels(axes, free)


def _name_levels(axes: Axes, levels: list[tuple[str, str, float]]) -> None:
    """Names, colours and heights of lines: each name on its line, or where that has no room next to
    the others above it.
    """
    levels = sorted(levels, key=lambda level: level[2])
    size = NAME * axes.figure.dpi / 72  # pixels
    at_L = [float(axes.transData.transform((1, y))[1]) for *_, y in levels]
    low, high = axes.bbox.y0 + size / 2, axes.bbox.y1 - size / 2
    for (arm, colour, y), at, place in zip(
        levels, at_L, spread_out(at_L, size, low, high), strict=True
    ):
        axes.annotate(
            literal(arm),
            (0.02, y),
            (0, (place - at) * 72 / axes.figure.dpi),
            fontsize=8.5,
            color=colour,
            va="center",
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )


def spread_out(at_L: list[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending places, each ``gap`` from the next, in all as near to ``at_L`` as they can be
    (least squares), and between ``low`` and ``high`` as far as there is room: neighbours that are
    too near become a block around their mean (the pool-adjacent-violators algorithm, Ayer et al.
    1955)."""
    blocks: list[list[float]] = []  # sum and number of the places less what their ranks add
    for rank, at in enumerate(at_L):
        blocks.append([at - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    most = high - (len(at_L) - 1) * gap
    bases = [
        max(low, min(most, total / count)) for total, count in blocks for _ in range(int(count))
    ]
    return [base + rank * gap for rank, base in enumerate(bases)]


def _by_device(axes: Axes, run: Run, score: Score) -> None:
    decorate(axes, "Final score of each device", "share of devices, worst to best")
    ys = []
    for arm, (colour, _) in colours(run).items():
        rows = run.final_devices(arm)
        known = score.name in rows
        values = np.sort(rows[score.name].dropna().to_numpy(float)) if known else np.empty(0)
        values = values[::-1] if score.lower else values
        if not len(values):
            continue
        ys.append(values)
        if len(values) == 1:
            axes.axhline(values[0], **line(arm, run, colour, 9))
        else:
            axes.plot(np.linspace(0, 1, len(values)), values, **line(arm, run, colour, 9))
    if not ys:
        empty(axes, "no device rows yet")
        return
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    score_limits(axes, ys)
