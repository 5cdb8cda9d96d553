"""Who met whom and when, from a file: recorded contacts as a topology that changes with time."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from swarm.errors import ConfigError
from swarm.topology.base import Topology, check_choice, check_devices
from swarm.topology.file import read_capped
from swarm.topology.graph import Floats, Graph, Ints
from swarm.topology.readers import Parsed, text_of

After = Literal["repeat", "empty"]
COLUMNS = ("time", "a", "b", "end")
MOST_WINDOWS = 10**9


class Contacts(Topology):
    """Contact traces: devices are linked in the rounds in which they met. Undirected.

    The CSV file at ``path`` has a heading with the columns ``time``, ``a`` and ``b`` in any order, and perhaps ``end``. Times
    are virtual seconds from anywhere, at least 0; round 0 starts at the earliest, and each round is ``window`` seconds. A
    contact is in the round that its time falls in, and with an ``end`` in every round that it lasts into. After the last one
    the trace starts again (``after: repeat``) or nobody meets any more (``empty``).

    Labels may be any text. They become devices 0, 1, … by value if all are whole numbers, else alphabetically; devices
    beyond them meet nobody. Contacts with oneself are dropped, parallel ones merged.

    Raises ``ConfigError`` on a missing, malformed or too large file (``max_mib``, ``max_contacts``), more labels than
    ``devices``, and a window that is not above 0 or makes more than 10⁹ rounds.
    """

    def __init__(
        self,
        devices: int,
        path: str | None = None,
        window: float = 60.0,
        after: After = "repeat",
        max_mib: float = 256.0,
        max_contacts: int = 5_000_000,
    ) -> None:
        check_devices(devices)
        check_choice("after", after, get_args(After))
        for key, value in (("window", window), ("max_mib", max_mib), ("max_contacts", max_contacts)):
            if not 0.0 < value < math.inf:
                raise ConfigError(key, value, "must be a finite number above 0")
        if not path:
            raise ConfigError("path", path, "must name a CSV file of contacts with the columns time, a and b")
        parsed = Parsed(max_nodes=2 * max_contacts, max_edges=max_contacts)
        try:
            time_C, end_C = read_contacts(read_capped(path, max_mib), parsed)
        except ValueError as error:
            raise ConfigError("path", path, f"cannot be read as contacts: {error}") from None
        if len(parsed.index) > devices:
            valid = f"{path} has {len(parsed.index)} labels; devices={len(parsed.index)} or more would do"
            raise ConfigError("/devices", devices, valid)
        first_C, last_C = _windows(time_C, end_C, window)
        order_C = np.argsort(first_C, kind="stable")
        self.devices = devices
        self._ends_C2 = parsed.ranked()[order_C]
        self._first_C, self._last_C = first_C[order_C], last_C[order_C]
        self.windows = int(last_C.max()) + 1
        self.period = self.windows if after == "repeat" else None

    def graph(self, round: int) -> Graph:
        if self.period is not None:
            round %= self.period
        begun = np.searchsorted(self._first_C, round, side="right")
        return Graph.from_edges(self.devices, self._ends_C2[:begun][self._last_C[:begun] >= round])


def _windows(time_C: Floats, end_C: Floats, window: float) -> tuple[Ints, Ints]:
    """The first and the last round of each contact; one that ends just as a round starts is not in that round."""
    start = float(time_C.min())
    span = float(end_C.max()) - start
    if not span < window * MOST_WINDOWS:
        valid = f"makes more than {MOST_WINDOWS:,} rounds of the trace; {2 * span / MOST_WINDOWS:.3g} would do"
        raise ConfigError("window", window, valid)
    first_C, last_C = (_snapped((each_C - start) / window) for each_C in (time_C, end_C))
    first_C, last_C = np.floor(first_C), np.ceil(last_C) - 1.0
    return first_C.astype(np.int64), np.maximum(first_C, last_C).astype(np.int64)


def _snapped(value_C: Floats) -> Floats:
    """Whole numbers where rounding errors alone made them others: 0.3 s are three windows of 0.1 s, not 2.9999999999999996."""
    whole_C = np.rint(value_C)
    return np.where(np.abs(value_C - whole_C) < 1e-6, whole_C, value_C)


def read_contacts(data: bytes, parsed: Parsed) -> tuple[Floats, Floats]:
    """When each contact of a CSV file begins and ends (without ``end``: when it begins), its labels going to ``parsed``.

    Raises ``ValueError`` naming the line or column.
    """
    rows = _rows(data)
    _, heading = next(rows, (1, []))
    at = {name: i for i, name in enumerate(heading)}
    for name in heading:
        if name not in COLUMNS:
            raise ValueError(f"unknown column {name[:40]!r}; columns are time, a, b and perhaps end")
    for name in COLUMNS[:3]:
        if name not in at:
            raise ValueError(f"the heading in line 1 needs a column {name!r}; columns are time, a, b and perhaps end")
    if len(at) < len(heading):
        raise ValueError("the heading names a column twice")
    begin, end = [], []
    for number, row in rows:
        try:
            if len(row) != len(heading):
                raise ValueError(f"has {len(row)} fields, the heading {len(heading)}")
            begin.append(_time(row[at["time"]], "time"))
            end.append(_time(row[at["end"]], "end") if "end" in at else begin[-1])
            if end[-1] < begin[-1]:
                raise ValueError(f"end {end[-1]:g} must not be before time {begin[-1]:g}")
            if len(parsed.edges) >= parsed.max_edges:
                raise ValueError(f"more than max_contacts={parsed.max_edges} contacts")
            parsed.edge(row[at["a"]], row[at["b"]])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if not begin:
        raise ValueError("there is no contact in it")
    return np.array(begin), np.array(end)


def _rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Lines with their numbers, fields stripped, blank lines left out."""
    reader = csv.reader(text_of(data).splitlines(), strict=True)
    try:
        for row in reader:
            if any(row):
                yield reader.line_num, [field.strip() for field in row]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: not CSV ({error})") from None


def _time(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{column} {text[:40]!r} must be a finite number of seconds, at least 0")
    return value
