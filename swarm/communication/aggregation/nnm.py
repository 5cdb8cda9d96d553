"""Nearest-neighbour mixing (NNM).

Allouah, Farhadkhani, Guerraoui, Gupta, Pinot & Stephan, *Fixing by mixing: a recipe for optimal
Byzantine ML under heterogeneity*, AISTATS 2023 (arXiv 2302.01772).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from swarm.communication.aggregation.pre_aggregator import PreAggregator
from swarm.communication.aggregation.stack import Stack, devices_at_once, smallest

_PAIR = 6.5  # numbers of a row's size for each pair of rows, as distances have 64 bits; measured


class NearestNeighbourMixing(PreAggregator):
    """Each of the n rows becomes the mean of the n − f rows nearest to it, itself included; f is
    that of the aggregation rule. The row that a device trusts becomes the mixture of its own row,
    if that is among the n.
    """

    def held_numbers(self, rows: int, width: int) -> float:
        """See :meth:`PreAggregator.held_numbers`, and the distances of all pairs."""
        pairs = rows * rows * devices_at_once(rows, width)
        return super().held_numbers(rows, width) + _PAIR * pairs

    def __call__(self, stack: Stack) -> Stack:
        """See :meth:`PreAggregator.__call__`."""
        apart_nnG = stack.squared_distances().swapaxes(0, 1)
        near_nmG = smallest(apart_nnG, stack.n - stack.f)
        alike_nG = np.take_along_axis(apart_nnG, near_nmG[-1:], 0)[0] == 0
        rows_nGM = stack.means(near_nmG.swapaxes(0, 1), alike_nG)
        if not stack.own_first:  # the first row is a mixture of any rows, and no one to trust
            return replace(stack, rows_nGM=rows_nGM)
        return replace(stack, rows_nGM=rows_nGM, own_GM=rows_nGM[0])
