"""A device's own weakest class."""

from __future__ import annotations

from swarm.learning.goal.base import Floats, Goal, Outlook


class Weakest(Goal):
    """A device practises the class of its own lowest score; it hears nobody."""

    def worth(self, seen: Outlook) -> Floats:
        """See :meth:`Goal.worth`: −a, for the own score a of a class."""
        return -seen.own_nC
