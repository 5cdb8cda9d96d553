"""Comparative advantage: where a device gives up least (D. Ricardo, *On the principles of political
economy and taxation*, 1817, chapter 7).
"""

from __future__ import annotations

from swarm.common.ranges import number
from swarm.learning.goal.base import Floats, Goal, Outlook


class ComparativeAdvantage(Goal):
    """A device practises the class in which it is best relative to its neighbours.

    Who spends time on class c gives up a_d / a_c of class d. Device i gives up less than its
    neighbours do, whose mean scores are ā, where a_c / ā_c > a_d / ā_d, even if they are better
    at both. So it practises the class of the largest (a + ε) / (ā + ε); ``floor`` is ε, without
    which a class that nobody knows yet would have no ratio.

    Raises :class:`~swarm.common.errors.ConfigError` unless 0 < ``floor`` ≤ 1.
    """

    listens = True

    def __init__(self, strength: float = 0.5, floor: float = 0.05) -> None:
        super().__init__(strength)
        number("floor", floor, 0, 1, open_low=True)
        self.floor = floor

    def worth(self, seen: Outlook) -> Floats:
        """See :meth:`Goal.worth`: (a + ε) / (ā + ε)."""
        return (seen.own_nC + self.floor) / (seen.heard_nC + self.floor)
