"""The interface of message transforms, which change the rows that devices send before they are
compressed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.common.plugin import returned, shape_of
from swarm.common.rng import Keys

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sending:
    """The senders of rows in a round, and the random draws of a transform.

    Attributes:
        device_n: The ids of the senders.
        round: The round, counted from 1.
        keys: The random draws of this transform in this phase.
    """

    device_n: Ints
    round: int
    keys: Keys

    def normal(self, count: int) -> npt.NDArray[np.float64]:
        """Return standard normal numbers ``[n, count]``; those of a device do not depend on the
        others.
        """
        return self.keys.normal(self.device_n, self.round, count)

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """Return uniform numbers ``[n, count]`` in (0, 1); those of a device do not depend on the
        others.
        """
        return self.keys.uniform(self.device_n, self.round, count)


class MessageTransform(ABC):
    """A function that changes the rows that devices send.

    Transforms are applied in the order of ``transforms=[…]`` to the rows that a protocol sends to
    all neighbours alike, and the compressor after them. The sender's own row is not changed, unless
    the protocol mixes its own packet (``Requirements.own_packet``). The result of a row depends
    only on that row, its device and the round.
    """

    @abstractmethod
    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        """Return the changed rows, ``[n, M]``; ``rows_nM`` itself must not be changed."""


def transformed(
    transforms: Sequence[MessageTransform],
    rows_nM: Tensor,
    device_n: Ints,
    round: int,
    seed: int,
    phase: int,
) -> Tensor:
    """Apply all ``transforms`` to ``rows_nM`` in their order.

    Raises :class:`~swarm.common.plugin.PluginError` if a transform returns rows of another shape or
    dtype.
    """
    for place, transform in enumerate(transforms):
        keys = Keys(seed, f"transform.{phase}.{place}")
        found = transform(rows_nM, Sending(device_n, round, keys))
        fits = isinstance(found, Tensor) and found.shape == rows_nM.shape
        if not fits or found.dtype != rows_nM.dtype:
            said, needed = f"returns {shape_of(found)}", f"{shape_of(rows_nM)} are needed"
            raise returned("transforms", transform, "__call__", said, needed)
        rows_nM = found
    return rows_nM
