"""Draws ``sweep.png``, which shows a sweep in one picture."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from swarm.experiments.sweep.gather import ANY, SweepResults, label
from swarm.results.report.axes import INK, decorate
from swarm.results.report.style import SOFT, muted, muted_line
from swarm.results.track.units import human_bytes

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5195", "#8c564b")
Floats = NDArray[np.float64]
_MARKS = "osD^vPX*"
MOST_NAMED = 16  # combinations with a line in the legend


def draw(found: SweepResults, title: str, subtitle: str) -> bytes:
    """A PNG of 1,430 × 1,040 pixels: the score by round, by bytes and by virtual seconds, each the
    mean over seeds with its 95% interval, and the final score against the spectral gap. Controls
    that are the same in all combinations are drawn once."""
    figure = Figure(figsize=(11, 8), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    shown = [label(values) for values in found.combinations[:MOST_NAMED]] + found.arms[1:]
    columns = max(1, min(5, 150 // (12 + max(map(len, shown), default=0))))
    top = 0.865 - 0.026 * ((len(shown) - 1) // columns)
    figure.subplots_adjust(
        left=0.07, right=0.985, top=top - 0.03, bottom=0.07, wspace=0.17, hspace=0.36
    )
    (rounds, sent), (seconds, gap) = figure.subplots(2, 2)
    _curves(rounds, found, "round", "By rounds", "round")
    _curves(
        sent,
        found,
        "bytes_total",
        "By what was sent (straight across: sends nothing)",
        "bytes sent by all devices",
    )
    _curves(seconds, found, "virtual_s", "By virtual time", "virtual seconds")
    _against_gap(gap, found)
    figure.text(0.012, 0.985, _plain(title), fontsize=13, fontweight="bold", color=INK, va="top")
    figure.text(0.012, 0.949, _plain(subtitle), fontsize=10, color=SOFT, va="top")
    handles, labels = rounds.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(0.004, 0.928),
            ncols=columns,
            frameon=False,
            fontsize=9,
            handlelength=2.4,
            columnspacing=1.6,
        )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _colour(found: SweepResults, place: int) -> Any:
    if len(found.combinations) <= len(_COLOURS):
        return _COLOURS[place]
    return matplotlib.colormaps["viridis"](0.95 * place / (len(found.combinations) - 1))


def _rows(frame: pd.DataFrame, values: dict[str, str], arm: str) -> pd.DataFrame:
    keep = frame["arm"] == arm
    for key, value in values.items():
        keep &= frame[key] == value
    rows: pd.DataFrame = frame[keep]
    return rows


def _curves(axes: Axes, found: SweepResults, x: str, title: str, x_label: str) -> None:
    decorate(axes, title, x_label)
    axes.set_ylabel(_name(found))
    if x not in found.curves:
        return
    log = x == "bytes_total"
    for i, values in enumerate(found.combinations):
        rows = _rows(found.curves, values, found.lead)
        rows = rows[rows[x] > 0] if log else rows
        name = label(values) or found.lead
        shown = i < MOST_NAMED
        style: dict[str, Any] = {"color": _colour(found, i), "linewidth": 2.0, "zorder": 4}
        axes.plot(
            rows[x],
            rows[found.score],
            label=_plain(name) if shown else "_",
            marker=_lone(rows),
            **style,
        )
        _band(axes, rows, x, found.score, style["color"])
        for arm in found.arms[1:]:
            if arm not in found.common:
                # with several combinations a control has the colour of its combination
                one = len(found.combinations) == 1
                colour = muted(arm, found.presentation) if one else _colour(found, i)
                _control(axes, found, values, arm, x, colour, arm if i == 0 else "_")
    for arm in found.common:
        colour = muted(arm, found.presentation)
        _control(axes, found, dict.fromkeys(found.keys, ANY), arm, x, colour, arm)
    _scales(axes, found, x)


def _control(
    axes: Axes,
    found: SweepResults,
    values: dict[str, str],
    arm: str,
    x: str,
    colour: Any,
    name: str,
) -> None:
    """Draw a control as a curve with its band; against bytes, if it sends none, as a level."""
    rows = _rows(found.curves, values, arm)
    dash = muted_line(arm, found.presentation)
    style = {"color": colour, "linestyle": dash, "linewidth": 1.4}
    paid = rows[rows[x] > 0] if x == "bytes_total" else rows
    if len(paid):
        axes.plot(paid[x], paid[found.score], label=_plain(name), marker=_lone(paid), **style)
        _band(axes, paid, x, found.score, colour)
    elif len(rows):
        last = rows.iloc[-1]
        axes.axhline(last[found.score], label=_plain(name), **style)
        if np.isfinite(last[f"{found.score}_low"]):
            axes.axhspan(
                last[f"{found.score}_low"],
                last[f"{found.score}_high"],
                color=colour,
                alpha=0.12,
                linewidth=0,
            )


def _lone(rows: pd.DataFrame) -> str | None:
    """A marker for a curve of a single point, which would be invisible as a line."""
    return "o" if len(rows) == 1 else None


def _band(axes: Axes, rows: pd.DataFrame, x: str, score: str, colour: Any) -> None:
    rows = rows.dropna(subset=[f"{score}_low"])
    if len(rows):
        axes.fill_between(
            rows[x],
            rows[f"{score}_low"],
            rows[f"{score}_high"],
            color=colour,
            alpha=0.16,
            linewidth=0,
        )


def _scales(axes: Axes, found: SweepResults, x: str) -> None:
    if x == "bytes_total":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value)))
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=x == "round"))
    _score_axis(axes, found)


def _score_axis(axes: Axes, found: SweepResults) -> None:
    """Set the limits of the score axis, which are the same in all panels; a distance, which falls
    by powers of ten, has a logarithmic axis.

    The limits cover the intervals only as far as there are scores, and leave out few very bad
    rounds, as one round of R² = -50 would flatten every curve."""
    y_N = found.curves[found.score].dropna().to_numpy(float)
    if found.main.logarithmic:
        if (y_N > 0).any():
            axes.set_yscale("log")
    elif len(y_N):
        ends_N = found.curves[[f"{found.score}_low", f"{found.score}_high"]].to_numpy(float).ravel()
        ends_N = ends_N[np.isfinite(ends_N)].clip(min(0.0, y_N.min()), max(1.0, y_N.max()))
        all_N = np.concatenate([y_N, ends_N])
        low, high = max(all_N.min(), min(-1.0, float(np.quantile(y_N, 0.2)))), all_N.max()
        margin = 0.05 * max(high - low, 0.05)
        axes.set_ylim(low - margin, high + margin)


def _against_gap(axes: Axes, found: SweepResults) -> None:
    """Draw the final scores against the spectral gap; side by side if the gap is the same for all
    combinations, and for all arms if there is one combination."""
    one = len(found.combinations) == 1
    rows = found.table if one else found.table[found.table["arm"] == found.lead]
    rows = rows.reset_index(drop=True)
    gaps = rows["spectral_gap"]
    by_gap = not one and gaps.notna().sum() > 1 and gaps.nunique() > 1
    x_N = gaps.to_numpy(float) if by_gap else np.arange(len(rows), dtype=float)
    side_by_side = "of each arm" if one else "of each combination"
    title = "against the spectral gap 1 − ρ" if by_gap else side_by_side
    x_label = "spectral gap of the mixing matrix" if by_gap else ""
    decorate(axes, f"Final {_name(found)} {title}", x_label)
    _finals(axes, found, rows, x_N)
    if by_gap and (gaps.dropna() > 1e-12).all():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    if not by_gap:
        names = list(rows["arm"]) if one else [label(values) for values in found.combinations]
        _name_places(axes, names, x_N)
    for arm in () if one else found.common:
        level = float(found.table.loc[found.table["arm"] == arm, found.score].iloc[0])
        colour, dash = muted(arm, found.presentation), muted_line(arm, found.presentation)
        axes.axhline(level, color=colour, linestyle=dash, linewidth=1.4)
    axes.set_ylabel(_name(found))


def _finals(axes: Axes, found: SweepResults, rows: pd.DataFrame, x_N: Floats) -> None:
    """Draw the final score of each row, with its interval."""
    score = found.score
    for i, row in rows.iterrows():
        place = int(str(i))
        if not np.isfinite(x_N[place]):
            continue
        half = (row[f"{score}_high"] - row[f"{score}_low"]) / 2
        leads = row["arm"] == found.lead
        axes.errorbar(
            x_N[place],
            row[score],
            yerr=None if np.isnan(half) else half,
            capsize=4,
            markersize=7,
            marker=_MARKS[place % len(_MARKS)],
            color=_colour(found, place) if leads else muted(row["arm"], found.presentation),
            linestyle="none",
        )


def _name_places(axes: Axes, names: list[str], x_N: Floats) -> None:
    """Name the points that stand side by side, if there is room for the names."""
    few = len(names) <= 8
    axes.set_xticks(x_N if few else [], [*map(_plain, names)] if few else [])
    axes.tick_params(axis="x", labelrotation=20 if len(names) > 3 else 0)
    axes.margins(x=0.15)


def _name(found: SweepResults) -> str:
    return found.main.label


def _plain(text: str) -> str:
    """``text`` with ``$`` escaped, which starts a formula in Matplotlib."""
    return text.replace("$", r"\$")
