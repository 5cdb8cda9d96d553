"""The panel of a sweep's final scores: against the spectral gap, or side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from swarm.experiments.sweep.gather import SweepResults, label, rows_of
from swarm.experiments.sweep.picture.looks import Looks
from swarm.results.report.axes import decorate
from swarm.results.report.style import literal, muted, muted_line

Floats = NDArray[np.float64]
_MOST_NAMES = 8
_APART = 0.05  # of the axis: how wide the points of one spectral gap are spread


def draw_finals(axes: Axes, found: SweepResults, looks: Looks) -> None:
    """Draw the final scores with their intervals: against the spectral gap if the combinations
    differ in it, else side by side, one place for each colour; of a single combination, the arms
    side by side. Points of one gap stand a little apart.
    """
    if len(found.combinations) == 1:
        _of_arms(axes, found)
        return
    leads = found.table[found.table["arm"] == found.lead].reset_index(drop=True)
    gaps = leads["spectral_gap"]
    by_gap = bool(gaps.notna().all()) and gaps.nunique() > 1
    places = [looks.column(values) for values in found.combinations]
    if by_gap:
        decorate(axes, f"Final {found.main.label} against the spectral gap 1 − ρ",
                 "spectral gap of the mixing matrix")  # fmt: skip
        x_N = _spread(axes, gaps.to_numpy(float))
    else:
        each = "value" if looks.factorial else "combination"
        decorate(axes, f"Final {found.main.label} of each {each}", "")
        x_N = np.array([place + aside for place, aside in places])
        _name_places(axes, [label(values) for values in looks.colours])
    for values, x in zip(found.combinations, x_N, strict=True):
        _of_combination(axes, found, looks, values, float(x))
    for arm in found.common:
        level = float(found.table.loc[found.table["arm"] == arm, found.score].iloc[0])
        axes.axhline(level, linewidth=1.4, **_line(found, arm))
    axes.set_ylabel(found.main.label)


def _of_arms(axes: Axes, found: SweepResults) -> None:
    decorate(axes, f"Final {found.main.label} of each arm", "")
    rows = found.table.to_dict("records")
    _name_places(axes, [str(row["arm"]) for row in rows])
    look = Looks(found.combinations)(found.combinations[0])
    for place, row in enumerate(rows):
        lead = row["arm"] == found.lead
        colour = look.colour if lead else muted(str(row["arm"]), found.presentation)
        _point(axes, found, row, float(place), color=colour, marker="osD^vPX*"[place % 8])
    axes.set_ylabel(found.main.label)


def _of_combination(
    axes: Axes, found: SweepResults, looks: Looks, values: dict[str, str], x: float
) -> None:
    """The point of the leading arm, and hollow ones of the controls of the combination."""
    look = looks(values)
    for arm in found.arms:
        if arm in found.common:
            continue
        hollow = {} if arm == found.lead else {"markerfacecolor": "white", "markersize": 5}
        rows = rows_of(found, "table", values, arm)
        for place in range(len(rows)):
            row = {name: rows[name][place] for name in rows.table}
            _point(axes, found, row, x, color=look.colour, marker=look.mark, **hollow)


def _point(axes: Axes, found: SweepResults, row: dict[Any, Any], x: float, **style: Any) -> None:
    """The final score of a row, with its interval."""
    score = found.score
    half = (row[f"{score}_high"] - row[f"{score}_low"]) / 2
    axes.errorbar(
        x,
        row[score],
        yerr=None if np.isnan(half) else half,
        capsize=4,
        linestyle="none",
        **{"markersize": 7, **style},
    )


def _spread(axes: Axes, gap_N: Floats) -> Floats:
    """The places of the spectral gaps on an axis, which is logarithmic if all are above zero; those
    of one gap are spread around it.
    """
    aside_N = np.zeros(len(gap_N))
    for gap in np.unique(gap_N):
        alike = np.flatnonzero(gap_N == gap)
        if len(alike) > 1:
            aside_N[alike] = np.linspace(-0.5, 0.5, len(alike))
    if not (gap_N > 1e-12).all():
        return gap_N + aside_N * _APART * float(np.ptp(gap_N))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    log_N = np.log(gap_N)
    return np.exp(log_N + aside_N * _APART * float(np.ptp(log_N)))


def _name_places(axes: Axes, names: list[str]) -> None:
    """Name the places that stand side by side, if there is room for the names."""
    few = len(names) <= _MOST_NAMES
    axes.set_xticks([*range(len(names))] if few else [], [*map(literal, names)] if few else [])
    axes.tick_params(axis="x", labelrotation=20 if len(names) > 3 else 0)
    axes.margins(x=0.15)


def _line(found: SweepResults, arm: str) -> dict[str, Any]:
    presentation = found.presentation
    return {"color": muted(arm, presentation), "linestyle": muted_line(arm, presentation)}
