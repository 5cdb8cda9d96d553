"""What has arrived at an actor: the latest message of each sender, until it is mixed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from torch import Tensor

from swarm.communication.round_messages import weight_of
from swarm.communication.routing import Route
from swarm.simulation.experiment import Experiment
from swarm.simulation.phases.transport import Arrived

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
MAIL = -1  # stands for all other actors where a route names the shard that rows come from


@dataclass(frozen=True)
class Packet:
    """The rows that some devices of one actor send to the devices of another.

    Attributes:
        session: The number of the experiment, by which late packets of an earlier one are known.
        phase: The number of the phase in its protocol.
        round: The round of the sending actor, counted from 1.
        time: When it was sent, in seconds of the wall clock.
        devices: The ids of the senders.
        rows: Their rows, ``[k, M]``.
    """

    session: int
    phase: int
    round: int
    time: float
    devices: Ints
    rows: Array


@dataclass(frozen=True)
class Letter:
    """One sender's row, with the round and the time at which it was sent."""

    row_M: Array
    round: int
    time: float


class LiveLinks:
    """The links of the devices of one actor: ``owner_N`` says which actor holds each device, and
    ``number`` is this one.

    Attributes:
        dst_E, src_E, weight_E: The links that end here, sorted by (receiver, sender): the receiver
            as a number of the shard's rows, the sender's id, and the mixing weight.
        here_E: Whether the sender is here as well.
        fan_N: How many links run from each device of the swarm to devices of this actor.
        sent_n: How many links run from each device of this actor to anybody.
        outgoing: By actor, the numbers of the rows that its devices hear, and how many links run
            to it from each of them.
        some: Whether any link begins or ends here.
    """

    def __init__(self, experiment: Experiment, owner_N: Ints, number: int) -> None:
        graph, n = experiment.communication.graph(1), experiment.settings.devices
        weight_E = weight_of(experiment.communication.mixing(1).matrix)
        self.devices = np.flatnonzero(owner_N == number)
        place_N = np.zeros(n, np.int64)
        place_N[self.devices] = np.arange(len(self.devices))
        ends = owner_N[graph.dst_E] == number
        self.dst_E, self.src_E = place_N[graph.dst_E[ends]], graph.src_E[ends]
        self.weight_E, self.here_E = weight_E[ends], owner_N[self.src_E] == number
        self.fan_N = np.bincount(self.src_E, minlength=n)
        begins = owner_N[graph.src_E] == number
        src, to = graph.src_E[begins], owner_N[graph.dst_E[begins]]
        self.sent_n = np.bincount(place_N[src], minlength=len(self.devices))
        self.outgoing = {
            int(other): np.unique(place_N[src[to == other]], return_counts=True)
            for other in np.unique(to)
            if other != number
        }
        self.some = len(self.src_E) > 0 or len(src) > 0
        self.dtype = experiment.settings.compute.dtype

    def arrived(self, active_n: Bools, letters: dict[int, Letter]) -> tuple[Arrived, Bools]:
        """The rows that the devices combine, and which links brought one.

        A link brings the row of an active neighbour of the same actor, or the one in ``letters``
        (by sender). The weight of every other link goes to its receiver's own row, so that the
        weights of each receiver sum to one.
        """
        active_N = np.zeros(len(self.fan_N), bool)
        active_N[self.devices] = active_n
        active_N[list(letters)] = True
        came_E = active_N[self.src_E]
        n, mail = len(self.devices), np.array(sorted(letters), np.int64)
        sender_m = np.sort(np.concatenate([self.devices, mail]))
        weight, dst = self.weight_E[came_E], self.dst_E[came_E]
        own_n = 1.0 - np.bincount(dst, weight, n)
        row = np.concatenate([dst, np.arange(n)])
        column = np.searchsorted(sender_m, np.concatenate([self.src_E[came_E], self.devices]))
        value = np.concatenate([weight, own_n]).astype(self.dtype)
        matrix = coo_array((value, (row, column)), shape=(n, len(sender_m))).tocsr()
        matrix.sort_indices()
        own, everybody = np.searchsorted(sender_m, self.devices), np.arange(n)
        inbox, rows = {}, dict[int, Tensor]()
        if len(mail):
            inbox = {MAIL: np.searchsorted(sender_m, mail)}
            rows = {MAIL: torch.from_numpy(np.stack([letters[int(i)].row_M for i in mail]))}
        age_m = np.zeros(len(sender_m), np.int64)
        route = Route(matrix, own, everybody, inbox, {}, everybody, None, None, sender_m, age_m)
        return Arrived(route=route, from_shards=rows), came_E


class Mailbox:
    """The latest letter of each sender, for each phase that mixes."""

    def __init__(self, links: LiveLinks) -> None:
        self._links = links
        self._kept: dict[int, dict[int, Letter]] = {}
        self._overwritten_N = np.zeros(len(links.fan_N), np.int64)

    def put(self, packet: Packet) -> None:
        """Keep each row of a packet in the place of its sender's earlier one."""
        kept = self._kept.setdefault(packet.phase, {})
        for device, row_M in zip(packet.devices.tolist(), packet.rows, strict=True):
            if device in kept:
                self._overwritten_N[device] += self._links.fan_N[device]
            kept[device] = Letter(row_M, packet.round, packet.time)

    def take(self, phase: int) -> dict[int, Letter]:
        """All letters for this phase, by sender; afterwards there are none."""
        return self._kept.pop(phase, {})

    def take_overwritten(self) -> Ints:
        """How many messages of each device were replaced, unread, since the last call, ``[N]``."""
        found, self._overwritten_N = self._overwritten_N, np.zeros_like(self._overwritten_N)
        return found

    @property
    def waiting(self) -> int:
        """The number of messages that lie here."""
        fan_N = self._links.fan_N
        return int(sum(fan_N[device] for kept in self._kept.values() for device in kept))
