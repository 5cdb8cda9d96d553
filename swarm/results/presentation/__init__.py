"""What a scenario says of its arms and of its numbers, for whoever shows them.

A scenario declares a role for each of its arms and an entry for each number of its own in
``summary.json``. Both are written into the run folder (:mod:`swarm.results.presentation.stored`),
so that pages, tables, trackers and sweeps read them there: none of these knows a scenario, an arm
or a number by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["lead", "lower", "upper", "control", "other"]
Dash = Literal["solid", "dashed", "dashdot", "dotted"]
Form = Literal["number", "percent", "bytes", "seconds"]
Surface = Literal["page", "compare", "sweep", "tracker"]
SURFACES: tuple[Surface, ...] = ("page", "compare", "sweep", "tracker")
UNIQUE: tuple[Role, ...] = ("lead", "lower", "upper")
"""Roles that one arm of a run at most can have."""


@dataclass(frozen=True)
class ArmStyle:
    """What an arm is to its scenario, and how it is drawn.

    Attributes:
        role: ``lead``, the arm that the scenario is about; ``lower`` and ``upper``, the two between
            which the lead is expected, such as devices alone and one model of all data;
            ``control``, another arm that the lead is compared with; ``other``, none of these.
        colour: Its colour ``#rrggbb`` on a light page and on a dark one; None for that of the role.
        muted: Its colour as a control in the picture of a sweep; None for that of the role.
        dash: Its line; None for that of the role.
    """

    role: Role = "other"
    colour: tuple[str, str] | None = None
    muted: str | None = None
    dash: Dash | None = None


@dataclass(frozen=True)
class SummaryEntry:
    """One number that a scenario puts into ``summary.json``.

    Where it is None, the text under ``KEY_reason`` beside it says why; a text under ``KEY_note``
    takes the place of ``note``.

    Attributes:
        key: Its key in ``summary.json``.
        label: What it is called, such as ``gap closed``.
        unit: Its unit, or empty for a plain number.
        better: Whether a higher or a lower value is better; None where neither is.
        form: ``number`` (with ``digits`` decimals), ``percent`` (of a share, likewise), ``bytes``
            or ``seconds``.
        digits: Decimals.
        note: What stands below it in small print.
        shown: The surfaces that show it: ``page`` (a tile), ``compare`` (a column of a comparison),
            ``sweep`` (a column of a sweep's table), ``tracker`` (a number of the leading arm).
    """

    key: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    form: Form = "number"
    digits: int = 3
    note: str = ""
    shown: tuple[Surface, ...] = SURFACES

    @property
    def title(self) -> str:
        """The label with its unit, as it stands over a column."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


@dataclass(frozen=True)
class Presentation:
    """The declared arms of a run by name, in the order in which they run, and its entries."""

    arms: Mapping[str, ArmStyle] = field(default_factory=dict)
    entries: tuple[SummaryEntry, ...] = ()

    def style(self, arm: str) -> ArmStyle:
        """The style of an arm; a plain one for an arm that was not declared."""
        return self.arms.get(arm, ArmStyle())

    def named(self, role: Role) -> str | None:
        """The first arm of this role, or None."""
        return next((name for name, style in self.arms.items() if style.role == role), None)

    def lead(self, arms: Iterable[str]) -> str:
        """The one of ``arms`` to put in front: that with the role ``lead``, or else the first that
        is no reference for others, or else the first; empty where there are none.
        """
        there = [*arms]
        for role in ("lead", "other"):
            for arm in there:
                if self.style(arm).role == role:
                    return arm
        return there[0] if there else ""

    def on(self, surface: Surface) -> list[SummaryEntry]:
        """The entries that a surface shows."""
        return [entry for entry in self.entries if surface in entry.shown]

    def figures(self, surface: Surface, summary: Mapping[str, Any]) -> dict[str, Any]:
        """What ``summary`` has of the entries that a surface shows, each of them by its key."""
        return {entry.key: summary.get(entry.key) for entry in self.on(surface)}

    @classmethod
    def of_many(cls, runs: Iterable[Presentation]) -> Presentation:
        """One presentation of several runs: each arm and entry as the first run has it."""
        arms: dict[str, ArmStyle] = {}
        entries: dict[str, SummaryEntry] = {}
        for each in runs:
            arms = {**each.arms, **arms}
            entries = {**{entry.key: entry for entry in each.entries}, **entries}
        return cls(arms, tuple(entries.values()))


UNDECLARED = Presentation()
"""The presentation of a run whose scenario has declared nothing."""
