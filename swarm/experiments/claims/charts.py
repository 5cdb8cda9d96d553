"""What is drawn on a claim's page: data only, the drawing is elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Points with an interval each; the ends are NaN where there is none.

    ``kind``: ``line`` (a band for the interval), ``points`` (a bar for it), ``law`` (a thin line:
    fitted, not measured).
    """

    name: str
    x_K: Floats
    y_K: Floats
    low_K: Floats
    high_K: Floats
    kind: Literal["line", "points", "law"] = "line"

    @classmethod
    def law(cls, name: str, x_K: Floats, y_K: Floats) -> Line:
        """A curve without an interval."""
        nothing = np.full(len(x_K), np.nan)
        return cls(
            name, np.asarray(x_K, np.float64), np.asarray(y_K, np.float64), nothing, nothing, "law"
        )


@dataclass(frozen=True)
class Chart:
    """One picture. ``level`` draws a horizontal threshold with its name, ``at`` a vertical one."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    level: tuple[float, str] | None = None
    at: tuple[float, str] | None = None
