"""The largest gap to the neighbours."""

from __future__ import annotations

from swarm.learning.goal.base import Floats, Goal, Outlook


class Gap(Goal):
    """A device practises the class in which its neighbours are farthest ahead of it: where ā − a is
    largest, for its own score a and the mean ā of those that it heard. Where it is ahead of them in
    every class, it practises that of its smallest lead."""

    listens = True

    def worth(self, seen: Outlook) -> Floats:
        """See :meth:`Goal.worth`: ā − a."""
        return seen.heard_nC - seen.own_nC
