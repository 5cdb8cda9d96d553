"""A class at random: the control that other goals are compared with."""

from __future__ import annotations

from swarm.learning.goal.base import Floats, Goal, Outlook


class Random(Goal):
    """In every round a device draws the class that it practises, all that it holds alike. It
    measures nothing and hears nobody."""

    measures = False

    def worth(self, seen: Outlook) -> Floats:
        """See :meth:`Goal.worth`: uniform draws."""
        return seen.keys.uniform(seen.device_n, seen.round, seen.own_nC.shape[1])
