"""The panels of a sweep's curves: the score by round, by bytes and by virtual seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from swarm.experiments.sweep.gather import ANY, SweepResults, rows_of
from swarm.experiments.sweep.picture.looks import Look, Looks
from swarm.experiments.sweep.rows import Rows
from swarm.results.report.axes import decorate
from swarm.results.report.style import muted, muted_line
from swarm.results.track.units import human_bytes

_MARKS_A_CURVE = 7


def draw_curves(
    axes: Axes, found: SweepResults, looks: Looks, x: str, title: str, x_label: str
) -> None:
    """Draw the score of all combinations and controls against the column ``x``."""
    decorate(axes, title, x_label)
    axes.set_ylabel(found.main.label)
    if x not in found.curves or found.curves.empty:  # all have diverged, or none has a score
        return
    one = len(found.combinations) == 1
    for values in found.combinations:
        rows = rows_of(found, "curves", values, found.lead)
        rows = rows.where(rows[x] > 0) if x == "bytes_total" else rows
        look = looks(values)
        axes.plot(
            rows[x],
            rows[found.score],
            color=look.colour,
            linestyle=look.dash,
            linewidth=2.0,
            zorder=4,
            **_marks(found, look, len(rows)),
        )
        _band(axes, found, rows, x, look.colour)
        for arm in found.arms[1:]:
            if arm not in found.common:
                # with several combinations a control has colour and marker of its combination
                _control(axes, found, values, arm, x, None if one else look)
    for arm in found.common:
        _control(axes, found, dict.fromkeys(found.keys, ANY), arm, x, None)
    _scales(axes, found, x)


def _marks(found: SweepResults, look: Look, points: int) -> dict[str, Any]:
    """Markers at some rounds, for each combination at others, so that a curve which lies on another
    can be seen; all of a curve of few points, which would be invisible as a line.
    """
    count = len(found.combinations)
    if count == 1:
        return {"marker": "o" if points == 1 else None}
    every = max(1, -(-points // _MARKS_A_CURVE))
    start = every * look.turn // count
    return {"marker": look.mark, "markersize": 5.5, "markevery": (start, every), **_EDGE}


_EDGE = {"markeredgecolor": "white", "markeredgewidth": 0.5}


def _control(
    axes: Axes, found: SweepResults, values: dict[str, str], arm: str, x: str, look: Look | None
) -> None:
    """Draw a control as a curve with its band; against bytes, if it sends none, as a level.

    One of a combination has its colour, and its marker without a filling.
    """
    rows = rows_of(found, "curves", values, arm)
    colour = look.colour if look else muted(arm, found.presentation)
    dash = muted_line(arm, found.presentation)
    style: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.4}
    paid = rows.where(rows[x] > 0) if x == "bytes_total" else rows
    if len(paid):
        marks: dict[str, Any] = {"marker": "o" if len(paid) == 1 else None}
        if look:
            marks = _marks(found, look, len(paid)) | {
                "markersize": 4.5,
                "markerfacecolor": "white",
                "markeredgecolor": colour,
                "markeredgewidth": 1.0,
            }
        axes.plot(paid[x], paid[found.score], **style, **marks)
        _band(axes, found, paid, x, colour)
    elif len(rows):
        score = found.score
        last, *ends = (rows[f"{score}{end}"][-1] for end in ("", "_low", "_high"))
        axes.axhline(last, **style)
        if np.isfinite(ends[0]):
            axes.axhspan(*ends, color=colour, alpha=0.75 * _alpha(found), linewidth=0)


def _alpha(found: SweepResults) -> float:
    """The opacity of an interval: many that lie on one another must not cover the curves."""
    return 0.16 * min(1.0, 4 / len(found.combinations)) if found.combinations else 0.16


def _band(axes: Axes, found: SweepResults, rows: Rows, x: str, colour: Any) -> None:
    low, high = f"{found.score}_low", f"{found.score}_high"
    rows = rows.where(~np.isnan(rows[low]))
    if len(rows):
        alpha = _alpha(found)
        axes.fill_between(rows[x], rows[low], rows[high], color=colour, alpha=alpha, linewidth=0)


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
