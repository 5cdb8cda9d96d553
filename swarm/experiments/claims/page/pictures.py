"""Draws the charts of a claim's page, in colours for a light and for a dark page."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.page.line_looks import Look, Looks, looks, measured


class Theme(NamedTuple):
    """The colours of charts on one kind of page."""

    page: str
    ink: str
    soft: str
    grid: str
    lines: tuple[str, ...]


_DEEP = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#b8860b",
    "#56b4e9",
    "#7a5195",
    "#8c564b",
    "#222222",
    "#6b7280",
)
_PALE = (
    "#4db8ff",
    "#ff9247",
    "#34d3a2",
    "#f0a3cc",
    "#f0c040",
    "#58e0f0",
    "#b79bea",
    "#d09a8c",
    "#e6e6e6",
    "#aab2c0",
)
LIGHT = Theme("#ffffff", "#1c2330", "#5d6675", "#e2e6ec", _DEEP)
DARK = Theme("#1a2029", "#e7ebf2", "#9aa5b5", "#2c3542", _PALE)
_MARKS = "osD^vPX*<>"
_DASHES: tuple[Any, ...] = ("solid", "dashed", "dashdot", (0, (7, 1.5, 1, 1.5, 1, 1.5)))
_LAWS: tuple[Any, ...] = ("dashed", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
_MARKS_A_CURVE = 7
CLOSE = 1.15  # the labels of two ticks with a smaller ratio would overlap


class Format(NamedTuple):
    """The size of a picture in inches, and how many characters of its title fit on a line."""

    width: float
    height: float
    title: int


WIDE = Format(8, 4.72, 80)  # 1,120 × 660 pixels
NARROW = Format(3.9, 4.4, 46)  # for a telephone, with text of the same size


def draw(
    chart: Chart, theme: Theme = LIGHT, form: Format = WIDE, places: Looks | None = None
) -> bytes:
    """The chart as a PNG; ``places`` are the looks of the lines of its page, by default those of a
    page with this chart alone."""
    figure = Figure(figsize=(form.width, form.height), dpi=140, facecolor=theme.page)
    FigureCanvasAgg(figure)
    title, names = textwrap.wrap(chart.title, form.title), _wrapped(chart.names, form)
    below = 0.55 + 0.13 * max([name.count("\n") for name in names], default=0)
    figure.subplots_adjust(
        left=0.72 / form.width, right=1 - 0.12 / form.width,
        top=1 - (0.22 + 0.19 * len(title)) / form.height, bottom=below / form.height,
    )  # fmt: skip
    axes = figure.subplots()
    _dress(axes, chart, theme)
    if names:
        axes.set_xticks(range(len(names)), names, fontsize=8.5 if form is WIDE else 7)
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_title(
        _plain("\n".join(title)), fontsize=11.5, color=theme.ink, loc="left", x=-0.6 / form.width
    )
    _draw_lines(axes, chart, theme, looks([chart]) if places is None else places)
    if chart.level is not None:
        axes.axhline(
            chart.level[0],
            color=theme.soft,
            linestyle="dotted",
            linewidth=1.4,
            label=_plain(chart.level[1]),
        )
    if chart.at is not None:
        axes.axvline(
            chart.at[0],
            color=theme.soft,
            linestyle="dashdot",
            linewidth=1.2,
            label=_plain(chart.at[1]),
        )
    _clip(axes, chart)
    if axes.get_legend_handles_labels()[0]:
        many = len(chart.lines) > 8 or form is NARROW
        axes.legend(
            frameon=False,
            fontsize=7.5 if many else 9,
            labelcolor=theme.ink,
            ncols=2 if many and form is WIDE else 1,
        )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=theme.page, metadata={"Software": None})
    return buffer.getvalue()


def _dress(axes: Axes, chart: Chart, theme: Theme) -> None:
    axes.set_facecolor(theme.page)
    axes.set_xlabel(_plain(chart.x), color=theme.soft, fontsize=9.5)
    axes.set_ylabel(_plain(chart.y), color=theme.soft, fontsize=9.5)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.soft, labelsize=8.5)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(theme.grid)
    if chart.log_x:
        axes.set_xscale("log")
        ticks = sorted(
            {float(x) for line in chart.lines if line.kind != "law" for x in line.x_K if x > 0}
        )
        apart = all(b / a > CLOSE for a, b in itertools.pairwise(ticks))
        if 0 < len(ticks) <= 12 and apart:  # the measured sizes are the ticks
            axes.set_xticks(ticks)
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            _label_decades(axes.xaxis)
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
    if chart.log_y:
        axes.set_yscale("log")
        _label_decades(axes.yaxis)


def _label_decades(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10, …, which suits a decade or two."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(_number))
    axis.set_minor_locator(NullLocator())


def _number(value: float, _: int | None = None) -> str:
    for unit, letter in ((1_000_000, "M"), (1000, "k")):
        if value >= 10 * unit and value % unit == 0:  # else the axis' own label has no room
            return f"{value / unit:,.0f}{letter}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _clip(axes: Axes, chart: Chart) -> None:
    """End the axis a little beyond 0 and 1 if all values lie between them. Intervals of few seeds
    reach much further, and would make the curves small."""
    y = np.concatenate([line.y_K[np.isfinite(line.y_K)] for line in chart.lines] or [np.zeros(0)])
    if chart.log_y or not len(y) or y.min() < 0 or y.max() > 1:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.05), min(high, 1.05))


def _mark(look: Look) -> str:
    return _MARKS[(look.place + look.again) % len(_MARKS)]


def _marks(look: Look, points: int) -> dict[str, Any]:
    """Markers at some points of a curve, at others for each curve of the chart, so that one which
    lies on another can be seen. A curve of one point would be invisible without a marker.
    """
    if look.of == 1:
        return {"marker": _MARKS[0] if points == 1 else None}
    every = max(2, -(-points // _MARKS_A_CURVE))
    return {
        "marker": _mark(look),
        "markersize": 5.5,
        "markevery": (look.turn % every if points > 1 else 0, every),
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def _wrapped(names: Sequence[str], form: Format) -> list[str]:
    """The names of places, in lines that fit beside one another."""
    room = int((form.width - 0.84) / max(len(names), 1) / (0.065 if form is WIDE else 0.055))
    return ["\n".join(textwrap.wrap(_plain(name), max(room, 1))) for name in names]


def _draw_lines(axes: Axes, chart: Chart, theme: Theme, places: Looks) -> None:
    """Draw the measured lines and the laws of a chart; points on named places are not joined."""
    names = measured(chart)
    laws = [line.name for line in chart.lines if line.kind == "law" and line.name[:1] != "_"]
    for line in chart.lines:
        if line.kind == "law":
            number = laws.index(line.name) if line.name in laws else 0
            dash = _LAWS[number % len(_LAWS)]
            axes.plot(
                line.x_K, line.y_K, color=theme.ink, linewidth=1.0, linestyle=dash,
                label=_plain(line.name), zorder=2,
            )  # fmt: skip
        else:
            look = Look(places[line.name], names.index(line.name), len(names))
            _draw_line(axes, line, theme, look, joined=not chart.names)


def _draw_line(axes: Axes, line: Line, theme: Theme, look: Look, joined: bool) -> None:
    """Draw a measured line with its intervals."""
    colour, name = theme.lines[look.colour], _plain(line.name)
    dash = _DASHES[look.again % len(_DASHES)]
    known = np.isfinite(line.low_K) & np.isfinite(line.high_K)
    if line.kind == "line":
        axes.plot(
            line.x_K, line.y_K, color=colour, linestyle=dash, linewidth=2, label=name, zorder=4,
            **_marks(look, len(line.x_K)),
        )  # fmt: skip
        axes.fill_between(
            line.x_K, line.low_K, line.high_K, where=known, color=colour, alpha=0.17, linewidth=0
        )
        return
    ends = np.where(known, [line.y_K - line.low_K, line.high_K - line.y_K], 0.0)
    axes.errorbar(
        line.x_K,
        line.y_K,
        yerr=np.maximum(ends, 0),
        color=colour,
        marker=_mark(look),
        markersize=5.5,
        linestyle=dash if joined else "none",
        linewidth=1.3,
        capsize=3,
        label=name,
        zorder=4,
    )


def _plain(text: str) -> str:
    """``text`` with ``$`` escaped, which starts a formula in Matplotlib."""
    return text.replace("$", r"\$")
