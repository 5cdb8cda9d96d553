"""How the combinations of a sweep look: colour for one key, line and marker for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

from swarm.experiments.sweep.gather import label

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5195", "#8c564b")
MARKS = "osD^vPX*"
DASHES: tuple[Any, ...] = ("solid", "dashed", "dashdot", "dotted", (0, (7, 1.5, 1, 1.5, 1, 1.5)))
INK = "#444444"  # of an entry of the legend that stands for a line in all colours

Combination = Mapping[str, str]


@dataclass(frozen=True)
class Look:
    """Colour, line and marker of a combination. ``turn`` is its place among all: curves that lie on
    one another have their markers in different places.
    """

    colour: Any
    dash: Any
    mark: str
    turn: int = 0


class Looks:
    """The look of each combination.

    If one key is swept, each value has a colour and a marker. If several are, the key with most
    values (the first of those) has the colours, and each combination of the others has a line and a
    marker. Up to 40 of these differ from one another, so two factors of 3 values need a legend of
    six entries and not of nine.
    """

    def __init__(self, combinations: Sequence[Combination]) -> None:
        self._combinations = [dict(values) for values in combinations]
        first = self._combinations[0] if self._combinations else {}
        values = {key: self._values((key,)) for key in first}
        varying = [key for key in first if len(values[key]) > 1]
        self.factorial = len(varying) > 1
        most = max((len(values[key]) for key in varying), default=0)
        tinted = next((key for key in varying if len(values[key]) == most), None)
        self.tinted: tuple[str, ...] = (tinted,) if tinted and self.factorial else tuple(first)
        """The keys that have the colours."""
        self.lined = tuple(key for key in varying if self.factorial and key != tinted)
        """The keys that have the lines and markers; none where one key is swept."""
        self.colours = self._values(self.tinted)
        self.lines = self._values(self.lined) if self.factorial else []
        self._colour_of = _places(self.colours)
        self._line_of = _places(self.lines)
        self._turn_of = _places(self._combinations)

    def __call__(self, values: Combination) -> Look:
        """The look of one of the combinations."""
        place = self._colour_of[_key(_part(values, self.tinted))]
        line = self._line_of[_key(_part(values, self.lined))] if self.factorial else 0
        mark = MARKS[(line if self.factorial else place) % len(MARKS)]
        turn = self._turn_of[_key(values)]
        return Look(self.colour(place), DASHES[line % len(DASHES)], mark, turn)

    def colour(self, place: int) -> Any:
        """The colour of a value by its place in ``colours``."""
        if len(self.colours) <= len(COLOURS):
            return COLOURS[place]
        return matplotlib.colormaps["viridis"](0.95 * place / (len(self.colours) - 1))

    def column(self, values: Combination) -> tuple[int, float]:
        """Where a combination stands side by side with the others: the place of its colour, and how
        far beside it, between -0.3 and 0.3.
        """
        place = self._colour_of[_key(_part(values, self.tinted))]
        if not self.factorial:
            return place, 0.0
        line, count = self._line_of[_key(_part(values, self.lined))], len(self.lines)
        return place, 0.6 * (line / (count - 1) - 0.5) if count > 1 else 0.0

    def entries(self) -> list[tuple[str, list[tuple[str, Look]]]]:
        """The legend by groups, each with a heading and its entries: one group if one key is swept,
        else one of the colours and one of the lines.
        """
        if not self.factorial:
            return [("", [(label(values), self(values)) for values in self._combinations])]
        tints = [
            (label(values), Look(self.colour(place), "solid", ""))
            for place, values in enumerate(self.colours)
        ]
        lines = [
            (label(values), Look(INK, DASHES[i % len(DASHES)], MARKS[i % len(MARKS)]))
            for i, values in enumerate(self.lines)
        ]
        return [(" × ".join(self.tinted), tints), (" × ".join(self.lined), lines)]

    def _values(self, keys: tuple[str, ...]) -> list[dict[str, str]]:
        """The different values of some keys together, in the order of the command."""
        found: dict[frozenset[tuple[str, str]], dict[str, str]] = {}
        for values in self._combinations:
            part = _part(values, keys)
            found.setdefault(_key(part), part)
        return [*found.values()]


def _key(values: Combination) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def _places(found: Sequence[Combination]) -> dict[frozenset[tuple[str, str]], int]:
    """The place of each of some different combinations."""
    return {_key(values): place for place, values in enumerate(found)}


def _part(values: Combination, keys: Sequence[str]) -> dict[str, str]:
    return {key: values[key] for key in keys}
