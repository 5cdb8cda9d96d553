"""Numbers of wide rows that lie in few windows, which are copied window by window: several times
as fast as number by number, as no place of a number is looked up.

Axes in names: N rows of P numbers, m chosen rows, c chosen numbers of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LEAST = 64  # numbers of a window, on average; smaller ones cost as much as their numbers

Ints = npt.NDArray[np.int64]


def zeros(rows: int, like_NP: Tensor) -> Tensor:
    """Return zeros for so many rows of the width and kind of ``like_NP``: on a CPU memory that the
    system clears once it is touched, in large pages, so that what a small model never has costs
    little."""
    if like_NP.device.type != "cpu":
        return like_NP.new_zeros(rows, like_NP.shape[1])
    return torch.from_numpy(np.zeros((rows, like_NP.shape[1]), like_NP.numpy().dtype))


def taken(x_NP: Tensor, place_m: Tensor, place_c: Tensor) -> Tensor:
    """Return the numbers in the places ``place_c`` of the rows ``place_m``, ``[m, c]``; one choice
    after the other, which is five times as fast as both at once."""
    rows_mP = x_NP.index_select(0, place_m)
    return rows_mP if len(place_c) == x_NP.shape[1] else rows_mP.index_select(1, place_c)


def put_(x_NP: Tensor, place_m: Tensor, place_c: Tensor, values_mc: Tensor) -> None:
    """Write ``values_mc`` to where :func:`taken` reads; the rows must lie one behind the other."""
    if len(place_c) == x_NP.shape[1]:
        x_NP.index_copy_(0, place_m, values_mc)
        return
    at_mc = (place_m * x_NP.shape[1])[:, None] + place_c
    x_NP.view(-1).scatter_(0, at_mc.view(-1), values_mc.reshape(-1))


@dataclass(frozen=True)
class Window:
    """``count`` runs of ``length`` numbers of a wide row, the first of which begins at ``start``,
    and each ``step`` numbers behind the one before."""

    start: int
    length: int
    count: int = 1
    step: int = 0

    def of(self, x_NP: Tensor) -> Tensor:
        """These numbers of wide rows, ``[N, length]`` or ``[N, count, length]``: a view."""
        if self.count == 1:
            return x_NP[:, self.start : self.start + self.length]
        shape, step = (len(x_NP), self.count, self.length), (x_NP.stride(0), self.step, 1)
        return x_NP.as_strided(shape, step, x_NP.storage_offset() + self.start)

    def within(self, own_mc: Tensor) -> Tensor:
        """The same numbers as a view of shorter rows, in which they lie one behind the other."""
        shape = (self.length,) if self.count == 1 else (self.count, self.length)
        return own_mc.view(len(own_mc), *shape)


@dataclass(frozen=True, eq=False)
class Runs:
    """Where c numbers lie in a wide row.

    Attributes:
        place_c: The place of each.
        parts: Windows that have them all: the place of each window among the numbers, and the
            window.
    """

    place_c: Tensor
    parts: tuple[tuple[slice, Window], ...]

    @classmethod
    def of(cls, place_c: Tensor) -> Runs:
        """Return the windows of numbers in these places of a wide row, ``[c]``."""
        found, own = [], 0
        for window in _windows(place_c.cpu().numpy()):
            stop = own + window.count * window.length
            found.append((slice(own, stop), window))
            own = stop
        return cls(place_c, tuple(found))

    @property
    def width(self) -> int:
        """c, how many numbers there are."""
        return len(self.place_c)

    @property
    def long(self) -> bool:
        """Whether the windows are large enough to be worth it."""
        return len(self.parts) <= 1 or len(self.parts) * LEAST <= self.width

    def taken(self, x_NP: Tensor, place_m: Tensor) -> Tensor:
        """Return these numbers of the rows ``place_m``, ``[m, c]``."""
        out_mc = x_NP.new_empty(len(place_m), self.width)
        self.read(x_NP, place_m, out_mc)
        return out_mc

    def read(self, x_NP: Tensor, place_m: Tensor, out_mc: Tensor) -> None:
        """Write these numbers of the rows ``place_m`` to ``out_mc``, which has no gaps."""
        if not self.long:
            out_mc.copy_(taken(x_NP, place_m, self.place_c.to(x_NP.device)))
            return
        for own, window in self.parts:
            into = window.within(out_mc[:, own])
            torch.index_select(window.of(x_NP), 0, place_m, out=into)

    def put_(self, x_NP: Tensor, place_m: Tensor, values_mc: Tensor) -> None:
        """Write ``values_mc`` to where :meth:`taken` reads; the rows must lie one behind the
        other."""
        if not self.long:
            put_(x_NP, place_m, self.place_c.to(x_NP.device), values_mc)
            return
        for own, window in self.parts:
            window.of(x_NP).index_copy_(0, place_m, window.within(values_mc[:, own]))


def _windows(place_c: Ints) -> Iterator[Window]:
    """Numbers in these places, in this order, as windows: as few as one pass finds."""
    cut = np.flatnonzero(np.diff(place_c) != 1) + 1
    start_r = place_c[np.concatenate([[0], cut])] if len(place_c) else place_c
    length_r = np.diff(np.concatenate([[0], cut, [len(place_c)]]))[: len(start_r)]
    now: Window | None = None
    for start, length in zip(start_r.tolist(), length_r.tolist(), strict=True):
        grown = None if now is None else _grown(now, start, length)
        if now is not None and grown is None:
            yield now
        now = grown or Window(start, length)
    if now is not None:
        yield now


def _grown(window: Window, start: int, length: int) -> Window | None:
    """The window with one more run; None if that does not continue it."""
    step = start - window.start if window.count == 1 else window.step
    if length != window.length or step < length or start != window.start + window.count * step:
        return None
    return Window(window.start, length, window.count + 1, step)
