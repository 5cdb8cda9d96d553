"""The transport of rows from the devices that send them to those that receive them: the seam
between phases and engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.communication.round_messages import RoundMessages, Traffic
from swarm.communication.routing import Route

if TYPE_CHECKING:
    from swarm.simulation.phases.base import Phase

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NoTransport:
    """Nothing travels: every device works by itself."""


@dataclass(frozen=True)
class MeanOverAll:
    """Every device receives the same weighted mean of all rows, with the weights
    ``Phase.shares``."""


@dataclass(frozen=True)
class AlongLinks:
    """Rows travel along links; ``messages`` says which row goes to which device."""

    messages: RoundMessages


Transport = NoTransport | MeanOverAll | AlongLinks


@dataclass(frozen=True)
class Payload:
    """The rows that n devices may send, numbered as in :mod:`swarm.communication.messages`.

    Attributes:
        packets: The rows of this round as others read them, ``[n, M]``.
        own: The rows as their own devices use them, ``[n, M]``.
        past: Earlier packets ``[n, depth, M]``, a ring buffer in which round r has the place
            (r − 1) mod depth; None where no message is delayed.
        rows_per_device: The number of payload rows of a device.
        round: The round of ``packets``.
    """

    packets: Tensor
    own: Tensor
    past: Tensor | None
    rows_per_device: int
    round: int

    def take(self, index: Ints) -> Tensor:
        """The payload rows with the numbers ``index``, ``[len(index), M]``."""
        if self.rows_per_device == 1:
            return self.packets[torch.as_tensor(index, device=self.packets.device)]
        out = self.packets.new_empty(len(index), self.packets.shape[1])
        row, part = index // self.rows_per_device, index % self.rows_per_device
        for each in np.unique(part).tolist():
            at = np.flatnonzero(part == each)
            found, rows = self._of(each), row[at]
            if not np.array_equal(rows, np.arange(len(found))):
                found = found.index_select(0, torch.as_tensor(rows, device=out.device))
            out.index_copy_(0, torch.as_tensor(at, device=out.device), found)
        return out

    def _of(self, part: int) -> Tensor:
        depth = 0 if self.past is None else self.past.shape[1]
        if part == 0 or part > depth or self.past is None:
            return self.own if part else self.packets
        return self.past[:, (self.round - 1 - part) % depth]

    def joined(self, route: Route, from_shards: Mapping[int, Tensor]) -> Tensor:
        """The payload rows that ``route`` combines, in the order of its columns: the shard's own
        and those from other shards."""
        if not from_shards:  # all rows are the shard's own
            in_order = np.arange(len(self.packets))
            if self.rows_per_device == 1 and np.array_equal(route.own_rows, in_order):
                return self.packets
            return self.take(route.own_rows)
        found = self.packets.new_empty(route.matrix.shape[1], self.packets.shape[1])
        found[torch.as_tensor(route.own)] = self.take(route.own_rows)
        for other, columns in route.inbox.items():
            found[torch.as_tensor(columns)] = from_shards[other]
        return found

    def remember(self, senders: Ints | None) -> None:
        """Keep the packets of ``senders`` (None: all devices) in the place of those that are too
        old to arrive."""
        if self.past is None:
            return
        place = (self.round - 1) % self.past.shape[1]
        if senders is None:
            self.past[:, place] = self.packets
        else:
            rows = torch.as_tensor(senders, device=self.packets.device)
            self.past[rows, place] = self.packets[rows]


@dataclass(frozen=True)
class Arrived:
    """What has arrived at a shard when a phase is applied.

    Attributes:
        mean_M: The mean over all devices; None unless the transport is :class:`MeanOverAll`.
        route: How the shard's devices combine payload rows; None unless the transport is
            :class:`AlongLinks`.
        from_shards: The payload rows from other shards, by the number of the shard.
    """

    mean_M: Tensor | None = None
    route: Route | None = None
    from_shards: Mapping[int, Tensor] = field(default_factory=dict)


class Carrier(Protocol):
    """How an engine plays a phase on all its shards: one method for each kind of transport."""

    def local(self, phase: Phase, round: int) -> None:
        """Apply a phase in which nothing travels."""

    def mean_over_all(self, phase: Phase, round: int) -> None:
        """Collect the rows, add up Σ_i share_i · row_i over all devices, and apply the sum."""

    def along_links(self, phase: Phase, round: int, messages: RoundMessages) -> None:
        """Collect the rows, carry them from shard to shard, and apply them."""


def play_round(phases: Sequence[Phase], round: int, carrier: Carrier) -> list[Traffic]:
    """Play the phases of ``round`` in their order; returns the traffic of each that sends.

    All engines use this function, and no other place tells the kinds of transport apart.
    """
    sent = []
    for phase in phases:
        if not phase.plays(round):
            continue
        match phase.transport(round):
            case NoTransport():
                carrier.local(phase, round)
            case MeanOverAll():
                carrier.mean_over_all(phase, round)
            case AlongLinks(messages):
                carrier.along_links(phase, round, messages)
        if phase.sends:
            sent.append(phase.traffic(round))
    return sent
