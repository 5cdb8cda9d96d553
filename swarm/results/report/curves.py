"""``curves.png``: a run in one picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from swarm.results.load import Run
from swarm.results.report.style import (
    SCORES,
    changes,
    colours,
    dashes,
    lead,
    literal,
    subject,
    verdict,
)
from swarm.results.track.units import human_bytes, human_score, rho_of

INK, SOFT, GRID = "#222222", "#666666", "#e4e4e4"
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
    if run.score is not None:
        left, middle, right = figure.subplots(1, 3)
        _by_round(left, run, run.score)
        _by_cost(middle, run, run.score)
        _by_device(right, run, run.score)
    elif "consensus_distance" in run.metrics and run.metrics["consensus_distance"].notna().any():
        left, right = figure.subplots(1, 2)
        _contraction(left, run)
        _ratio(right, run)
    else:
        _empty(figure.subplots(1, 1), "no evaluated round yet")
    _headings(figure, run, columns)
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
    """Of the legend: the arms, and what else is drawn beside them."""
    return len(run.arms) + (1 if run.score is None or _drifting(run) else 0)


def _columns(run: Run) -> int:
    """Of the legend: so many that its longest entries fit beside one another."""
    longest = max((len(arm) for arm in run.arms), default=0) + 8
    return max(1, min(max(_entries(run), 2), 6, 150 // longest))


def _legend(run: Run, arm: str, score: str | None) -> str:
    final = run.final(arm)
    text = arm if score is None else f"{arm}  {human_score(final.get(f'{score}_mean'))}"
    return literal(text + ("  ✕ diverged" if final.get("diverged") else ""))


def _by_round(axes: Axes, run: Run, score: str) -> None:
    decorate(axes, "Mean over devices, band p10–p90", "round")
    shown = []
    for arm, (colour, _) in colours(run.arms).items():
        rows = run.arm(arm).dropna(subset=[f"{score}_mean"])
        r, mean = rows["round"].to_numpy(float), rows[f"{score}_mean"].to_numpy(float)
        if not len(rows):
            axes.plot([], [], color=colour, label=_legend(run, arm, score))
            continue
        if {f"{score}_p10", f"{score}_p90"} <= set(rows.columns):
            p10, p90 = (rows[f"{score}_{q}"].to_numpy(float) for q in ("p10", "p90"))
            axes.fill_between(r, p10, p90, color=colour, alpha=0.16, linewidth=0)
            shown += [p10, p90]
        shown.append(mean)
        axes.plot(
            r, mean, label=_legend(run, arm, score), **_line(arm, run.arms, colour, len(rows))
        )
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
    axes.set_ylabel(SCORES[score])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _score_limits(axes, shown)
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
        colour = SOFT if len(whose) == len(of) else colours(run.arms)[whose[0]][0]
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


def _by_cost(axes: Axes, run: Run, score: str) -> None:
    total, distance = "bytes_total", "consensus_distance"
    if total in run.metrics and (run.metrics[total] > 0).any():
        column, label = total, "bytes sent by all devices"
    elif distance in run.metrics and (run.metrics[distance] > 0).any():
        column, label = distance, "consensus distance"
    else:
        column, label = "round", "round"
    decorate(
        axes,
        "Against what was sent (dotted: nothing)" if column == total else f"Against {label}",
        label,
    )
    ys, free = [], []
    for arm, (colour, _) in colours(run.arms).items():
        rows = run.arm(arm).dropna(subset=[f"{score}_mean"])
        if not len(rows):
            continue
        ys.append(rows[f"{score}_mean"].to_numpy(float))
        paid = rows[rows[column] > 0] if column in rows else rows[:0]
        if len(paid):
            axes.plot(paid[column].to_numpy(float), paid[f"{score}_mean"].to_numpy(float),
                      **_line(arm, run.arms, colour, len(paid)))  # fmt: skip
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
    _score_limits(axes, ys)
    _name_levels(axes, free)


def _name_levels(axes: Axes, levels: list[tuple[str, str, float]]) -> None:
    """Names, colours and heights of lines: each name on its line, or where that has no room next to
    the others above it.
    """
    levels = sorted(levels, key=lambda level: level[2])
    size = NAME * axes.figure.dpi / 72  # pixels
    at_L = [float(axes.transData.transform((1, y))[1]) for *_, y in levels]
    low, high = axes.bbox.y0 + size / 2, axes.bbox.y1 - size / 2
    for (arm, colour, y), line, place in zip(
        levels, at_L, spread_out(at_L, size, low, high), strict=True
    ):
        axes.annotate(
            literal(arm),
            (0.02, y),
            (0, (place - line) * 72 / axes.figure.dpi),
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


def _by_device(axes: Axes, run: Run, score: str) -> None:
    decorate(axes, "Final score of each device", "share of devices, worst to best")
    ys = []
    for arm, (colour, _) in colours(run.arms).items():
        rows = run.final_devices(arm)
        values = np.sort(rows[score].dropna().to_numpy(float)) if score in rows else np.empty(0)
        if not len(values):
            continue
        ys.append(values)
        if len(values) == 1:
            axes.axhline(values[0], **_line(arm, run.arms, colour, 9))
        else:
            axes.plot(np.linspace(0, 1, len(values)), values, **_line(arm, run.arms, colour, 9))
    if not ys:
        _empty(axes, "no device rows yet")
        return
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    _score_limits(axes, ys)


def _contraction(axes: Axes, run: Run) -> None:
    decorate(axes, "Consensus distance, relative to the start", "round")
    rho = rho_of(run.summary or {})
    longest = 0.0
    for arm, (colour, _) in colours(run.arms).items():
        r, relative = _distances(run, arm)
        longest = max(longest, float(r[-1]) if len(r) else 0.0)
        axes.plot(
            r, relative, label=_legend(run, arm, None), **_line(arm, run.arms, colour, len(r))
        )
    if rho is not None and 0 < rho < 1 and longest > 0:
        r = np.arange(longest + 1)
        axes.plot(
            r,
            rho**r,
            color=INK,
            linestyle="dotted",
            linewidth=1.6,
            label=f"ρᵗ, ρ = {rho:.6f}",
            zorder=5,
        )
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _ratio(axes: Axes, run: Run) -> None:
    decorate(axes, "Contraction per round", "round")
    rho = rho_of(run.summary or {})
    for arm, (colour, _) in colours(run.arms).items():
        r, relative = _distances(run, arm)
        gaps = np.diff(r)
        if len(gaps):
            axes.plot(
                r[1:],
                (relative[1:] / relative[:-1]) ** (1 / gaps),
                **_line(arm, run.arms, colour, len(r)),
            )
    if rho is not None:
        axes.axhline(rho, color=INK, linestyle="dotted", linewidth=1.6, zorder=5)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, rho - 0.05), max(high, rho + 0.05))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _distances(run: Run, arm: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rounds and consensus distances over the first one, while above zero."""
    rows = run.arm(arm).dropna(subset=["consensus_distance"])
    rows = rows[rows["consensus_distance"] > 0]
    distance = rows["consensus_distance"].to_numpy(float)
    return rows["round"].to_numpy(float), distance / distance[0] if len(distance) else distance


