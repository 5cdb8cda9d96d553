"""The coordinate-wise median.

Yin, Chen, Ramchandran & Bartlett, *Byzantine-robust distributed learning: towards optimal
statistical rates*, ICML 2018 (arXiv 1803.01498).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from swarm.communication.aggregation.coordinates import CoordinateRule
from swarm.communication.aggregation.robust import Unsafe


class CoordinateMedian(CoordinateRule):
    """Every coordinate becomes the median of the n rows that a device has, its own and those that
    it heard, with equal weights. For an even n it is the mean of the two middle values.

    Fewer than n/2 hostile rows cannot move a coordinate out of the range of the honest rows. The
    median does not depend on f, which is only held against the graph.
    """

    uses_f = False

    def __init__(self, f: float = 0, unsafe: Unsafe = "refuse") -> None:
        """See :class:`RobustRule`."""
        super().__init__(f, unsafe)

    def bears(self, rows: int) -> int:
        """See :meth:`Aggregator.bears`: fewer than half of the rows."""
        return self.most(rows)

    def kept(self, rows: int, f: int) -> range:
        """See :meth:`CoordinateRule.kept`: the one or two in the middle."""
        return range((rows - 1) // 2, rows // 2 + 1)

    def of_sorted(self, middle: Sequence[Tensor]) -> Tensor:
        """See :meth:`CoordinateRule.of_sorted`."""
        return middle[0] if len(middle) == 1 else (middle[0] + middle[1]) / 2
