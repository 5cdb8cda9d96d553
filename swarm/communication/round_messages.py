"""The messages of one round, and the arithmetic of those that arrive."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from swarm.communication.network.base import Floats, Ints
from swarm.communication.topology.graph import Graph


@dataclass(frozen=True, eq=False)
class RoundMessages:
    """``matrix`` ``[R, N · rows_per_device]``: each of R received rows as a weighted sum of payload
    rows; ``dst_R`` is the device that receives it. In a ``mix`` whoever is not among them keeps its
    own row. For single messages ``src_R`` is the sender and ``age_R`` the rounds it was under way.

    ``key`` names what is the same for all rounds with this exchange; ``reusable``: whether there
    are other such rounds. ``silent``: whether nobody hears anybody else, now or later. ``is_mean``:
    whether everybody receives the mean over all.
    """

    key: Hashable
    reusable: bool
    matrix: csr_array
    rows_per_device: int
    dst_R: Ints
    src_R: Ints | None = None
    age_R: Ints | None = None
    silent: bool = False
    is_mean: bool = False


@dataclass(frozen=True)
class Traffic:
    """The messages of a phase: how many each device sent (``sent_N``) and will receive
    (``received_N``), how many of those it sent were lost or came too late, the ticks that those
    which arrive take together, the bits of each, and how many more a server sent."""

    sent_N: Ints
    received_N: Ints
    lost_N: Ints
    late_N: Ints
    ticks: int
    bits: int
    from_server: int = 0

    @property
    def messages(self) -> int:
        """The messages sent, by devices and by a server."""
        return int(self.sent_N.sum()) + self.from_server

    @property
    def lost(self) -> int:
        """The messages that were lost."""
        return int(self.lost_N.sum())

    @property
    def late(self) -> int:
        """The messages that came too late."""
        return int(self.late_N.sum())

    @property
    def bytes(self) -> int:
        """The bytes sent."""
        return self.messages * self.bits // 8


def weight_of(matrix: csr_array) -> Floats:
    """The weights of a mixing matrix on the edges of its graph, in their order; the diagonal left
    out.
    """
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.asarray(matrix.data[matrix.indices != row])


def at_most_one(dst: Ints, weight: Floats, devices: int) -> Floats:
    """Where messages of rounds with different weights meet and would leave nothing for the
    receiver's own row: equal shares.
    """
    count, total = np.bincount(dst, minlength=devices), np.bincount(dst, weight, devices)
    return np.where(total[dst] < 1.0, weight, 1.0 / (1 + count[dst]))


def reverse(graph: Graph) -> Ints:
    """For each edge of an undirected graph the number of the opposite one."""
    out = np.empty(len(graph.src_E), np.int64)
    out[np.lexsort((graph.dst_E, graph.src_E))] = np.arange(len(graph.src_E))
    return out
