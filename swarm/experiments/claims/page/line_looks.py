"""Which colour and mark each line has on the page of a claim: one name, one look, in all charts."""

from __future__ import annotations

import itertools
import re
from collections import Counter
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
    page if there are enough. The first chart has the first colours. ``ring`` and ``ring, 16
    devices`` are two lines of one thing, which has one look, unless a chart has both.
    """
    called = _things(charts)
    pages = [[called[name] for name in measured(chart)] for chart in charts]
    found = _in_turn(pages, [name for names in pages for name in names])
    if max(found.values(), default=0) >= COLOURS:
        # with names in another order, no chart may have to use a colour twice
        again = _in_turn(pages, _most_bound_first(pages))
        found = again if max(again.values()) < max(found.values()) else found
    return {name: found[thing] for name, thing in called.items()}


def measured(chart: Chart) -> list[str]:
    """The names of a chart's lines that are no laws, each once."""
    return list(dict.fromkeys(line.name for line in chart.lines if line.kind != "law"))


def _things(charts: Sequence[Chart]) -> dict[str, str]:
    """What each line is of: the beginning of its name, if no chart has another line of that."""
    names = [measured(chart) for chart in charts]
    stems = [Counter(map(_stem, each)) for each in names]
    shared = {stem for counts in stems for stem, count in counts.items() if count > 1}
    every = dict.fromkeys(name for each in names for name in each)
    return {name: name if _stem(name) in shared else _stem(name) for name in every}


def _stem(name: str) -> str:
    return re.split(r", |: | \(", name)[0]


def _neighbours(pages: Sequence[Sequence[str]]) -> dict[str, set[str]]:
    """The lines that share a chart with each line."""
    found: dict[str, set[str]] = {}
    for names in pages:
        for name in names:
            found.setdefault(name, set()).update({*names} - {name})
    return found


def _in_turn(pages: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, int]:
    """Give each name, in this order, a colour that none of its neighbours has: one that nobody has
    yet, or else the one with fewest lines."""
    beside, found = _neighbours(pages), dict[str, int]()
    for name in dict.fromkeys(names):
        taken = {found[other] for other in beside[name] if other in found}
        free = [place for place in range(COLOURS) if place not in taken]
        counts = [*found.values()]
        if free:
            found[name] = min(free, key=lambda place: (counts.count(place), place))
        else:
            found[name] = next(place for place in itertools.count(COLOURS) if place not in taken)
    return found


def _most_bound_first(pages: Sequence[Sequence[str]]) -> list[str]:
    """The names by how many neighbours they have (Welsh & Powell 1967)."""
    beside = _neighbours(pages)
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
