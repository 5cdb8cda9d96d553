"""The state that a run goes back to after an actor's death, and how often it does so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import counted
from swarm.simulation.engine.base import Ints
from swarm.simulation.engine.ray.actor_pool import FaultError
from swarm.simulation.engine.ray.cluster import ClusterError

BACKOFF_SECONDS, LONGEST_BACKOFF = 0.2, 10.0


@dataclass(frozen=True)
class Snapshot:
    """The snapshot after ``round`` rounds; without arrays, the state before the first round."""

    round: int
    arrays: dict[str, Tensor] | None

    def rows_of(self, devices: Ints) -> dict[str, npt.NDArray[Any]] | None:
        """The rows of these devices; None before the first round."""
        if self.arrays is None:
            return None
        index = torch.as_tensor(devices)
        return {name: value[index].numpy() for name, value in self.arrays.items()}


class Recovery:
    """The last snapshot, and the deaths since then.

    Attributes:
        restarts: The most deaths between two snapshots after which the run still goes on.
        snapshot: The state to go back to.
        deaths: The number of deaths in all.
    """

    def __init__(self, restarts: int) -> None:
        self.restarts = restarts
        self.deaths = 0
        self.keep(0, None)

    def keep(self, round: int, arrays: dict[str, Tensor] | None) -> None:
        """Make this the state to go back to, and allow all ``restarts`` again."""
        self.snapshot, self._left = Snapshot(round, arrays), self.restarts

    def next_try(self, fault: FaultError) -> float:
        """Count a death; returns the seconds to wait before the next try.

        Raises :class:`ClusterError` where no try is left, and :class:`MemoryError` where none is
        for want of memory."""
        if self._left == 0:
            if fault.of_memory:
                raise MemoryError(str(fault))
            raise ClusterError(
                f"actors died {counted(self.restarts + 1, 'time')} since round"
                f" {self.snapshot.round}, the last"
                f" one with: {fault}"
            )
        tries = self.restarts - self._left
        self._left -= 1
        self.deaths += 1
        return min(BACKOFF_SECONDS * float(2**tries), LONGEST_BACKOFF)
