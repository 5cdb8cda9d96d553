"""The coordinate-wise median.

Yin, Chen, Ramchandran & Bartlett, *Byzantine-robust distributed learning: towards optimal
statistical rates*, ICML 2018 (arXiv 1803.01498).
"""

from __future__ import annotations

from torch import Tensor

from swarm.communication.aggregation.base import Aggregator, Heard


class CoordinateMedian(Aggregator):
    """Every coordinate becomes the median of the n rows that a device has, its own and those that
    it heard, with equal weights. For an even n it is the mean of the two middle values.

    Fewer than n/2 bad rows cannot move a coordinate out of the range of the good rows.
    """

    def combine(self, heard: Heard) -> Tensor:
        """See :meth:`Aggregator.combine`."""
        sorted_nM = heard.inputs_nM.sort(dim=0).values
        n = len(sorted_nM)
        return (sorted_nM[(n - 1) // 2] + sorted_nM[n // 2]) / 2
