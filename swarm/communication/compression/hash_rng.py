"""A hash that gives a random number for every number of every payload row, in a tenth of the time
that a generator takes.

Row i has a key of two random words, drawn from (seed, phase, device, round) by
:class:`swarm.common.rng.Keys`; :func:`swarm.common.rng.hashed_words` makes the row of it.
"""

from __future__ import annotations

from swarm.common.rng import Words, hashed_uniform, hashed_words
from swarm.communication.compression.base import Draw

words, uniform = hashed_words, hashed_uniform


def row_keys(draw: Draw) -> Words:
    """Return the key of each device's row in this round and phase, ``[n, 2]``."""
    keys = draw.keys.words(draw.device_n, draw.step, 2)
    keys[:, 1] |= 1
    return keys
