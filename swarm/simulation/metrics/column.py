"""A number of the records, as the tables, pages and trackers need to know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower"]
Surface = Literal["table", "details", "page", "compare", "sweep", "tracker", "axis"]
Main = Literal["score", "distance"]
EVERYWHERE: tuple[Surface, ...] = ("table", "page", "compare", "sweep", "tracker")
PAGE: tuple[Surface, ...] = ("page", "tracker")
DETAILS: tuple[Surface, ...] = ("details", *PAGE)
RECORDED: tuple[Surface, ...] = ("tracker",)
PARTS = ("mean", "min", "p10", "median", "p90", "max")
"""Of a spread over devices: what follows the metric's name in a key."""


@dataclass(frozen=True)
class Column:
    """One number of a record, under the key that it has in ``metrics.jsonl``.

    Attributes:
        key: Of ``metrics.jsonl`` and of an arm in ``summary.json``.
        label: What reports call it, such as ``macro F1, mean over devices``.
        unit: Its unit, or empty for a plain number.
        better: Whether a higher or a lower value is better; None where neither is.
        shown: The surfaces that show it. The run folder has every number whatever stands here.
        head: What stands over it in a table, where that is shorter than its label.
        main: Whether it can be the main number of a run (:attr:`Metric.main`).
        sparse: Whether a page leaves it out where it is zero throughout.
        timed: Whether it is measured in seconds of this machine, so that it is another number in
            every run.
    """

    key: str
    label: str
    unit: str = ""
    better: Direction | None = None
    shown: tuple[Surface, ...] = EVERYWHERE
    head: str = ""
    main: Main | None = None
    sparse: bool = False
    timed: bool = False
