"""What the devices of a shard practise in a round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swarm.data.stream.practice import Practice
from swarm.data.stream.stream import DrawnSamples
from swarm.learning.update.stream_position import StreamPosition

if TYPE_CHECKING:
    from swarm.simulation.experiment.data import Data

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
PLACES_AT_ONCE = 1 << 18  # places of mini-batches whose classes are drawn in one vectorised call


class Practising:
    """The samples of n devices that have goals.

    Attributes:
        share_nC: The shares of the classes in what follows a device's goal, which the devices set
            in every round before they learn.
    """

    def __init__(self, practice: Practice, devices_n: Ints) -> None:
        self.practice, self.devices_n = practice, devices_n
        self.share_nC: Floats = np.ones((len(devices_n), practice.classes)) / practice.classes

    @classmethod
    def of(cls, data: Data, devices_n: Ints) -> Practising | None:
        """Those of ``devices_n``; None where nobody has a goal."""
        return None if data.practice is None else cls(data.practice, devices_n)

    def draw(self, rows_B: Ints, now: StreamPosition, count: int) -> DrawnSamples:
        """The samples of the next ``count`` mini-batches of the devices in the places ``rows_B``
        of the n."""
        place = self.devices_n[rows_B], now.steps_n[rows_B], count
        return self.practice.draw(*place, self.share_nC[rows_B], now.practised_nC[rows_B])

    def after(self, now: StreamPosition, taken_n: Ints) -> Ints:
        """The number of samples of each class that devices have met after ``taken_n`` more steps,
        ``[n, C]``."""
        each = max(1, int(taken_n.max(initial=0))) * self.practice.batch
        together = max(1, PLACES_AT_ONCE // each)
        found_nC = now.practised_nC.copy()
        for begin in range(0, len(taken_n), together):
            n = slice(begin, begin + together)
            found_nC[n] += self.practice.consumed(
                self.devices_n[n], now.steps_n[n], taken_n[n], self.share_nC[n]
            )
        return found_nC
