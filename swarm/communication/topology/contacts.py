"""Recorded contacts from a file, as a topology that changes with time."""

from __future__ import annotations

import math
import warnings
from typing import Literal, get_args

import numpy as np

from swarm.common.errors import ConfigError, counted
from swarm.common.names import Names, listed
from swarm.communication.topology.base import Match, Topology, check_choice, check_devices, seats
from swarm.communication.topology.events import lengths, read_events, seconds_of
from swarm.communication.topology.graph import Floats, Graph, Ints
from swarm.communication.topology.readers.parsed import Parsed

After = Literal["repeat", "empty"]
COLUMNS = ("time", "a", "b")
MOST_WINDOWS = 10**9


class Contacts(Topology):
    """A contact trace: devices are linked in the rounds in which they met. Graphs are undirected.

    The CSV file at ``path`` has a heading with the columns ``time``, ``a`` and ``b`` in any order,
    and perhaps ``end``. Or it is as SocioPatterns publishes contacts: lines ``t i j Ci Cj`` with
    tabs or blanks and without a heading, of which the first three fields are used. Times are
    virtual seconds of at least 0. Round 0 starts at the earliest time, and each round lasts
    ``window`` seconds. A contact links its devices in the round of its ``time``, and if there is an
    ``end``, in all rounds until then. After the last round the trace starts again
    (``after: repeat``), or nobody meets any more (``empty``).

    Labels ``a`` and ``b`` may be any text. They become devices 0, 1, … in the order of their
    values if all are whole numbers, else alphabetically; further devices meet nobody. If each
    device has an owner with a name, labels are those names, and owners without a label meet nobody
    (a warning names them); ``match=order`` uses the order of the labels instead. Contacts of a
    device with itself are dropped, and parallel ones merged.

    Raises ``ConfigError`` for a missing, malformed or too large file (``max_mib``,
    ``max_contacts``), for more labels than ``devices``, for labels that are not owners, and for a
    window that is not above 0 or makes more than 10⁹ rounds.
    """

    def __init__(
        self,
        devices: int,
        path: str | None = None,
        window: float = 60.0,
        after: After = "repeat",
        match: Match = "name",
        max_mib: float = 256.0,
        max_contacts: int = 5_000_000,
        owner_names: Names | None = None,
    ) -> None:
        check_devices(devices)
        check_choice("after", after, get_args(After))
        check_choice("match", match, get_args(Match))
        if not 0.0 < window < math.inf:
            raise ConfigError("window", window, "must be a finite number above 0")
        parsed = Parsed(max_nodes=2 * max_contacts, max_edges=max_contacts)
        time_C, end_C = _read(path, parsed, max_mib, max_contacts)
        if len(parsed.index) > devices:
            valid = (
                f"{path} has {len(parsed.index)} people;"
                f" devices={len(parsed.index)} or more"
                " would do"
            )
            raise ConfigError("/devices", devices, valid)
        self.window = window
        first_C, last_C = _windows(time_C, end_C, window)
        order_C = np.argsort(first_C, kind="stable")
        self.devices = devices
        self._ends_C2 = parsed.ranked()[order_C]
        self.node_names = (*parsed.names, *[None] * (devices - len(parsed.names)))
        if owner_names is not None and match == "name":
            self._ends_C2 = seats(parsed.names, owner_names, "path", str(path), spare=True)[
                self._ends_C2
            ]
            alone = [name for name in owner_names if name not in parsed.index]
            if alone:
                named = (
                    f"{len(alone)} of {counted(len(owner_names), 'owner')} of data are not"
                    " in it and meet"
                    f" nobody: {listed(alone)}"
                )
                warnings.warn(f"{path}: {named}", stacklevel=2)
        self._first_C, self._last_C = first_C[order_C], last_C[order_C]
        self.windows = int(last_C.max()) + 1
        self.period = self.windows if after == "repeat" else None

    def graph(self, phase: int) -> Graph:
        if self.period is not None:
            phase %= self.period
        begun = np.searchsorted(self._first_C, phase, side="right")
        return Graph.from_edges(self.devices, self._ends_C2[:begun][self._last_C[:begun] >= phase])


def _read(
    path: str | None, parsed: Parsed, max_mib: float, max_contacts: int
) -> tuple[Floats, Floats]:
    """When each contact begins and ends, ``[C]`` each; its two devices are added to ``parsed``."""

    def contact(time: str, a: str, b: str, end: str | None = None) -> tuple[float, float]:
        begin = seconds_of(time, "time")
        over = begin if end is None else seconds_of(end, "end")
        if over < begin:
            raise ValueError(f"end {over:g} must not be before time {begin:g}")
        parsed.edge(a, b)
        return begin, over

    cap = "max_contacts", max_contacts
    found = read_events(
        path, "contacts", COLUMNS, contact, max_mib, cap, optional=("end",), published=True
    )
    time_C, end_C = np.array(found).T
    return time_C, end_C


def _windows(time_C: Floats, end_C: Floats, window: float) -> tuple[Ints, Ints]:
    """The first and the last round of each contact, ``[C]`` each; a contact that ends when a round
    starts is not in that round.
    """
    start = float(time_C.min())
    span = float(end_C.max()) - start
    if not span < window * MOST_WINDOWS:
        valid = (
            f"makes more than {MOST_WINDOWS:,} rounds of the trace; {2 * span / MOST_WINDOWS:.3g}"
            " would do"
        )
        raise ConfigError("window", window, valid)
    first_C, last_C = lengths(time_C - start, window), lengths(end_C - start, window)
    first_C, last_C = np.floor(first_C), np.ceil(last_C) - 1.0
    return first_C.astype(np.int64), np.maximum(first_C, last_C).astype(np.int64)
