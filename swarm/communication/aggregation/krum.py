"""Krum and Multi-Krum: the rows whose nearest other rows are nearest.

Blanchard, El Mhamdi, Guerraoui & Stainer, *Machine learning with adversaries: Byzantine tolerant
gradient descent*, NeurIPS 2017 (arXiv 1703.02757).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.robust import RobustRule, Unsafe
from swarm.communication.aggregation.stack import Floats, Ints, Stack, smallest


class Krum(RobustRule):
    """The row with the lowest score: the sum of its squared distances to the n − f − 2 nearest of
    the other rows. Of equal scores the first counts, and the own row is the first of all.

    It needs n ≥ 2f + 3.
    """

    symmetric = True
    weighs = False
    copies, pairs = 1.2, 5.5

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`."""
        return (rows - 3) // 2

    def selected(self, rows: int, f: int) -> int:
        """Return of how many rows the mean is taken."""
        return 1

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        score_nG = krum_scores(stack.squared_distances(), stack.f)
        return stack.mean_of(self._chosen(score_nG, stack.f))

    def _chosen(self, score_nG: Floats, f: int) -> Ints:
        return smallest(score_nG, self.selected(len(score_nG), f))


class MultiKrum(Krum):
    """The mean of the m rows with the lowest scores of :class:`Krum`; m is n − f, or ``selected``
    if that is fewer."""

    copies = 2

    def __init__(
        self, f: float = 1, selected: int | None = None, unsafe: Unsafe = "refuse"
    ) -> None:
        """Set f and m; raises :class:`ConfigError` for an m below 1. See :class:`RobustRule`."""
        super().__init__(f, unsafe)
        if selected is not None and selected < 1:
            valid = "must be a whole number of at least 1, or null for all but f of the rows"
            raise ConfigError("selected", selected, valid)
        self.at_most, self.leaves_out = selected, selected is None

    def selected(self, rows: int, f: int) -> int:
        """See :meth:`Krum.selected`."""
        return rows - f if self.at_most is None else min(self.at_most, rows - f)


def krum_scores(squared_nnG: Floats, f: int) -> Floats:
    """Return the scores of n rows of G devices, ``[n, G]``, given their squared distances."""
    n = len(squared_nnG)
    # the nearest of all is the row itself, at a distance of 0; sums are taken one by one
    total_nnG = np.cumsum(np.sort(squared_nnG, axis=0), axis=0)
    score_nG: Floats = total_nnG[max(0, n - f - 2)]
    return score_nG
