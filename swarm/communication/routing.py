"""Who sends which rows to whom: a matrix over payload rows cut along the shards that hold them.

Columns are remapped without being re-sorted, so every device adds up what it hears in global id
order, however the swarm is cut: the reason why one shard and many give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from swarm.communication.round_messages import RoundMessages

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Route:
    """One shard's part of an exchange.

    ``matrix`` ``[r, m]`` has what the shard's devices receive as rows and the m payload rows it
    needs for that (in id order) as columns; ``own`` and ``inbox`` say which of its columns are its
    own rows (``own_rows``) and which come from another shard; ``outbox`` has the rows that others
    need; ``sender_m`` and ``age_m`` say who sent the row of each column, and how many rounds ago.
    ``dst_R`` is the receiving device of each row, as a number of the shard's rows; ``src_R``
    and ``age_R`` are sender and age, where every row is one message.
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

    def product(self, payload: Tensor) -> Tensor:
        """``matrix`` times ``payload`` ``[m, M]``: every row is summed in the order of its
        columns.
        """
        if payload.device.type == "cpu":
            return torch.from_numpy(self.matrix @ payload.numpy())
        m = self.matrix
        pieces = (torch.as_tensor(v, device=payload.device) for v in (m.indptr, m.indices, m.data))
        crow, column, value = pieces
        sparse_csr = torch.sparse_csr_tensor(crow, column, value.to(payload.dtype), m.shape)
        out: Tensor = sparse_csr @ payload
        return out


def routes(exchange: RoundMessages, shards: list[Ints], dtype: npt.DTypeLike) -> list[Route]:
    """A :class:`Route` for each shard, its weights in the rows' ``dtype``; ``shards`` lists the
    ascending device ids each one holds."""
    e, matrix = exchange, exchange.matrix.astype(dtype)
    n = sum(map(len, shards))
    owner, place = np.empty(n, np.int64), np.empty(n, np.int64)
    for s, devices in enumerate(shards):
        owner[devices], place[devices] = s, np.arange(len(devices))
    receiver, parts = owner[e.dst_R], []
    for s in range(len(shards)):
        mine = np.flatnonzero(receiver == s)
        rows = matrix[mine]
        needed = np.unique(rows.indices)
        local = sparse.csr_array(
            (rows.data, np.searchsorted(needed, rows.indices), rows.indptr),
            shape=(len(mine), len(needed)),
        )
        by = owner[needed // e.rows_per_device]
        row = place[needed // e.rows_per_device] * e.rows_per_device + needed % e.rows_per_device
        inbox = {int(t): np.flatnonzero(by == t) for t in np.unique(by) if t != s}
        parts.append((local, row, np.flatnonzero(by == s), inbox, mine, needed))
    out: list[dict[int, Ints]] = [{} for _ in shards]
    for s, (_, row, _, inbox, _, _) in enumerate(parts):
        for t, columns in inbox.items():
            out[t][s] = row[columns]
    return [
        Route(
            local,
            own,
            row[own],
            inbox,
            out[s],
            place[e.dst_R[mine]],
            _of(e.src_R, mine),
            _of(e.age_R, mine),
            needed // e.rows_per_device,
            needed % e.rows_per_device,
        )
        for s, (local, row, own, inbox, mine, needed) in enumerate(parts)
    ]


def _of(values: Ints | None, rows: Ints) -> Ints | None:
    return None if values is None else values[rows]
