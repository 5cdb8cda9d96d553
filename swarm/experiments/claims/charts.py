"""The charts of a claim's page as data; ``page/pictures.py`` draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from swarm.common.statistics import Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """K points ``x_K``, ``y_K``, each with an interval from ``low_K`` to ``high_K`` (NaN: none).

    ``kind`` is ``line`` (intervals are a band), ``points`` (intervals are bars), or ``law`` (a thin
    line that is fitted, not measured).
    """

    name: str
    x_K: Floats
    y_K: Floats
    low_K: Floats
    high_K: Floats
    kind: Literal["line", "points", "law"] = "line"

    @classmethod
    def through(
        cls,
        name: str,
        x: Iterable[Any],
        y: Iterable[Interval],
        kind: Literal["line", "points"] = "line",
    ) -> Line:
        """The line through the means ``y`` at the places ``x``, with their intervals."""
        y_K, low_K, high_K = np.array([*y], np.float64).reshape(-1, 3).T
        return cls(name, np.array([*x], np.float64), y_K, low_K, high_K, kind)

    @classmethod
    def law(cls, name: str, x_K: Floats, y_K: Floats) -> Line:
        """A fitted curve, which has no intervals."""
        nothing = np.full(len(x_K), np.nan)
        return cls(
            name, np.asarray(x_K, np.float64), np.asarray(y_K, np.float64), nothing, nothing, "law"
        )

    @classmethod
    def fitted(
        cls,
        name: str,
        laws: Iterable[Callable[[Floats], Floats]],
        least: float,
        most: float,
        points: int = 60,
    ) -> Line:
        """The mean of fitted curves, of one seed each, at ``points`` places from ``least`` to
        ``most`` that are evenly spaced in logarithms; NaN where there is none."""
        x_K = np.geomspace(least, most, points)
        y_LK = np.array([law(x_K) for law in laws]).reshape(-1, points)
        return cls.law(name, x_K, y_LK.mean(0) if len(y_LK) else np.full(points, np.nan))


@dataclass(frozen=True)
class Chart:
    """One picture: a title, labels ``x`` and ``y`` of the axes, and lines. ``level`` draws a
    horizontal threshold with its name, ``at`` a vertical one. With ``names`` the places 0, 1, 2, …
    have these names, and points are not joined, as there is nothing between them."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    level: tuple[float, str] | None = None
    at: tuple[float, str] | None = None
    names: Sequence[str] = ()
