"""Checks of what the parts of a network return, right where it arrives, so that a fault is not
first noticed far away.

Every function raises a :class:`~swarm.common.errors.ConfigError` that names the part, its method
and the line.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swarm.common.plugin import returned, shape_of

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def truths_of(section: str, part: object, call: str, found: object, size: int) -> Bools:
    """Return what a churn, an outage or a clock returned, which must be a bool for each of ``size``
    devices or edges.
    """
    if isinstance(found, np.ndarray) and found.shape == (size,) and found.dtype == np.bool_:
        return found
    raise returned(
        section,
        part,
        call,
        f"returns {shape_of(found)}",
        f"bool numbers of shape [{size}] are needed",
    )


def seconds_of(delay: object, found: object, size: int) -> Floats:
    """Return what a delay returned, which must be seconds of at least 0 for each of ``size``
    messages.
    """
    if not isinstance(found, np.ndarray) or found.shape != (size,) or found.dtype.kind != "f":
        needed = f"floating-point numbers of shape [{size}] are needed"
        raise returned("delay", delay, "seconds", f"returns {shape_of(found)}", needed)
    if not (found >= 0).all():
        raise returned(
            "delay",
            delay,
            "seconds",
            f"returns {found[~(found >= 0)][0]:g}",
            "seconds are numbers ≥ 0",
        )
    return found
