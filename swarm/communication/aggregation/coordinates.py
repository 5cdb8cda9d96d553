"""Rules that treat every number of a row by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.aggregation.stack import AT_ONCE, Stack, devices_at_once

_NETWORK = 32  # up to so many rows, a sorting network is faster than sorting


class CoordinateRule(RobustRule):
    """A rule by which every coordinate becomes a function of the middle ones of its n values,
    sorted."""

    symmetric = True
    weighs = False
    partial_rows = "by_number"

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`: fewer than half of the rows."""
        return (rows - 1) // 2

    def held_numbers(self, rows: int, width: int) -> float:
        """See :meth:`Aggregator.held_numbers`: the rows, what sorts some columns of them (which
        comes with the places of the values where it is no network), and the result."""
        devices = devices_at_once(rows, width)
        numbers, copies = rows * width * devices, 3 if rows > _NETWORK else 1
        return float(numbers + copies * min(numbers, AT_ONCE) + 2 * width * devices)

    @abstractmethod
    def kept(self, rows: int, f: int) -> range:
        """Return the places of the sorted values that :meth:`of_sorted` needs."""

    @abstractmethod
    def of_sorted(self, middle: Sequence[Tensor]) -> Tensor:
        """Return the result, given the values at these places, ``[G, M]`` each."""

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        kept, (devices, numbers) = self.kept(stack.n, stack.f), stack.own_GM.shape
        width = max(1, AT_ONCE // (stack.n * devices))
        parts = [
            self.of_sorted(sorted_values(stack.rows_nGM[:, :, start : start + width], kept))
            for start in range(0, numbers, width)
        ]
        # the smaller of 0 and −0 may be either of them: a sum with 0 is 0
        return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)) + 0.0


def sorted_values(rows_nGM: Tensor, kept: range) -> list[Tensor]:
    """Return the values at the places ``kept`` if those of every coordinate are sorted along the
    first axis, ``[G, M]`` each."""
    if len(rows_nGM) > _NETWORK:
        return list(rows_nGM.sort(dim=0).values[kept.start : kept.stop])
    rows = list(rows_nGM.unbind(0))
    for low, high, need_low, need_high in network(len(rows), kept.start, kept.stop):
        a, b = rows[low], rows[high]
        if need_low:
            rows[low] = torch.minimum(a, b)
        if need_high:
            rows[high] = torch.maximum(a, b)
    return rows[kept.start : kept.stop]


@lru_cache
def network(n: int, start: int, stop: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Return the comparators (low, high, whether the smaller is needed, whether the larger is) that
    bring the values at the places from ``start`` to before ``stop`` of ``n`` sorted ones there.

    They are those of Batcher's odd-even merge sort (AFIPS 1968), without those that no other needs.
    """
    needed, found = set(range(start, stop)), []
    for low, high in reversed(list(_batcher(n))):
        need = low in needed, high in needed
        if any(need):
            found.append((low, high, *need))
            needed |= {low, high}
    return tuple(reversed(found))


def _batcher(n: int) -> Iterator[tuple[int, int]]:
    """The comparators of a network that sorts ``n`` values."""
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        yield i + j, i + j + k
            k //= 2
        p *= 2
