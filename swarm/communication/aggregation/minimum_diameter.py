"""Minimum-diameter averaging (MDA).

El Mhamdi, Guerraoui, Guirguis, Hoang & Rouault, *Genuinely distributed Byzantine machine learning*,
PODC 2020 (arXiv 1905.03853); the estimator is Rousseeuw's (1985).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.names import titled
from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.aggregation.stack import Stack

SUBSETS = 10_000  # which take as long as the rest of a round
_AT_ONCE = 100_000  # distances


class MinimumDiameter(RobustRule):
    """The mean of those n − f of the n rows of a device whose largest distance is smallest.

    All subsets are looked at, so that a graph is refused where a device has too many of them. Of
    equal subsets the first counts, in the order of the rows.
    """

    symmetric = True
    weighs = False
    copies, pairs = 2, 3
    leaves_out = True

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`: fewer than half of the rows."""
        return (rows - 1) // 2

    def check_rows(self, rows: int, who: str) -> None:
        """See :meth:`RobustRule.check_rows`: devices with more than ``SUBSETS`` subsets are
        refused."""
        f = self.usable(rows, 0) or 0
        if comb(rows, f) > SUBSETS:
            raise _too_many_subsets(self.f, rows, f, who)

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        if comb(stack.n, stack.f) > SUBSETS:  # a graph that changes may come to that later
            who = titled(int(stack.device_G[0]), None)
            raise _too_many_subsets(self.f, stack.n, stack.f, who)
        subset_Sm = subsets(stack.n, stack.n - stack.f)
        apart_nnG = stack.squared_distances()
        widest_SG = np.zeros((len(subset_Sm), apart_nnG.shape[2]))
        a, b = np.triu_indices(stack.n - stack.f, 1)
        many = max(1, _AT_ONCE // widest_SG.size)
        for at in range(0, len(a), many):
            one_Sp, other_Sp = subset_Sm[:, a[at : at + many]], subset_Sm[:, b[at : at + many]]
            np.maximum(widest_SG, apart_nnG[one_Sp, other_Sp].max(1), out=widest_SG)
        return stack.mean_of(subset_Sm[widest_SG.argmin(0)].T)


def _too_many_subsets(f: float, rows: int, of: int, who: str) -> ConfigError:
    valid = (
        f"makes {comb(rows, of):,} subsets of the {rows} rows that {who} combines, and at most"
        f" {SUBSETS:,} are looked at; a smaller f or a topology with fewer links would do"
    )
    return ConfigError("aggregator.f", f, valid)


@lru_cache
def subsets(n: int, size: int) -> npt.NDArray[np.int64]:
    """Return all subsets of ``size`` of the numbers below ``n``, ``[S, size]``, in order."""
    return np.array(list(combinations(range(n), size)), np.int64)
