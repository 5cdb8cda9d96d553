"""The messages of one round, and helpers for their weights."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from swarm.communication.network.base import Floats, Ints
from swarm.communication.network.network import LATE, LOST, UNSENT
from swarm.communication.topology.graph import Graph


@dataclass(frozen=True, eq=False)
class RoundMessages:
    """The messages of one phase of a round.

    Attributes:
        key: Identifies these messages; rounds with the same messages have the same key.
        reusable: Whether other rounds have the same messages.
        matrix: ``[R, N · rows_per_device]``: each of R received rows as a weighted sum of payload
            rows.
        rows_per_device: The number of payload rows of a device.
        dst_R: The device that receives each row. In a ``mix`` phase all others keep their row.
        src_R: The sender's id, if each row is a single message; else None.
        age_R: The rounds that it was under way, if each row is a single message; else None.
        silent: Whether no device hears another one in such a round.
        is_mean: Whether every device receives the mean over all devices.
        for_all: Whether all devices receive the same rows, so that every shard gets all of them.
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
    for_all: bool = False


@dataclass(frozen=True, eq=False)
class Overhead:
    """What the secure sums of a phase send beside the masked rows.

    Attributes:
        sent_N: The bits that each device sends; one number where all send as many.
        received_N: The bits that each device gets.
        from_server: The bits that a server sends.
        round_trips: How many times messages go back or forth, those of the rows included.
        sums: The number of sums.
        lost: Those of them that cannot be recovered.
    """

    sent_N: Ints | int
    received_N: Ints | int
    from_server: int = 0
    round_trips: int = 0
    sums: int = 0
    lost: int = 0

    @property
    def bits(self) -> int:
        """All bits sent."""
        return int(np.sum(self.sent_N)) + self.from_server


NOTHING = Overhead(0, 0)


@dataclass(frozen=True, eq=False)
class MessageSizes:
    """The bits of the messages of a phase, where these have several sizes.

    Attributes:
        sent_N: The bits that each device sends.
        received_N: The bits that each device will receive.
        from_server: The bits that a server sends.
    """

    sent_N: Ints
    received_N: Ints
    from_server: int = 0


@dataclass(frozen=True)
class Traffic:
    """Counts of the messages of a phase.

    Attributes:
        sent_N: The messages that each device sent.
        received_N: The messages that each device will receive.
        lost_N: The messages of each sender that are lost.
        late_N: The messages of each sender that are given up as late.
        ticks: The rounds that all delivered messages together are under way.
        bits: The size of one message, or of the largest.
        from_server: The messages that a server sent.
        overhead: What secure sums send beside these messages.
        sizes: How large the messages are; None where all have ``bits``.
    """

    sent_N: Ints
    received_N: Ints
    lost_N: Ints
    late_N: Ints
    ticks: int
    bits: int
    from_server: int = 0
    overhead: Overhead = NOTHING
    sizes: MessageSizes | None = None

    @property
    def sent_bits_N(self) -> Ints:
        """The bits that each device sent."""
        found_N = self.sent_N * self.bits if self.sizes is None else self.sizes.sent_N
        return found_N + self.overhead.sent_N

    @property
    def received_bits_N(self) -> Ints:
        """The bits that each device will receive."""
        found_N = self.received_N * self.bits if self.sizes is None else self.sizes.received_N
        return found_N + self.overhead.received_N

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
        more = self.overhead.bits
        if self.sizes is not None:
            return (int(self.sizes.sent_N.sum()) + self.sizes.from_server + more) // 8
        return (self.messages * self.bits + more) // 8

    @property
    def secure_bytes(self) -> int:
        """Those of them that secure sums add."""
        return self.overhead.bits // 8

    @property
    def secure_round_trips(self) -> int:
        """How many times messages go back or forth in secure sums."""
        return self.overhead.round_trips

    @property
    def sums_lost(self) -> int:
        """The secure sums that cannot be recovered."""
        return self.overhead.lost


def traffic_of(graph: Graph, ticks_E: Ints, bits: int, copies_N: Ints | None) -> Traffic:
    """The messages of ``bits`` each on the edges of ``graph``, whose outcomes are ``ticks_E``; a
    device sends each of its messages ``copies_N`` times (None: once)."""
    sent, arrives, lost, late = ticks_E != UNSENT, ticks_E >= 0, ticks_E == LOST, ticks_E == LATE
    copies_E = np.ones(len(ticks_E), np.int64) if copies_N is None else copies_N[graph.src_E]

    def count(end_E: Ints, which: npt.NDArray[np.bool_]) -> Ints:
        # sums of whole numbers, which floats hold exactly
        return np.bincount(end_E[which], copies_E[which], graph.n).astype(np.int64)

    return Traffic(
        count(graph.src_E, sent),
        count(graph.dst_E, arrives),
        count(graph.src_E, lost),
        count(graph.src_E, late),
        int((ticks_E * copies_E)[arrives].sum()),
        bits,
    )


def weight_of(matrix: csr_array) -> Floats:
    """Return the weights of a mixing matrix on the edges of its graph, ``[E]`` in their order,
    without the diagonal.
    """
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.asarray(matrix.data[matrix.indices != row])


def at_most_one(dst: Ints, weight: Floats, devices: int) -> Floats:
    """Return the weights of messages, changed so that each receiver's own row keeps some weight.

    The messages that a device receives at once may have been sent in rounds with different weights.
    If these sum to one or more, the messages and the device's own row get equal weights instead.
    """
    count, total = np.bincount(dst, minlength=devices), np.bincount(dst, weight, devices)
    return np.where(total[dst] < 1.0, weight, 1.0 / (1 + count[dst]))


def reverse(graph: Graph) -> Ints:
    """Return for each edge of an undirected graph the number of the opposite edge, ``[E]``."""
    out = np.empty(len(graph.src_E), np.int64)
    out[np.lexsort((graph.dst_E, graph.src_E))] = np.arange(len(graph.src_E))
    return out