def _line(arm: str, arms: list[str], colour: str, points: int) -> dict[str, Any]:
    """Line properties: the leading arm stands out, a curve of few points shows them."""
    front = arm == lead(arms)
    return {
        "color": colour,
        "linestyle": dashes(arm, arms),
        "linewidth": 2.6 if front else 1.6,
        "zorder": 4 if front else 3,
        "marker": "o" if points < 3 else None,
        "markersize": 6,
    }


def _score_limits(axes: Axes, ys: list[NDArray[np.float64]]) -> None:
    """A score is at most 1; one bad round of R² = -50 must not flatten every curve."""
    values = np.concatenate(ys) if ys else np.zeros(1)
    values = values[np.isfinite(values)]
    low = (
        max(float(values.min()), min(-1.0, float(np.quantile(values, 0.2)))) if len(values) else 0.0
    )
    high = float(values.max()) if len(values) else 1.0
    margin = 0.04 * max(high - low, 0.05)
    axes.set_ylim(low - margin, high + margin)


def decorate(axes: Axes, title: str, x_label: str) -> None:
    """Title, labels, grid and frame, as all pictures have them."""
    axes.set_title(title, fontsize=10.5, color=INK, loc="left", pad=7)
    axes.set_xlabel(x_label, fontsize=9.5, color=SOFT)
    axes.tick_params(labelsize=8.5, colors=SOFT, length=3)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bbbbbb")


def _empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", color=SOFT, transform=axes.transAxes)
