"""The coordinate-wise trimmed mean.

Yin, Chen, Ramchandran & Bartlett, *Byzantine-robust distributed learning: towards optimal
statistical rates*, ICML 2018 (arXiv 1803.01498).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from swarm.communication.aggregation.coordinates import CoordinateRule
from swarm.communication.aggregation.robust import Unsafe


class TrimmedMean(CoordinateRule):
    """The mean of every coordinate over the n rows that a device has, its own and those that it
    heard, without the f largest and the f smallest values; the others have equal weights.

    Up to f hostile rows cannot move a coordinate out of the range of the honest rows.
    """

    leaves_out = True

    def __init__(self, f: float = 0.25, unsafe: Unsafe = "refuse") -> None:
        """See :class:`RobustRule`."""
        super().__init__(f, unsafe)

    def kept(self, rows: int, f: int) -> range:
        """See :meth:`CoordinateRule.kept`: all but f at each end."""
        return range(f, rows - f)

    def of_sorted(self, middle: Sequence[Tensor]) -> Tensor:
        """See :meth:`CoordinateRule.of_sorted`."""
        total = middle[0].clone()
        for each in middle[1:]:  # one by one, so that bits do not depend on their number
            total += each
        # rounding must not lead out of the range, so that equal rows stay as they are
        return (total / len(middle)).clamp(middle[0], middle[-1])
