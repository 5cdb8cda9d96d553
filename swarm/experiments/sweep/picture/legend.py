"""The one legend of a sweep's picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from swarm.experiments.sweep.gather import SweepResults
from swarm.experiments.sweep.picture.looks import Look, Looks
from swarm.results.report.style import literal, muted, muted_line

MOST_NAMED = 48  # of the values of a factor; what is left out is counted
_FONT, _LINE = 9, 0.208  # points, inches
_HANDLE = 0.04  # of the width of the figure: what a heading has no line in
_BLANK = ("", Line2D([], [], linestyle="none"))

Entry = tuple[str, Line2D]


@dataclass(frozen=True)
class Legend:
    """Entries by rows and columns; a legend of several factors has a row, or a few, for each."""

    rows: list[list[Entry]]
    headed: bool = False

    @classmethod
    def of(cls, found: SweepResults, looks: Looks) -> Legend:
        """The legend of a sweep: its combinations, or their factors, and the controls."""
        groups = [(head, _capped(entries)) for head, entries in looks.entries()]
        controls = [(literal(arm), _control(found, arm)) for arm in found.arms[1:]]
        if not looks.factorial:
            [(_, entries)] = groups
            named = [(name or found.lead, handle) for name, handle in entries]
            return cls(_wrapped([*named, *controls], _columns([*named, *controls])))
        groups = [*groups, *([("controls", controls)] if controls else [])]
        heads = max(len(head) for head, _ in groups)
        columns = _columns([entry for _, entries in groups for entry in entries], heads + 6)
        rows = []
        for head, entries in groups:
            for i, row in enumerate(_wrapped(entries, columns)):
                first = (literal(head) if i == 0 else "", _BLANK[1])
                rows.append([first, *row])
        return cls(rows, headed=True)

    @property
    def height(self) -> float:
        """The height of the legend in inches."""
        return _LINE * len(self.rows)

    def draw(self, figure: Figure, top: float) -> None:
        """Draw it ``top`` inches below the upper edge of the figure."""
        columns = max(map(len, self.rows), default=0)
        if not any(name for row in self.rows for name, _ in row):
            return
        full = [[*row, *[_BLANK] * (columns - len(row))] for row in self.rows]
        by_column = [row[column] for column in range(columns) for row in full]
        left = 0.004 - (_HANDLE if self.headed else 0)
        figure.legend(
            [handle for _, handle in by_column],
            [name for name, _ in by_column],
            loc="upper left",
            bbox_to_anchor=(left, 1 - top / figure.get_figheight()),
            ncols=columns,
            frameon=False,
            fontsize=_FONT,
            handlelength=3.0,
            columnspacing=1.4,
        )


def _capped(entries: list[tuple[str, Look]]) -> list[Entry]:
    """The entries with their handles; of very many the first ones and how many more there are."""
    kept = entries if len(entries) <= MOST_NAMED else entries[: MOST_NAMED - 1]
    shown = [(literal(name), _handle(look)) for name, look in kept]
    if len(kept) < len(entries):
        shown.append((f"and {len(entries) - len(kept)} more: table.md", _BLANK[1]))
    return shown


def _handle(look: Look) -> Line2D:
    return Line2D(
        [], [], color=look.colour, linestyle=look.dash, linewidth=2.0, marker=look.mark or None,
        markersize=5.5,
    )  # fmt: skip


def _control(found: SweepResults, arm: str) -> Line2D:
    colour, dash = muted(arm, found.presentation), muted_line(arm, found.presentation)
    return Line2D([], [], color=colour, linestyle=dash, linewidth=1.4)


def _columns(entries: list[Entry], less: int = 0) -> int:
    """As many as fit beside one another, in characters."""
    longest = max((len(name) for name, _ in entries), default=0)
    return max(1, min(max(len(entries), 1), (150 - less) // (12 + longest)))


def _wrapped(entries: list[Entry], columns: int) -> list[list[Entry]]:
    """Rows of at most ``columns`` entries, as even as they can be."""
    count = math.ceil(len(entries) / columns)
    width = math.ceil(len(entries) / count) if count else 1
    return [entries[at : at + width] for at in range(0, len(entries), width)]
