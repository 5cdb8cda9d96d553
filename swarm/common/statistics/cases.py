"""What has to hold in each of several cases, such as under every attack on every graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from swarm.common.statistics.intervals import LEVEL, Bound, Interval, interval


def level_of_each(many: int, level: float = LEVEL) -> float:
    """Return the level of each of ``many`` intervals that hold their means all at once with the
    probability ``level`` at least: 1 − (1 − level)/many (Bonferroni; Dunn, J. Am. Stat. Assoc.
    1961)."""
    return 1 - (1 - level) / many


@dataclass(frozen=True)
class Cases:
    """The ``values`` of a quantity by seed, each ``[n]``, in K cases by name; its mean has to lie
    ``above`` a threshold in every one of them."""

    values: Mapping[str, ArrayLike]
    above: float

    def holds(self, level: float = LEVEL) -> bool | None:
        """Whether the mean lies above the threshold in every case.

        True if it does with the interval of ``level`` in each, for which no correction is needed
        (Berger, Technometrics 1982). False if it is below with the interval of
        :func:`level_of_each` in one of them, as one of several is easily below by chance. Otherwise
        None.
        """
        if all(interval(each, level).above(self.above) for each in self.values.values()):
            return True
        return False if any(bound.holds is False for bound in self.bounds.values()) else None

    @property
    def bounds(self) -> dict[str, Bound]:
        """The bound of each case by the interval of :func:`level_of_each`, by which it refutes."""
        level = level_of_each(len(self.values))
        each = {case: interval(values, level) for case, values in self.values.items()}
        return {case: Bound(found, above=self.above) for case, found in each.items()}

    @property
    def worst(self) -> tuple[str, Interval]:
        """The case with the smallest mean, and that mean with its 95% interval."""
        each = ((case, interval(values)) for case, values in self.values.items())
        return min(each, key=lambda one: one[1].mean)
