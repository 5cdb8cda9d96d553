"""The seam of compressors, and error feedback around any of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.rng import Keys

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
    """Turns payload rows into what the receivers read out of the packets. A row's result depends on that row only."""

    feedback: bool = False
    """Whether what a packet left out is added to the next one (error feedback; Seide et al., INTERSPEECH 2014;
    Karimireddy et al., ICML 2019, arXiv 1901.09847)."""

    @abstractmethod
    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        """What ``v_nM`` becomes on its way, ``[n, M]``."""

    @abstractmethod
    def bits(self, width: int) -> int:
        """Bits of one packet of ``width`` numbers, indices and scales included."""


class Unchanged(Compressor):
    """No compression: the receivers read what was sent."""

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        return v_nM

    def bits(self, width: int) -> int:
        raise NotImplementedError("the size of a number is not known here")
