"""The seam of compressors, and error feedback around any of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.common.plugin import returned, shape_of
from swarm.common.rng import Keys

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """The randomness of one packing: uniform numbers keyed by (seed, device, round, phase)."""

    keys: Keys
    device_n: Ints
    step: int

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """``[n, count]`` in (0, 1): the same for a device in any company."""
        return self.keys.uniform(self.device_n, self.step, count)


class Compressor(ABC):
    """Turns payload rows into what the receivers read out of the packets.

    A row's result depends on that row only.
    """

    feedback: bool = False
    """Whether what a packet left out is added to the next one (error feedback; Seide et al.,
    INTERSPEECH 2014; Karimireddy et al., ICML 2019, arXiv 1901.09847)."""

    @abstractmethod
    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        """What ``v_nM`` becomes on its way, ``[n, M]``."""

    @abstractmethod
    def bits(self, width: int) -> int:
        """Bits of one packet of ``width`` numbers, indices and scales included."""


def packed(compressor: Compressor, v_nM: Tensor, draw: Draw) -> Tensor:
    """``compressor(v_nM, draw)``.

    Raises :class:`~swarm.common.errors.ConfigError` unless the rows have the same shape and
    dtype.
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
    """``compressor.bits(width)``.

    Raises :class:`~swarm.common.errors.ConfigError` for anything but a whole number above 0.
    """
    found = compressor.bits(width)
    if not isinstance(found, int) or found < 1:
        needed = "a whole number of bits above 0 is needed"
        raise returned("compressor", compressor, f"bits({width})", f"returns {found!r}", needed)
    return found


class NoCompression(Compressor):
    """No compression: the receivers read what was sent."""

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        return v_nM

    def bits(self, width: int) -> int:
        raise NotImplementedError("the size of a number is not known here")
