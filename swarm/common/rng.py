"""Keyed, counter-based randomness: a draw is a pure function of (seed, purpose, device, step,
position).

Nothing here has a state, so any worker can make any device's draws in any order and get the same
bits. The generator is Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: *Parallel random numbers: as easy
as 1, 2, 3*, SC 2011), written over NumPy arrays so that one call serves every device of a block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

Words = npt.NDArray[np.uint32]


def philox(
    counter: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], key: tuple[int, int]
) -> Words:
    """Return ``[..., 4]`` random 32-bit words: Philox-4x32-10 of four broadcastable 32-bit counter
    words.
    """
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(c, dtype=np.uint64) for c in counter))
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            (p1 >> _32) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _32) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


@dataclass(frozen=True)
class Keys:
    """The random draws of one purpose under one seed.

    Different purposes have independent streams.
    """

    seed: int
    purpose: str

    @property
    def key(self) -> tuple[int, int]:
        """The key of the generator, two 32-bit words."""
        digest = hashlib.sha256(f"{self.seed}/{self.purpose}".encode()).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")

    def words(self, device: npt.ArrayLike, step: npt.ArrayLike, count: int) -> Words:
        """Return ``[..., count]`` random uint32 words for each (device, step).

        ``device`` and ``step`` broadcast to ``[...]``. Word *i* does not depend on ``count``.
        """
        device, step = np.asarray(device)[..., None], np.asarray(step)[..., None]
        lanes = np.arange(-(-count // 4))
        words = philox((lanes, device, step, np.asarray(step, dtype=np.uint64) >> _32), self.key)
        # no −1 in the shape: it is ambiguous where there is no device
        return words.reshape(*words.shape[:-2], 4 * len(lanes))[..., :count]

    def uniform(
        self, device: npt.ArrayLike, step: npt.ArrayLike, count: int
    ) -> npt.NDArray[np.float64]:
        """Return ``[..., count]`` uniform floats in the open interval (0, 1); see :meth:`words`."""
        return (self.words(device, step, count).astype(np.float64) + 0.5) * 2.0**-32

    def normal(
        self, device: npt.ArrayLike, step: npt.ArrayLike, count: int
    ) -> npt.NDArray[np.float64]:
        """Return ``[..., count]`` standard normal floats (Box–Muller, with both outputs used); see
        :meth:`words`.
        """
        pairs = -(-count // 2)
        u = self.uniform(device, step, 2 * pairs)
        radius, angle = np.sqrt(-2.0 * np.log(u[..., 0::2])), 2.0 * np.pi * u[..., 1::2]
        both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        return both.reshape(*both.shape[:-2], 2 * pairs)[..., :count]

    def generator(self, *index: int) -> np.random.Generator:
        """Return a NumPy generator for draws before the start, such as a graph or a split, that
        need NumPy's distributions; ``index`` selects one of several.
        """
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([*self.key, *index])))


class NormalRows:
    """Rows of ``count`` normal numbers of ``dtype``, a row for each (device, step), for noise on
    every parameter, where :meth:`Keys.normal` would take most of a round.

    The words are those of NumPy's Philox-4x64-10, with the device and the step in its counter, and
    each pair of them makes two numbers by Box–Muller. A row follows from its device and step alone,
    and is another one for another ``count``.
    """

    AT_ONCE = 2**17  # numbers: about as many as fit into the cache, for few calls

    def __init__(self, keys: Keys, count: int, dtype: npt.DTypeLike = np.float32) -> None:
        self._half, self._count = -(-count // 2), count
        self._source = np.random.Philox(0)
        self._state: Any = self._source.state
        self._state["state"]["key"][:] = keys.key
        self._state["buffer_pos"] = 4  # no word is left of the row before
        self._at_once = min(32, max(1, self.AT_ONCE // count))  # rows at once
        self._u = np.empty((2, self._at_once, self._half), dtype)
        self._rows = np.empty((self._at_once, 2, self._half), dtype)

    def rows(
        self,
        device_B: npt.NDArray[np.int64],
        step_B: npt.NDArray[np.int64],
        std_B: npt.NDArray[np.float64],
    ) -> Iterator[tuple[slice | npt.NDArray[np.int64], npt.NDArray[np.floating]]]:
        """Yield the places and rows ``[r, count]`` of some (device, step) at a time, of those whose
        standard deviation is not 0. The rows are overwritten by the next ones.

        A number is at most 6.8 standard deviations from 0, as its words have 32 bits."""
        there, one = np.flatnonzero(std_B), self._u.dtype.type
        for first in range(0, len(there), self._at_once):
            some = there[first : first + self._at_once]
            u, found = self._u[:, : len(some)], self._rows[: len(some)]
            for place, i in enumerate(some):
                self._state["state"]["counter"][:] = (0, step_B[i], device_B[i], 0)
                self._source.state = self._state
                words = self._source.random_raw(self._half).view(np.uint32)
                np.copyto(u[:, place], words.reshape(2, -1))
            radius, angle = u
            radius += one(0.5)
            radius *= one(2.0**-32)
            np.log(radius, out=radius)
            radius *= (-2 * std_B[some] ** 2).astype(radius.dtype)[:, None]
            np.sqrt(radius, out=radius)
            angle *= one(2.0**-31 * np.pi)
            np.cos(angle, out=found[:, 0])
            np.sin(angle, out=found[:, 1])
            found *= radius[:, None]
            together = some[-1] - some[0] == len(some) - 1
            where = slice(int(some[0]), int(some[-1]) + 1) if together else some
            yield where, found.reshape(len(some), -1)[:, : self._count]


class KeyedWords:
    """Rows of random 32-bit words, each from a key of its own, for masks: those of NumPy's
    Philox-4x64-10, whose key has 128 bits, counted from 0. Word *i* does not depend on ``count``.
    """

    def __init__(self) -> None:
        self._source = np.random.Philox(0)
        self._state: Any = self._source.state
        self._state["state"]["counter"][:] = 0
        self._state["buffer_pos"] = 4  # no word is left of the row before

    def words(self, key_2: npt.NDArray[np.uint64], count: int) -> Words:
        """Return the first ``count`` words of the key ``key_2``, two 64-bit words."""
        self._state["state"]["key"][:] = key_2
        self._source.state = self._state
        return self._source.random_raw(-(-count // 2)).view(np.uint32)[:count]


def hashed_words(keys_n2: Words, width: int) -> Words:
    """Return ``[n, width]`` random words, in a tenth of the time that a generator takes, for rows
    with keys of two random words, of which the second is odd; word j does not depend on ``width``.

    Word j of a row with the key (a, b) is mix((j · b + a) mod 2³²): a Weyl sequence, which differs
    from row to row and has no equal values, goes through a 32-bit finaliser. This is good enough
    for stochastic rounding; everything else draws from Philox.
    """
    x = np.arange(width, dtype=np.uint32) * keys_n2[:, 1:]
    x += keys_n2[:, :1]
    x ^= (high := x >> np.uint32(16))
    x *= np.uint32(0x7FEB352D)
    x ^= np.right_shift(x, np.uint32(15), out=high)
    x *= np.uint32(0x846CA68B)
    x ^= np.right_shift(x, np.uint32(16), out=high)
    return x


def hashed_uniform(keys_n2: Words, width: int) -> npt.NDArray[np.float32]:
    """Return ``[n, width]`` uniform numbers in [0, 1), multiples of 2⁻²⁴; see
    :func:`hashed_words`."""
    x = hashed_words(keys_n2, width)
    x >>= np.uint32(8)
    return x.astype(np.float32) * np.float32(2.0**-24)


def shuffled(
    position: npt.ArrayLike,
    size: npt.ArrayLike,
    keys: Keys,
    device: npt.ArrayLike,
    epoch: npt.ArrayLike,
) -> npt.NDArray[np.int64]:
    """Return where ``position`` lands in a random permutation of ``range(size)``, without building
    the permutation.

    A six-round Feistel cipher permutes the smallest near-square grid with at least ``size`` cells
    (generalised to sides that are no powers of two: Black & Rogaway, *Ciphers with arbitrary finite
    domains*, 2002). It is applied again and again until the value lies below ``size``, and the
    result is rotated by a keyed amount. All arguments broadcast, sizes must be below 2^31, and
    ``(device, epoch)`` selects the permutation.
    """
    shape = np.broadcast_shapes(*(np.shape(a) for a in (position, size, device, epoch)))
    count, unit, turn = (
        np.atleast_1d(np.asarray(a, dtype=np.uint32)) for a in (size, device, epoch)
    )
    rows = np.maximum(np.ceil(np.sqrt(count.astype(np.float64))), 1.0)
    columns = np.ceil(count / rows).astype(np.uint32)
    salt = _mix(
        _mix(unit ^ np.uint32(keys.key[0])) ^ turn * np.uint32(0x9E3779B9) ^ np.uint32(keys.key[1])
    )
    count, salt, height, width = (
        np.broadcast_to(a, shape).reshape(-1)
        for a in (count, salt, rows.astype(np.uint32), columns)
    )
    value = np.broadcast_to(np.asarray(position, dtype=np.uint32), shape).reshape(-1)
    value = _feistel(value, height, width, salt)
    todo = np.flatnonzero(value >= count)
    while todo.size:
        value[todo] = walked = _feistel(value[todo], height[todo], width[todo], salt[todo])
        todo = todo[walked >= count[todo]]
    _add_below(value, _mix(salt + np.uint32(0x1B873593)) % count, count)
    return value.astype(np.int64).reshape(shape)


def _feistel(value: Words, height: Words, width: Words, salt: Words) -> Words:
    """One permutation of the cells ``row · width + column`` of the grid: in six rounds, a hash of
    the column shifts the row, or a hash of the row the column, in turn.
    """
    row = (value / width.astype(np.float64)).astype(np.uint32)  # exact: both are below 2^32
    column = value - row * width
    sides = ((row, column, height), (column, row, width))
    for r in range(6):
        target, other, limit = sides[r % 2]
        h = other + salt
        h += np.uint32(r * 0x9E3779B9 & 0xFFFFFFFF)
        h *= np.uint32(0x7FEB352D)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x846CA68B)
        h >>= np.uint32(16)
        h *= limit
        h >>= np.uint32(16)
        _add_below(target, h, limit)
    row *= width
    row += column
    return row


def _add_below(value: Words, step: Words, limit: Words) -> None:
    """``value = (value + step) mod limit`` in place, for ``value`` and ``step`` below ``limit``.

    The minimum is the right one of both: a negative ``value − limit`` wraps to a huge number.
    """
    value += step
    np.minimum(value, value - limit, out=value)


def _mix(x: Words) -> Words:
    """A 32-bit finaliser in which every input bit reaches every output bit (Wellons'
    *lowbias32*).
    """
    x = x ^ (x >> np.uint32(16))
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def derive(seed: int, *names: str | int) -> int:
    """Return a child seed of ``seed`` for a named part.

    It replaces ``seed + i``, by which the streams of runs with neighbouring seeds would overlap.
    """
    text: Sequence[str] = [str(seed), *map(str, names)]
    return int.from_bytes(hashlib.sha256("/".join(text).encode()).digest()[:7], "little")
