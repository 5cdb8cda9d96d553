"""Numbers of a wide row that lie in few runs, which are copied run by run: several times as fast as
number by number, as no place of a number is looked up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEAST = 64  # numbers of a run, on average; shorter ones cost as much as their numbers


def zeros(rows: int, like_NP: Tensor) -> Tensor:
    """Return zeros for so many rows of the width and kind of ``like_NP``: on a CPU memory that the
    system clears once it is touched, so that what a small model never has costs nothing."""
    if like_NP.device.type != "cpu":
        return like_NP.new_zeros(rows, like_NP.shape[1])
    return torch.from_numpy(np.zeros((rows, like_NP.shape[1]), like_NP.numpy().dtype))


@dataclass(frozen=True)
class Runs:
    """Where ``width`` numbers lie in a wide row: ``parts`` has the place of each run among these
    numbers, and in the wide row."""

    width: int
    parts: tuple[tuple[slice, slice], ...]

    @classmethod
    def of(cls, place_c: Tensor) -> Runs:
        """Return the runs of numbers in these places of a wide row, ``[c]``."""
        place = place_c.cpu().numpy()
        cut = np.flatnonzero(np.diff(place) != 1) + 1
        ends = zip([0, *cut.tolist()], [*cut.tolist(), len(place)], strict=True)
        parts = [
            (slice(a, b), slice(int(place[a]), int(place[a]) + b - a)) for a, b in ends if b > a
        ]
        return cls(len(place), tuple(parts))

    @property
    def long(self) -> bool:
        """Whether the runs are long enough to be worth it."""
        return len(self.parts) * LEAST <= self.width

    def taken(self, x_NP: Tensor, place_m: Tensor) -> Tensor:
        """Return these numbers of the rows ``place_m``, ``[m, c]``."""
        out_mc = x_NP.new_empty(len(place_m), self.width)
        for own, wide in self.parts:
            torch.index_select(x_NP[:, wide], 0, place_m, out=out_mc[:, own])
        return out_mc

    def put_(self, x_NP: Tensor, place_m: Tensor, values_mc: Tensor) -> None:
        """Write ``values_mc`` to where :meth:`taken` reads."""
        for own, wide in self.parts:
            x_NP[:, wide].index_copy_(0, place_m, values_mc[:, own])
