"""Routes: the matrix of a round's messages, cut along the shards that hold the rows.

Columns are renumbered without being sorted again, so every device adds up what it hears in the
order of global ids, however the swarm is cut. This is why one shard and many give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from swarm.communication.round_messages import RoundMessages

T = TypeVar("T")
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Route:
    """One shard's part of a round's messages.

    Attributes:
        matrix: ``[R, m]``: each of the R rows that the shard's devices receive, as a weighted sum
            of the m payload rows that it needs for that, in the order of their ids.
        own: The columns of ``matrix`` that are rows of this shard.
        own_rows: The numbers of those rows in the shard.
        inbox: By shard, the columns whose rows come from that shard.
        outbox: By shard, the numbers of the rows that are sent to that shard.
        dst_R: The device that receives each row, as a number of the shard's rows.
        src_R: The sender's id, if each row is a single message; else None.
        age_R: The rounds that it was under way, if each row is a single message; else None.
        sender_m: The id of the device that sent the row of each column.
        age_m: How many rounds ago it was sent.
    """

    matrix: sparse.csr_array
    own: Ints
    own_rows: Ints
    inbox: dict[int, Ints]
    outbox: dict[int, Ints]
    dst_R: Ints
    src_R: Ints | None
    age_R: Ints | None
    sender_m: Ints
    age_m: Ints

    @cached_property
    def multicasts(self) -> list[tuple[Ints, list[int]]]:
        """The distinct sets of rows in ``outbox``, each with the shards that it is sent to, so that
        rows which several shards need travel as one array."""
        found: dict[bytes, tuple[Ints, list[int]]] = {}
        for other in sorted(self.outbox):
            rows = self.outbox[other]
            found.setdefault(rows.tobytes(), (rows, []))[1].append(other)
        return list(found.values())

    def addressed(self, sent: Sequence[T]) -> dict[int, T]:
        """Return what is sent to each shard, by its number; ``sent`` has an entry for each of the
        ``multicasts``."""
        pairs = zip(self.multicasts, sent, strict=True)
        return {other: each for (_, others), each in pairs for other in others}

    def product(self, payload: Tensor) -> Tensor:
        """Return ``matrix`` times ``payload`` ``[m, M]``, which is ``[R, M]``; each row is summed
        in the order of its columns.
        """
        if payload.device.type == "cpu":
            return torch.from_numpy(self.matrix @ payload.numpy())
        # A sparse product of an accelerator's library adds in an order of its own, which may depend
        # on how many rows there are.
        order_R, entries = self._by_entry
        out = payload.new_zeros(len(order_R), payload.shape[1])
        for column_k, weight_k in entries:
            rows = payload[torch.as_tensor(column_k, device=payload.device)]
            weight = torch.as_tensor(weight_k, device=payload.device).to(payload.dtype)
            out[: len(column_k)] += rows.mul_(weight[:, None])  # rounded twice, as above
        received_RM = torch.empty_like(out)
        received_RM[torch.as_tensor(order_R, device=out.device)] = out
        return received_RM

    @cached_property
    def _by_entry(self) -> tuple[Ints, list[tuple[Ints, npt.NDArray[np.generic]]]]:
        """The rows of ``matrix``, those with most entries first, and for each k the columns and
        weights of entry k of those rows that have so many."""
        start, count = self.matrix.indptr[:-1], np.diff(self.matrix.indptr)
        order = np.argsort(-count, kind="stable")
        found = []
        for k in range(int(count.max(initial=0))):
            at = start[order[: np.count_nonzero(count > k)]] + k
            found.append((self.matrix.indices[at].astype(np.int64), self.matrix.data[at]))
        return order, found


def routes(messages: RoundMessages, shards: list[Ints], dtype: npt.DTypeLike) -> list[Route]:
    """Return a :class:`Route` for each shard, with weights of ``dtype``; ``shards`` lists the
    ascending ids of the devices that each one holds.
    """
    matrix = messages.matrix.astype(dtype)
    n = sum(map(len, shards))
    owner, place = np.empty(n, np.int64), np.empty(n, np.int64)
    for s, devices in enumerate(shards):
        owner[devices], place[devices] = s, np.arange(len(devices))
    receiver, parts = owner[messages.dst_R], []
    for s in range(len(shards)):
        mine = np.flatnonzero(receiver == s) if not messages.for_all else np.arange(len(receiver))
        rows = matrix[mine]
        needed = np.unique(rows.indices)
        local = sparse.csr_array(
            (rows.data, np.searchsorted(needed, rows.indices), rows.indptr),
            shape=(len(mine), len(needed)),
        )
        sender, age = np.divmod(needed, messages.rows_per_device)
        by, row = owner[sender], place[sender] * messages.rows_per_device + age
        inbox = {int(t): np.flatnonzero(by == t) for t in np.unique(by) if t != s}
        parts.append((local, row, np.flatnonzero(by == s), inbox, mine, sender, age))
    out: list[dict[int, Ints]] = [{} for _ in shards]
    for s, (_, row, _, inbox, *_) in enumerate(parts):
        for t, columns in inbox.items():
            out[t][s] = row[columns]
    return [
        Route(
            local,
            own,
            row[own],
            inbox,
            out[s],
            place[messages.dst_R[mine]],
            _of(messages.src_R, mine),
            _of(messages.age_R, mine),
            sender,
            age,
        )
        for s, (local, row, own, inbox, mine, sender, age) in enumerate(parts)
    ]


def _of(values: Ints | None, rows: Ints) -> Ints | None:
    return None if values is None else values[rows]
