"""The panels of a run without learning: how fast its devices come to one value, beside ρ."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from swarm.results.load import Run
from swarm.results.report.axes import INK, decorate, legend, line
from swarm.results.report.style import colours
from swarm.results.track.units import rho_of


def distance(axes: Axes, run: Run) -> None:
    """The consensus distance on a logarithmic axis beside ρᵗ."""
    decorate(axes, "Consensus distance, relative to the start", "round")
    rho = rho_of(run.summary or {})
    longest = 0.0
    for arm, (colour, _) in colours(run).items():
        r, relative = _distances(run, arm)
        longest = max(longest, float(r[-1]) if len(r) else 0.0)
        axes.plot(r, relative, label=legend(run, arm, None), **line(arm, run, colour, len(r)))
    if rho is not None and 0 < rho < 1 and longest > 0:
        r = np.arange(longest + 1)
        axes.plot(
            r,
            rho**r,
            color=INK,
            linestyle="dotted",
            linewidth=1.6,
            label=f"{'lossless theory ' if without_loss(run) else ''}ρᵗ, ρ = {rho:.6f}",
            zorder=5,
        )
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def ratio(axes: Axes, run: Run) -> None:
    """The quotient of one distance and the one before, beside ρ."""
    decorate(axes, "Contraction per round", "round")
    rho = rho_of(run.summary or {})
    for arm, (colour, _) in colours(run).items():
        r, relative = _distances(run, arm)
        gaps = np.diff(r)
        if len(gaps):
            axes.plot(
                r[1:],
                (relative[1:] / relative[:-1]) ** (1 / gaps),
                **line(arm, run, colour, len(r)),
            )
    if rho is not None:
        axes.axhline(rho, color=INK, linestyle="dotted", linewidth=1.6, zorder=5)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, rho - 0.05), max(high, rho + 0.05))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def without_loss(run: Run) -> bool:
    """Whether messages of the run are lost, late or compressed, while ρ is that of a network that
    loses nothing."""
    return bool((run.summary or {}).get("rho_lossless"))


def _distances(run: Run, arm: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rounds and consensus distances over the first one, while above zero."""
    distance = run.distance.mean
    rows = run.arm(arm).dropna(subset=[distance])
    rows = rows[rows[distance] > 0]
    distance_R = rows[distance].to_numpy(float)
    return rows["round"].to_numpy(float), distance_R / distance_R[0] if len(
        distance_R
    ) else distance_R
