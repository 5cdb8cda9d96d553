"""Which colour and mark each line has on the page of a claim: one name, one look, in all charts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm.experiments.claims.charts import Chart

COLOURS = 10
"""How many colours a theme has for lines."""
Looks = Mapping[str, int]
"""The place of each measured line by its name: that of its colour in a theme and of its mark.
Places of ``COLOURS`` and more have a colour once more, with another mark and dash."""


def looks(charts: Sequence[Chart]) -> Looks:
    """The looks of all lines on a page with these charts.

    Lines of one chart differ in their colours as long as there are any, and so do all lines of the
    page if there are enough. The first chart has the first colours.
    """
    found = _in_turn(charts, _names(charts))
    if max(found.values(), default=0) >= COLOURS:
        # with names in another order, no chart may have to use a colour twice
        again = _in_turn(charts, _most_bound_first(charts))
        found = again if max(again.values()) < max(found.values()) else found
    return found


def _names(charts: Sequence[Chart]) -> list[str]:
    """The measured lines, in the order in which a reader meets them."""
    return list(dict.fromkeys(name for chart in charts for name in measured(chart)))


def measured(chart: Chart) -> list[str]:
    """The names of a chart's lines that are no laws, each once."""
    return list(dict.fromkeys(line.name for line in chart.lines if line.kind != "law"))


def _neighbours(charts: Sequence[Chart]) -> dict[str, set[str]]:
    """The lines that share a chart with each line."""
    found: dict[str, set[str]] = {}
    for chart in charts:
        names = measured(chart)
        for name in names:
            found.setdefault(name, set()).update(set(names) - {name})
    return found


def _in_turn(charts: Sequence[Chart], names: Sequence[str]) -> dict[str, int]:
    """Give each name, in this order, a colour that none of its neighbours has: one that nobody has
    yet, or else the one with fewest lines."""
    beside, found = _neighbours(charts), dict[str, int]()
    for name in names:
        taken = {found[other] for other in beside[name] if other in found}
        free = [place for place in range(COLOURS) if place not in taken]
        counts = [*found.values()]
        if free:
            found[name] = min(free, key=lambda place: (counts.count(place), place))
        else:
            found[name] = next(place for place in itertools.count(COLOURS) if place not in taken)
    return found


def _most_bound_first(charts: Sequence[Chart]) -> list[str]:
    """The names by how many neighbours they have (Welsh & Powell 1967)."""
    beside = _neighbours(charts)
    return sorted(beside, key=lambda name: -len(beside[name]))


@dataclass(frozen=True)
class Look:
    """How one line is drawn: the place of its colour and mark on the page, its ``turn`` among the
    ``of`` measured lines of its chart."""

    place: int
    turn: int
    of: int

    @property
    def colour(self) -> int:
        """The place of the colour in a theme."""
        return self.place % COLOURS

    @property
    def again(self) -> int:
        """How often the colour has been given to another line of the same chart before."""
        return self.place // COLOURS
