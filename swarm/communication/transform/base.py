"""The seam of message transforms: what happens to the rows that devices send, before they are
compressed."""

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
    """Who sends in which round, and the randomness of it.

    Attributes:
        device_n: The ids of the senders.
        round: The round, counted from 1.
        keys: Keys that belong to this transform and phase.
    """

    device_n: Ints
    round: int
    keys: Keys

    def normal(self, count: int) -> npt.NDArray[np.float64]:
        """Standard normal numbers ``[n, count]``: the same for a device in any company."""
        return self.keys.normal(self.device_n, self.round, count)

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """Uniform numbers ``[n, count]`` in (0, 1): the same for a device in any company."""
        return self.keys.uniform(self.device_n, self.round, count)


class MessageTransform(ABC):
    """What becomes of a message between its sender and those that hear it.

    Transforms are applied in the order of ``transforms=[…]``, to the rows that a protocol sends to
    all neighbours alike; a compressor comes after them. The sender's own row stays as it is, but
    for protocols that work on what the others read. A row's result depends on that row, its device
    and its round only.
    """

    @abstractmethod
    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        """What ``rows_nM`` become, ``[n, M]``; the given rows must not be changed."""


def transformed(
    transforms: Sequence[MessageTransform],
    rows_nM: Tensor,
    device_n: Ints,
    round: int,
    seed: int,
    phase: int,
) -> Tensor:
    """``rows_nM`` after all ``transforms``, in their order.

    Raises :class:`~swarm.common.plugin.PluginError` for one that returns anything but such rows.
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
