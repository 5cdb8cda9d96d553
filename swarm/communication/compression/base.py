"""The interface of compressors, and checks of what they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.common.plugin import returned, shape_of
from swarm.common.rng import Keys

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """The random draws of a compressor in one phase of a round, keyed by (seed, device, round,
    phase).
    """

    keys: Keys
    device_n: Ints
    step: int

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """Return uniform numbers ``[n, count]`` in (0, 1); those of a device do not depend on the
        others.
        """
        return self.keys.uniform(self.device_n, self.step, count)


class Compressor(ABC):
    """Turns payload rows into the rows that receivers decode from the packets.

    The result of a row depends on that row only.
    """

    absent: ClassVar[bool] = False
    """Whether there is none, as the option ``none`` says: nothing of it is then called."""

    feedback: bool = False
    """Whether the error of a packet is added to the next one (error feedback; Seide et al.,
    INTERSPEECH 2014; Karimireddy et al., ICML 2019, arXiv 1901.09847).
    """

    whole_rows: bool = False
    """Whether it packs rows of one model's parameters only, and no part of them."""

    @abstractmethod
    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        """Return C(v), the rows ``[n, M]`` that the receivers decode."""

    @abstractmethod
    def bits(self, width: int) -> int:
        """Return the bits of one packet of ``width`` numbers, indices and scales included."""


def packed(compressor: Compressor, v_nM: Tensor, draw: Draw) -> Tensor:
    """Return ``compressor(v_nM, draw)``.

    Raises :class:`~swarm.common.errors.ConfigError` if the rows have another shape or dtype.
    """
    found = compressor(v_nM, draw)
    if not isinstance(found, Tensor) or found.shape != v_nM.shape or found.dtype != v_nM.dtype:
        raise returned(
            "compressor",
            compressor,
            "__call__",
            f"returns {shape_of(found)}",
            f"{shape_of(v_nM)} are needed",
        )
    return found


def bits_of(compressor: Compressor, width: int) -> int:
    """Return ``compressor.bits(width)``.

    Raises :class:`~swarm.common.errors.ConfigError` if that is not a whole number above 0.
    """
    found = compressor.bits(width)
    if not isinstance(found, int) or found < 1:
        needed = "a whole number of bits above 0 is needed"
        raise returned("compressor", compressor, f"bits({width})", f"returns {found!r}", needed)
    return found


class NoCompression(Compressor):
    """No compression: the receivers get the rows as they are."""

    absent = True

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        return v_nM

    def bits(self, width: int) -> int:
        raise NotImplementedError("the size of a number is not known here")
