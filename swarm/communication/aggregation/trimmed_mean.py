"""The coordinate-wise trimmed mean.

Yin, Chen, Ramchandran & Bartlett, *Byzantine-robust distributed learning: towards optimal
statistical rates*, ICML 2018 (arXiv 1803.01498).
"""

from __future__ import annotations

import math

from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.base import Aggregator, Heard
from swarm.communication.topology.graph import Graph


class TrimmedMean(Aggregator):
    """The mean of every coordinate over the n rows that a device has, its own and those that it
    heard, without the ⌊β·n⌋ largest and the ⌊β·n⌋ smallest values; the others have equal weights.

    Up to ⌊β·n⌋ bad rows cannot move a coordinate out of the range of the good rows.
    """

    def __init__(self, share: float = 0.25) -> None:
        """Set the fraction β; raises :class:`ConfigError` unless 0 < β < 1/2."""
        if not 0 < share < 0.5:
            raise ConfigError("share", share, "must lie between 0 and 0.5, both excluded")
        self.share = share

    def trimmed(self, rows: int) -> int:
        """Return how many of ``rows`` values are left out at each end."""
        return math.floor(self.share * rows + 1e-9)  # 0.333… · 3 must be 1, despite rounding

    def combine(self, heard: Heard) -> Tensor:
        """See :meth:`Aggregator.combine`."""
        sorted_nM = heard.inputs_nM.sort(dim=0).values
        n = len(sorted_nM)
        cut = self.trimmed(n)
        total_M = sorted_nM[cut].clone()
        for row_M in sorted_nM[cut + 1 : n - cut]:  # one by one, so that bits do not depend on n
            total_M += row_M
        return total_M / (n - 2 * cut)

    def check(self, graph: Graph) -> None:
        """Refuse a graph on which no device has enough neighbours to leave out a value, with a
        :class:`ConfigError`.
        """
        most = int(graph.degree_in.max(initial=0)) + 1
        if most > 1 and not self.trimmed(most):
            least = math.ceil(1000 / most) / 1000
            more = "a topology with more links" if most < graph.n else "more devices"
            would = f"at least {least:g} would do, or {more}"
            if least >= 0.5:  # which is refused
                would = f"{more} would do"
            valid = f"leaves nothing out, as no device combines more than {most} rows; {would}"
            raise ConfigError("aggregator.share", self.share, valid)
