"""The masks of a secure sum: put on, added up, and taken off with recovered secrets."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

import numpy as np
import numpy.typing as npt

from swarm.common.rng import KeyedWords
from swarm.communication.secure.base import Group, RowMasks

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]
PRIME = 2**255 - 19  # of the field of shares: above every secret, and of SHARE_BITS bits


class Masks(RowMasks):
    """The masks of one group, for rows of ``count`` words; one of them at a time is in memory.

    Key agreement is idealised: s_ij is the sum of the keys of i and j, which depends on both, and
    which either's key recovers. A mask is NumPy's Philox of s_ij, or of the seed b_i.
    """

    def __init__(self, group: Group, count: int) -> None:
        self.group, self.count, self._random = group, count, KeyedWords()
        self._weights: dict[tuple[int, ...], list[int]] = {}
        words_g4 = np.ascontiguousarray(group.words_gw).view(np.uint64)
        self._key_g2, self._seed_g2 = words_g4[:, :2], words_g4[:, 2:]

    def put_on(self, a: int, row_M: Words) -> None:
        """Add the masks of device number ``a`` to its encoded row, in place and modulo 2^32."""
        row_M += self._random.words(self._seed_g2[a], self.count)
        self._pairs(a, self._key_g2[a], self.group.partners(a), row_M)

    def take_off(self, a: int, total_M: Words) -> None:
        """Take off a sum of masked rows, in place, what device number ``a`` makes unknown in it:
        its own mask if its row is in the sum, else what its partners share with it."""
        group = self.group
        if group.alive_g[a]:
            seed_2 = self._recovered(a, self._seed_g2[a])
            total_M -= self._random.words(seed_2, self.count)
            return
        partners = group.partners(a)
        key_2 = self._recovered(a, self._key_g2[a])
        self._pairs(a, key_2, partners[group.alive_g[partners]], total_M)

    def _pairs(self, a: int, key_2: npt.NDArray[np.uint64], others: Ints, row_M: Words) -> None:
        """Add the masks that ``a`` shares with ``others`` as they are in the row of ``a``; those in
        the rows of the others are their opposites, and cancel out with them."""
        for b in others.tolist():
            mask_M = self._random.words(key_2 + self._key_g2[b], self.count)
            if a < b:
                row_M += mask_M
            else:
                row_M -= mask_M

    def _recovered(self, a: int, secret_2: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """A secret of device number ``a``, out of the shares that the devices which are left
        hold."""
        import shamirs

        holders, needed = self.group.holders(a), self.group.needed
        there = np.flatnonzero(self.group.alive_g[holders])[:needed].tolist()
        # its random coefficients are the system's, and cancel out of the secret that comes back
        secret = int.from_bytes(secret_2.tobytes(), "little")
        shares = shamirs.shares(secret, len(holders), modulus=PRIME, threshold=needed)
        index = tuple(shares[i].index for i in there)
        if index not in self._weights:
            self._weights[index] = weights_at_zero(index)
        found = interpolated([shares[i].value for i in there], self._weights[index])
        # without enough shares, something else of up to 255 bits
        return np.frombuffer(found.to_bytes(32, "little"), np.uint64)[:2]


def weights_at_zero(index: Sequence[int]) -> list[int]:
    """Lagrange's weights λ_i = Π_{j≠i} j / (j − i) modulo the prime, for the shares with these
    numbers. (The library takes half a second for one secret of 67 shares; many secrets of a sum
    have the same weights.)"""
    found = []
    for i in index:
        above, below = 1, 1
        for j in index:
            if j != i:
                above, below = above * j % PRIME, below * (j - i) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return found


def interpolated(values: Sequence[int], weights: Sequence[int]) -> int:
    """The secret Σ λ_i · share_i modulo the prime."""
    return int(sum(map(mul, values, weights)) % PRIME)
