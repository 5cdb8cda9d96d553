"""Nearest-neighbour averaging around the own row (MoNNA).

Farhadkhani, Guerraoui, Gupta, Hoang, Pinot & Stephan, *Robust collaborative learning with linear
gradient overhead*, ICML 2023 (arXiv 2209.10931).
"""

from __future__ import annotations

from torch import Tensor

from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.aggregation.stack import Stack, smallest, squared_lengths


class Monna(RobustRule):
    """The mean of those n − f of the n rows of a device that are nearest to its own row, which is
    one of them.

    A hostile row counts only if it is at most as far as an honest one that is left out. In MoNNA
    devices also learn with momentum, which the optimiser decides.
    """

    copies = 2.2
    leaves_out = True
    weighs = False

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`: fewer than half of the rows."""
        return (rows - 1) // 2

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        apart_nG = squared_lengths(stack.rows_nGM - stack.own_GM)
        return stack.mean_of(smallest(apart_nG, stack.n - stack.f))
