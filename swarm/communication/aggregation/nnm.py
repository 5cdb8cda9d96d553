"""Nearest-neighbour mixing (NNM).

Allouah, Farhadkhani, Guerraoui, Gupta, Pinot & Stephan, *Fixing by mixing: a recipe for optimal
Byzantine ML under heterogeneity*, AISTATS 2023 (arXiv 2302.01772).
"""

from __future__ import annotations

from dataclasses import replace

from swarm.communication.aggregation.pre_aggregator import PreAggregator
from swarm.communication.aggregation.stack import Stack, smallest


class NearestNeighbourMixing(PreAggregator):
    """Each of the n rows becomes the mean of the n − f rows nearest to it, itself included; f is
    that of the aggregation rule. The row that a device trusts becomes the mixture of its own row,
    if that is among the n.
    """

    def __call__(self, stack: Stack) -> Stack:
        """See :meth:`PreAggregator.__call__`."""
        near_nmG = smallest(stack.squared_distances().swapaxes(0, 1), stack.n - stack.f)
        rows_nGM = stack.means_around(stack.rows_nGM[0], near_nmG.swapaxes(0, 1))
        if not stack.own_first:  # the first row is a mixture of any rows, and no one to trust
            return replace(stack, rows_nGM=rows_nGM)
        return replace(stack, rows_nGM=rows_nGM, own_GM=rows_nGM[0])
