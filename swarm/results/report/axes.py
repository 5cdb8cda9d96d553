"""What the panels of all pictures have in common: frame, scale, the line and the name of an arm."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from swarm.results.columns import Score
from swarm.results.load import Run
from swarm.results.report.style import SOFT, dashes, literal
from swarm.results.track.units import human_score

INK, GRID = "#222222", "#e4e4e4"


def legend(run: Run, arm: str, score: Score | None) -> str:
    """The entry of an arm: its name, its final score, and whether it diverged."""
    final = run.final(arm)
    text = arm if score is None else f"{arm}  {human_score(final.get(score.mean))}"
    return literal(text + ("  ✕ diverged" if final.get("diverged") else ""))


def line(arm: str, run: Run, colour: str, points: int) -> dict[str, Any]:
    """Line properties: the leading arm stands out, a curve of few points shows them."""
    front = arm == run.lead
    return {
        "color": colour,
        "linestyle": dashes(arm, run),
        "linewidth": 2.6 if front else 1.6,
        "zorder": 4 if front else 3,
        "marker": "o" if points < 3 else None,
        "markersize": 6,
    }


def score_limits(axes: Axes, ys: list[NDArray[np.float64]]) -> None:
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


def empty(axes: Axes, text: str) -> None:
    """A sentence in place of a panel."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=SOFT, transform=axes.transAxes)
