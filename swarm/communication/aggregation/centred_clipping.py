"""Centred clipping: every row moves the centre by a bounded distance only.

Karimireddy, He & Jaggi, *Learning from history for Byzantine robust optimization*, ICML 2021
(arXiv 2012.10333).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.robust import RobustRule, Unsafe
from swarm.communication.aggregation.stack import Floats, Stack, squared_lengths


class CentredClipping(RobustRule):
    """v ← v + (1/n) Σ_j (x_j − v) · min(1, τ/‖x_j − v‖) over the n rows of a device, ``iterations``
    times; the first v is the device's own row.

    A hostile row moves v by at most τ/n in an iteration, and all rows together by at most τ. The
    result does not depend on f, which is only held against the graph.
    """

    copies = 2.2
    partial_rows = "completed"
    uses_f = False
    weighs = False

    def __init__(
        self,
        radius: float = 1.0,
        iterations: int = 1,
        f: float = 0,
        unsafe: Unsafe = "refuse",
    ) -> None:
        """Set the radius τ; raises :class:`ConfigError` unless it is above 0, and for less than one
        iteration. See :class:`RobustRule` for the others.
        """
        super().__init__(f, unsafe)
        if not radius > 0:
            raise ConfigError("radius", radius, "must be a distance above 0")
        if iterations < 1:
            raise ConfigError("iterations", iterations, "must be a whole number of at least 1")
        self.radius, self.iterations = radius, iterations

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`: fewer than half of the rows."""
        return (rows - 1) // 2

    def bears(self, rows: int) -> int:
        """See :meth:`Aggregator.bears`: fewer than half of the rows."""
        return self.most(rows)

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        centre_GM = stack.own_GM
        for _ in range(self.iterations):
            apart_nGM = stack.rows_nGM - centre_GM
            weight_nG = clipped(np.sqrt(squared_lengths(apart_nGM)), self.radius) / stack.n
            centre_GM = stack.toward(centre_GM, apart_nGM, weight_nG)
        return centre_GM


def clipped(length_nG: Floats, radius: Floats | float) -> Floats:
    """Return min(1, τ/length), by which differences of these lengths are shortened to τ; 0 of a
    length that is infinite."""
    finite_nG = np.isfinite(length_nG)
    long_nG = np.where(finite_nG & (length_nG > radius), length_nG, 1.0)
    found: Floats = np.where(length_nG > radius, radius / long_nG, 1.0) * finite_nG
    return found
