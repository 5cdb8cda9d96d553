"""The settings of secure sums, and who shares masks with whom in one of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint32]

KEY_BITS, SHARE_BITS, WORD_BITS = 256, 256, 32
"""The bits of a public key, of a share of a secret, and of a masked number."""
FEWEST = 2  # rows in a sum: that of one row is the row
MANY = 400  # devices, whose shares take six seconds a round


class RowMasks:
    """What hides the encoded rows of a sum. Unless a class says otherwise, nothing has to be put on
    them, as in a sum by hardware that all trust."""

    def put_on(self, a: int, row_M: Words) -> None:
        """Hide the row of device number ``a`` of the group, in place and modulo 2^32."""
        return

    def take_off(self, a: int, total_M: Words) -> None:
        """Take off a sum of hidden rows, in place, what device number ``a`` makes unknown in it."""
        return


@dataclass(frozen=True, eq=False)
class SumGroup:
    """The devices whose rows one sum adds up, g of them in ascending order. Unless a class says
    otherwise, a sum of two rows or more succeeds, and nothing is sent beside the rows.

    Attributes:
        device_g: The ids of the devices that take part.
        alive_g: Whose row arrives; the others have dropped out in between.
    """

    device_g: Ints
    alive_g: Bools

    @property
    def recovered(self) -> bool:
        """Whether the sum can be known; otherwise a device keeps its own row, and a round at a
        server is called off."""
        return int(self.alive_g.sum()) >= FEWEST

    def masks(self, count: int) -> RowMasks:
        """Return what hides rows of ``count`` words."""
        return RowMasks()

    @property
    def up_bits(self) -> int:
        """The bits that a device sends before its row."""
        return 0

    @property
    def down_bits(self) -> int:
        """The bits that a device gets."""
        return 0

    @property
    def unmask_bits(self) -> int:
        """The bits that a device sends after its row."""
        return 0

    @property
    def round_trips(self) -> int:
        """The round trips of the sum, one of them that of the rows."""
        return 1


class SecureSum(ABC):
    """How rows are added up without anybody seeing one of them: they are weighted, written as
    fixed-point words of 32 bits, hidden, and added up modulo 2^32.

    Whoever adds up sees sums only. So the machinery refuses whatever changes or judges single
    messages, and counts what :meth:`group` says is sent.

    Attributes:
        absent: Whether rows are added up as they are, as the option ``none`` says.
        library: The module of a library that it needs, and how to install it; None: it needs none.
        range: The largest size of a number that can be added up.
    """

    absent: ClassVar[bool] = False
    library: ClassVar[tuple[str, str] | None] = None
    range: float = 16.0

    @abstractmethod
    def group(self, device_g: Ints, alive_g: Bools, keys: Keys, round: int) -> SumGroup:
        """Return the group of a sum over the rows of ``device_g``, of which those of ``alive_g``
        arrive. It must follow from the arguments alone; ``keys`` are the draws of this sum, and
        those of another round must differ."""

    def advice(self, size: int) -> Iterable[str]:
        """Yield what to warn of before a run whose largest sum has ``size`` rows."""
        return ()


class NoSecureSum(SecureSum):
    """Rows are added up as they are."""

    absent = True

    def group(self, device_g: Ints, alive_g: Bools, keys: Keys, round: int) -> SumGroup:
        """See :meth:`SecureSum.group`."""
        return SumGroup(device_g, alive_g)


class Bonawitz(SecureSum):
    """The protocol of Bonawitz et al., *Practical secure aggregation for privacy-preserving machine
    learning*, CCS 2017, against somebody who adds up and is curious. The g devices of a sum

    1. advertise a key, and device i draws a seed b_i;
    2. share key and seed out to all of them, so that any t = ⌈``threshold`` · g⌉ can recover one;
    3. send y_i = e_i + PRG(b_i) + Σ_{j>i} PRG(s_ij) − Σ_{j<i} PRG(s_ij) modulo 2^32, where e_i is
       the row in fixed point and s_ij what the keys of i and j agree on;
    4. give back shares: of b_i for every row that has arrived, of the key for every one that has
       not. What these masks leave in Σ y_i is then taken off.

    With ``partners`` = k a device does so with k of the others only (Bell et al., *Secure
    single-server aggregation with (poly)logarithmic overhead*, CCS 2020), and g becomes k + 1.

    Raises :class:`ConfigError` unless ``range`` > 0, 0.5 < ``threshold`` ≤ 1, and ``partners`` is
    an even number from 2 on.
    """

    library = ("shamirs", "pip install '.[secure]'")

    def __init__(
        self, range: float = 16.0, threshold: float = 0.67, partners: int | None = None
    ) -> None:
        if not 1e-6 <= range <= 1e6:
            raise ConfigError("range", range, "must be a size of numbers from 1e-6 to 1e6")
        if not 0.5 < threshold <= 1:
            valid = "must be a share above 0.5 and at most 1: of two halves, one could give back a"
            valid += " device's seed and the other its key, which together lay its row bare"
            raise ConfigError("threshold", threshold, valid)
        if partners is not None and (partners < 2 or partners % 2):
            raise ConfigError("partners", partners, "must be null or an even number from 2 on")
        self.range, self.threshold, self.partners = range, threshold, partners

    def group(self, device_g: Ints, alive_g: Bools, keys: Keys, round: int) -> Group:
        """The group of a sum over the rows of ``device_g``; see :class:`Group`."""
        size, k = len(device_g), self.partners
        if k is None or k >= size - 1:
            order_g, offsets = np.arange(size), np.arange(1, size)
        else:
            draws = Keys(keys.seed, f"{keys.purpose}.circle")
            draw_g = draws.uniform(device_g, round, 1)[:, 0]
            order_g = np.argsort(draw_g, kind="stable")
            near = np.arange(1, k // 2 + 1)
            offsets = np.concatenate([near, size - near])
        holders = len(offsets) + 1
        needed = max(math.ceil(self.threshold * holders - 1e-9), holders // 2 + 1)
        return Group(device_g, alive_g, order_g, offsets, needed, keys, round)

    def advice(self, size: int) -> Iterable[str]:
        """Warn of partners that a sum does not have, and of a sum without them over so many devices
        that a round takes minutes."""
        partners = self.partners
        if partners is not None and partners >= size - 1:
            text = f"secure_sum.partners={partners}: no sum has more than {size} devices, so that"
            yield f"{text} each shares masks with all others, as with null"
        if partners is None and size > MANY:
            text = f"secure_sum.partners=null: all {size} devices of a sum share masks, whose time"
            yield f"{text} grows with the cube of that number; 20 would do"


@dataclass(frozen=True, eq=False)
class Group(SumGroup):
    """The devices of one sum of :class:`Bonawitz`: those that have advertised a key.

    Attributes:
        order_g: The places of the devices on a circle.
        offsets: A device shares masks with those that are so many places further on it.
        needed: t, the number of shares that recover a secret.
        keys: The random draws of the secrets.
        round: The round, in which all secrets are new.
    """

    order_g: Ints
    offsets: Ints
    needed: int
    keys: Keys
    round: int

    @cached_property
    def words_gw(self) -> npt.NDArray[np.uint32]:
        """The secrets as 32-bit words, ``[g, 8]``: four of a device's key and four of its seed."""
        return self.keys.words(self.device_g, self.round, 8)

    @cached_property
    def place_g(self) -> Ints:
        """The number of each device on the circle."""
        place_g = np.empty_like(self.order_g)
        place_g[self.order_g] = np.arange(len(place_g))
        return place_g

    def partners(self, a: int) -> Ints:
        """The numbers of the devices with which device number ``a`` shares masks, ascending."""
        return np.sort(self.order_g[(self.place_g[a] + self.offsets) % len(self.order_g)])

    def holders(self, a: int) -> Ints:
        """The numbers of the devices that hold shares of the secrets of device number ``a``."""
        return np.sort(np.append(self.partners(a), a))

    @cached_property
    def recovered(self) -> bool:
        """Whether the sum can be recovered: at least two rows are in it, of every secret there are
        enough shares, and masks connect all rows."""
        size, alive = len(self.device_g), int(self.alive_g.sum())
        if alive < FEWEST:
            return False
        if len(self.offsets) == size - 1:
            return alive >= self.needed
        there_g = self.alive_g[self.order_g]
        if not self._one_piece(there_g):
            return False
        held_g = there_g.astype(np.int64)
        for offset in self.offsets.tolist():
            held_g += np.roll(there_g, -offset)
        return bool((held_g >= self.needed).all())

    def _one_piece(self, there_g: Bools) -> bool:
        """Whether masks connect all whose rows arrive, ``there_g`` of the places of the circle.
        Otherwise the masks cancel in each piece by itself, and tell the sum of each."""
        place_a = np.flatnonzero(there_g)
        step_a = np.diff(np.append(place_a, place_a[0] + len(there_g)))
        return int((step_a > len(self.offsets) // 2).sum()) <= 1

    def masks(self, count: int) -> RowMasks:
        """See :meth:`SumGroup.masks`."""
        from swarm.communication.secure.masks import Masks

        return Masks(self, count)

    # --- the bits of its messages, beside the masked rows -----------------------------------------

    @property
    def up_bits(self) -> int:
        """What a device sends before its row: two public keys, and a share of either of its two
        secrets for each partner."""
        return 2 * KEY_BITS + 2 * len(self.offsets) * SHARE_BITS

    @property
    def down_bits(self) -> int:
        """What a device gets: the public keys of its partners, and their shares."""
        return 2 * len(self.offsets) * (KEY_BITS + SHARE_BITS)

    @property
    def unmask_bits(self) -> int:
        """What a device sends after its row: a share of one secret of each partner and of its
        own."""
        return (len(self.offsets) + 1) * SHARE_BITS if self.recovered else 0

    @property
    def round_trips(self) -> int:
        """The round trips of the sum, one of them that of the rows; the last one is left out where
        too few devices are there for it."""
        return 4 if self.recovered else 3
