"""What is gone back to after an actor's death, and how often that is tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from swarm.simulation.engine.base import Ints
from swarm.simulation.engine.ray.actor_pool import FaultError
from swarm.simulation.engine.ray.cluster import ClusterError

BACKOFF_SECONDS, LONGEST_BACKOFF = 0.2, 10.0


@dataclass(frozen=True)
class Snapshot:
    """A state to go back to: the snapshot after ``round`` rounds; without arrays, the start."""

    round: int
    arrays: dict[str, Tensor] | None

    def rows_of(self, devices: Ints) -> dict[str, npt.NDArray[Any]] | None:
        """The rows of some devices; None at the start."""
        if self.arrays is None:
            return None
        index = torch.as_tensor(devices)
        return {name: value[index].numpy() for name, value in self.arrays.items()}


class Recovery:
    """The last snapshot, and the deaths since then.

    Attributes:
        restarts: How many deaths are mended between two snapshots.
        snapshot: What is gone back to.
        deaths: How many there have been in all.
    """

    def __init__(self, restarts: int) -> None:
        self.restarts = restarts
        self.deaths = 0
        self.keep(0, None)

    def keep(self, round: int, arrays: dict[str, Tensor] | None) -> None:
        """Go back to this state from now on; all ``restarts`` are left again."""
        self.snapshot, self._left = Snapshot(round, arrays), self.restarts

    def next_try(self, fault: FaultError) -> float:
        """Count a death; returns the seconds to wait before the next try.

        Raises :class:`ClusterError` where no try is left, and :class:`MemoryError` where none is
        for want of memory."""
        if self._left == 0:
            if fault.of_memory:
                raise MemoryError(str(fault))
            raise ClusterError(
                f"actors died {self.restarts + 1} times since round {self.snapshot.round}, the last"
                f" one with: {fault}"
            )
        tries = self.restarts - self._left
        self._left -= 1
        self.deaths += 1
        return min(BACKOFF_SECONDS * float(2**tries), LONGEST_BACKOFF)
