"""The base classes of aggregation rules that work on many devices at once, and of those that bear
hostile neighbours.

A hostile device sends whatever it likes. How many of the rows of a device come from hostile ones is
called f, and n is the number of its rows, its own included.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import ConfigError, counted
from swarm.common.names import named, titled
from swarm.common.plugin import called
from swarm.communication.aggregation.base import Aggregator, Heard, Neighbourhoods
from swarm.communication.aggregation.stack import Stack, devices_at_once, single, stacks
from swarm.communication.topology.graph import Graph

Ints = npt.NDArray[np.int64]
Unsafe = Literal["refuse", "warn"]
Of = Callable[[int], str]
"""What a message says after the number of rows of a device: of which numbers they are"""
_NAMED = 3  # devices that a message names


class StackRule(Aggregator):
    """A rule that combines the rows of many devices at once, in stacks of devices with equally many
    rows.

    A message with a number that is not finite is left out, and so is a message so far away that a
    rule cannot compute its distance. A device whose own row is not finite keeps it.

    Attributes:
        copies: How many times a stack is in memory at most, itself included, while it is combined.
        pairs: How many numbers of a row's size are in memory for each pair of rows as well, as
            distances and what sorts them have 64 bits.
    """

    copies: ClassVar[float] = 5
    pairs: ClassVar[float] = 0

    @abstractmethod
    def combine_stack(self, stack: Stack) -> Tensor:
        """Return the row that each device of the stack receives, ``[G, M]``.

        A device's result must depend on its own rows only, to the bit.
        """

    def usable(self, rows: int, dropped: int) -> int | None:
        """Return how many of the rows that are left are assumed to be hostile, where a device has
        ``rows`` rows of which ``dropped`` are left out; None if the device keeps its own row.
        """
        return 0

    def combine(self, heard: Heard) -> Tensor:
        """See :meth:`Aggregator.combine`."""
        stack = single(heard, self.usable)
        return heard.own_M.clone() if stack is None else self.combine_stack(stack)[0]

    def combine_all(self, found: Neighbourhoods) -> Tensor:
        """See :meth:`Aggregator.combine_all`."""
        out_RM = found.own_RM.clone()
        for stack in stacks(found, self.usable):
            place_G = torch.as_tensor(stack.place_G, device=out_RM.device)
            out_RM.index_copy_(0, place_G, self.combine_stack(stack))
        return out_RM

    def held_numbers(self, rows: int, width: int) -> float:
        """See :meth:`Aggregator.held_numbers`."""
        devices = devices_at_once(rows, width)
        return devices * rows * (self.copies * width + self.pairs * rows)


class RobustRule(StackRule):
    """A rule that assumes that up to f of the n rows of a device come from hostile devices.

    A message that is not finite is certainly not an honest one. So it is left out and counts as one
    of the f.

    Attributes:
        f: How many of the n rows of a device are assumed to be hostile: a whole number, or a share
            of n below 1/2, rounded down.
        unsafe: What happens where n rows are too few for f: ``refuse`` refuses the graph, and a
            device to which too few messages come in a round keeps its row; ``warn`` lets such
            devices assume as many as they can bear.
        leaves_out: Whether it takes the mean of all rows but f of them, so that with f = 0 it is a
            mean.
        uses_f: Whether its results depend on f, which is otherwise held against the graph only.
    """

    leaves_out: bool = False
    uses_f: bool = True

    def __init__(self, f: float = 1, unsafe: Unsafe = "refuse") -> None:
        """Set f and ``unsafe``; raises :class:`ConfigError` for an f that is no number or share."""
        whole = not isinstance(f, bool) and float(f).is_integer() and f >= 0
        if not whole and not 0 < f < 0.5:
            valid = (
                "must be a whole number of at least 0, or a share of the rows between 0 and 0.5,"
                " both excluded"
            )
            raise ConfigError("f", f, valid)
        self.f: float = int(f) if whole else f
        self.unsafe: Unsafe = unsafe

    @abstractmethod
    def most(self, rows: int) -> int:
        """Return the largest f that the rule can bear among ``rows`` rows; below 0 if it needs more
        rows even for none.
        """

    def assumed(self, rows: int) -> int:
        """Return f as a number, where a device has ``rows`` rows."""
        if isinstance(self.f, int):
            return self.f
        return math.floor(self.f * rows + 1e-9)  # 0.333… · 3 must be 1, despite rounding

    def bears(self, rows: int) -> int:
        """See :meth:`Aggregator.bears`: f, or fewer if the rows are too few for f."""
        return max(0, min(self.assumed(rows), self.most(rows)))

    def usable(self, rows: int, dropped: int) -> int | None:
        """See :meth:`StackRule.usable`."""
        f, most = self.assumed(rows), max(0, self.most(rows))
        if f > most:
            if self.unsafe == "refuse":
                return None
            f = most
        return max(0, f - dropped)

    def check(self, graph: Graph) -> None:
        """Refuse a share of which no device has enough rows to assume a hostile one; warn of f = 0
        where the rule is a mean then."""
        self._warn_of_a_mean()
        most = int(graph.degree_in.max(initial=0)) + 1
        if most > 1 and self.f and not self.assumed(most):
            least = math.ceil(1000 / most) / 1000
            more = "a topology with more links" if most < graph.n else "more devices"
            would = f"at least {least:g} would do, or {more}"
            if least >= 0.5:  # which is refused
                would = f"{more} would do"
            valid = (
                f"assumes no hostile row, as no device combines more than"
                f" {counted(most, 'row')}; {would}"
            )
            raise ConfigError("aggregator.f", self.f, valid)

    def check_bound(self, graph: Graph, names: Sequence[str | None] | None) -> None:
        """See :meth:`Aggregator.check_bound`; it only warns if ``unsafe`` is ``warn``."""
        self.check_counts(graph.degree_in + 1, names)

    def check_counts(
        self, rows_N: Ints, names: Sequence[str | None] | None, of: Of = lambda device: ""
    ) -> None:
        """Refuse devices that combine ``rows_N`` rows ``[N]``, as :meth:`check_bound` does; ``of``
        says for a message which numbers of a device these rows have."""
        self._check_least(rows_N, names, of)
        self._warn_of_small_shares(rows_N, names, of)
        most = int(rows_N.argmax())
        self.check_rows(int(rows_N[most]), titled(most, named(names, most)))

    def check_server(self, rows: int) -> None:
        """Refuse an f that is too large for a server that combines ``rows`` rows, and a share that
        is less than one of them; with ``unsafe=warn`` only warn of the first. Warn of f = 0 where
        the rule is a mean then."""
        self._warn_of_a_mean()
        who = f"the server, which combines {counted(rows, 'row')}{self.mixtures(rows)}"
        if self.f and not self.assumed(rows):
            valid = f"assumes no hostile row at {who}; at least {math.ceil(1000 / rows) / 1000:g}"
            raise ConfigError("aggregator.f", self.f, f"{valid} would do, or more devices")
        self.check_rows(rows, "the server")
        self.check_server_count(rows)

    def check_server_count(self, rows: int, of: str = "") -> None:
        """Refuse an f that is too large for a server that combines ``rows`` rows, or warn of it, as
        of a share that is less than one of them; ``of`` says for a message which numbers these rows
        have."""
        who = f"the server, which combines {counted(rows, 'row')}{of}{self.mixtures(rows)}"
        if not self._short(rows):
            if self._assumes_none(rows):
                self._warn_of_none(who, "assumes", rows, "more devices")
            return
        most = max(0, self.most(rows))
        if self.unsafe == "warn":
            text = f"aggregator.f={self.f:g}: {who}, bears {most} hostile ones only, and assumes"
            warnings.warn(f"{text} so many", stacklevel=2)
            return
        would = _would(most, "more devices in a round")
        raise ConfigError("aggregator.f", self.f, f"is too many for {who}; {would}")

    def check_rows(self, rows: int, who: str) -> None:
        """Refuse a device ``who`` that combines more ``rows`` than the rule can work with, by a
        :class:`ConfigError`."""
        return

    def mixtures(self, rows: int) -> str:
        """Return what a message has to add to a device's number of ``rows``, where the rule gets
        others; nothing, unless there are pre-aggregators.
        """
        return ""

    def _check_least(self, rows_N: Ints, names: Sequence[str | None] | None, of: Of) -> None:
        """Refuse a device that combines too few rows, or warn of it."""
        short = [int(i) for i in np.flatnonzero(rows_N > 1) if self._short(int(rows_N[i]))]
        if not short:
            return
        worst = min(short, key=lambda i: (int(rows_N[i]), i))
        n = int(rows_N[worst])
        if self.unsafe == "warn":
            have = "has too few neighbours for it, and assumes as many hostile ones as it can bear"
            if len(short) > 1:
                have = "have too few neighbours for it, and assume as many hostile ones as they can"
            text = f"aggregator.f={self.f:g}: {_listed(short, names)} {have}"
            warnings.warn(text, stacklevel=2)
            return
        raise ConfigError("aggregator.f", self.f, self._advice(worst, n, names, of(worst)))

    def _warn_of_a_mean(self) -> None:
        """Warn of an f of 0, which the user has chosen, where no row is left out then."""
        if self.leaves_out and not self.f:
            said = f"{called(self)} leaves out no row, so that it is a mean with equal weights"
            text = f"aggregator.f=0: {said}; aggregator.f=1 would leave some out"
            warnings.warn(text, stacklevel=2)

    def _warn_of_small_shares(
        self, rows_N: Ints, names: Sequence[str | None] | None, of: Of
    ) -> None:
        """Warn of devices of whose rows the share f is less than one."""
        few = [int(i) for i in np.flatnonzero(rows_N > 1) if self._assumes_none(int(rows_N[i]))]
        if not few:
            return
        worst = min(few, key=lambda i: (int(rows_N[i]), i))
        rows, who = int(rows_N[worst]), titled(worst, named(names, worst))
        said = f"{who}, which combines {counted(rows, 'row')}{of(worst)}, its own included"
        if len(few) > 1:
            said = f"{len(few):,} devices, such as {said},"
        assume = "assumes" if len(few) == 1 else "assume"
        self._warn_of_none(said, assume, rows, "a topology with more links")

    def _warn_of_none(self, who: str, assume: str, rows: int, more: str) -> None:
        least = math.ceil(1000 / rows) / 1000
        would = f"at least {least:g} or {more} would do" if least < 0.5 else f"{more} would do"
        text = f"aggregator.f={self.f:g}: {who} {assume} no hostile row, as the share is less than"
        warnings.warn(f"{text} one row; {would}", stacklevel=2)

    def _assumes_none(self, rows: int) -> bool:
        """Whether f is a share of ``rows`` rows that is less than one, and the rule uses it."""
        return bool(self.f) and self.uses_f and not self.assumed(rows)

    def _short(self, rows: int) -> bool:
        return self.assumed(rows) > max(0, self.most(rows))

    def _advice(self, device: int, rows: int, names: Sequence[str | None] | None, of: str) -> str:
        """Which device has too few rows for f, and what would do."""
        least = next((n for n in range(rows, rows + 10_000) if not self._short(n)), None)
        most = max(0, self.most(rows))
        needed = "" if least is None else f", and that f needs {least}"
        who = titled(device, named(names, device))
        return (
            f"is too many for {who}, which combines {counted(rows, 'row')}{of}, its own included"
            f"{self.mixtures(rows)}{needed}; {_would(most, 'a topology with more links')}"
        )


def too_many(graph: Graph, hostile: Collection[int] | Ints, rule: Aggregator) -> Ints:
    """Return the honest devices with more hostile neighbours than ``rule`` bears, in ascending
    order.

    ``hostile`` are the ids of the hostile devices of ``graph``. A device that hears nobody is never
    among those returned.
    """
    bad_N = np.zeros(graph.n, bool)
    bad_N[np.asarray(list(hostile), np.int64)] = True
    hostile_N = np.bincount(graph.dst_E[bad_N[graph.src_E]], minlength=graph.n)
    bears_of = {rows: rule.bears(rows) for rows in np.unique(graph.degree_in + 1).tolist()}
    bears_N = np.array([bears_of[rows] for rows in (graph.degree_in + 1).tolist()], np.int64)
    return np.flatnonzero(~bad_N & (hostile_N > bears_N))


def _would(most: int, more: str) -> str:
    """What would do where rows are too few for f and bear ``most`` hostile ones; or ``more``."""
    if most:
        return f"f={most} would do there, or {more}, or aggregator.unsafe=warn"
    said = "so few rows bear no hostile one"
    return f"{said}, and only {more} or aggregator.unsafe=warn would do"


def _listed(devices: Sequence[int], names: Sequence[str | None] | None) -> str:
    """Some of the devices, for a message."""
    shown = [titled(i, named(names, i)) for i in devices[:_NAMED]]
    more = len(devices) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
