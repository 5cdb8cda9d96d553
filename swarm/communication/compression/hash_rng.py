"""A hash that gives a random number for every number of every payload row, in a tenth of the time
that a generator takes.

Row i has a key (a, b) of two random words, drawn from (seed, phase, device, round) by
:class:`swarm.common.rng.Keys`. Number j of the row is mix((j · b + a) mod 2³²) with an odd b: a
Weyl sequence, which differs from row to row and has no equal values, goes through the 32-bit
finaliser *lowbias32* (Wellons, *Prospecting for hash functions*, 2018). This is good enough for
stochastic rounding; everything else draws from Philox.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swarm.communication.compression.base import Draw

Words = npt.NDArray[np.uint32]


def row_keys(draw: Draw) -> Words:
    """Return the key of each device's row in this round and phase, ``[n, 2]``."""
    keys = draw.keys.words(draw.device_n, draw.step, 2)
    keys[:, 1] |= 1
    return keys


def words(keys_n2: Words, width: int) -> Words:
    """Return ``[n, width]`` random words; word j of a row does not depend on ``width``."""
    x = np.arange(width, dtype=np.uint32) * keys_n2[:, 1:]
    x += keys_n2[:, :1]
    x ^= (high := x >> np.uint32(16))
    x *= np.uint32(0x7FEB352D)
    x ^= np.right_shift(x, np.uint32(15), out=high)
    x *= np.uint32(0x846CA68B)
    x ^= np.right_shift(x, np.uint32(16), out=high)
    return x


def uniform(keys_n2: Words, width: int) -> npt.NDArray[np.float32]:
    """Return ``[n, width]`` uniform numbers in [0, 1), multiples of 2⁻²⁴."""
    x = words(keys_n2, width)
    x >>= np.uint32(8)
    return x.astype(np.float32) * np.float32(2.0**-24)
