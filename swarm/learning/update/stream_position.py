"""Where devices are in their streams: what a run goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.learning.update.replay import Memory

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StreamPosition:
    """Where n devices are in their streams.

    Attributes:
        steps_n: Local steps taken.
        consumed_n: Mini-batches of the stream met.
        since_replay_n: Mini-batches of the stream met since the device last learnt from its memory.
        releases_n: How often the device has let out something about its data; zeros where that is
            not counted.
        memory: The replay memories.
        practised_nC: Samples met of each class, first and again; without a column where that is not
            counted.
    """

    steps_n: Ints
    consumed_n: Ints
    since_replay_n: Ints
    releases_n: Ints
    memory: Memory
    practised_nC: Ints

    @classmethod
    def start(cls, memory: Memory, classes: int = 0) -> StreamPosition:
        """The position before the first round, where the samples of ``classes`` are counted."""
        nothing_n = np.zeros(len(memory.kept_nM), np.int64)
        nothing_nC = np.zeros((len(nothing_n), classes), np.int64)
        return cls(nothing_n, nothing_n, nothing_n, nothing_n, memory, nothing_nC)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that :meth:`restored` needs, a row for each device."""
        found: dict[str, npt.NDArray[Any]] = {
            "steps": self.steps_n,
            "met": self.consumed_n,
            "lately": self.since_replay_n,
            "releases": self.releases_n,
        }
        if self.memory.kept_nM.shape[1]:
            found |= {
                "kept": self.memory.kept_nM,
                "offered": self.memory.offered_nC,
                "largest": self.memory.largest_nC,
            }
        if self.practised_nC.shape[1]:
            found["practised"] = self.practised_nC
        return found

    def restored(self, arrays: Mapping[str, npt.NDArray[Any]]) -> StreamPosition:
        """The position that :meth:`arrays` returned, of the same devices as this one; without
        ``releases`` there were none."""
        memory = self.memory
        if memory.kept_nM.shape[1]:
            memory = Memory(*(arrays[name] for name in ("kept", "offered", "largest")))
        steps_n, consumed_n, since_replay_n = (arrays[name] for name in ("steps", "met", "lately"))
        releases_n = arrays.get("releases", np.zeros_like(steps_n))
        practised_nC = arrays.get("practised", self.practised_nC)
        return StreamPosition(steps_n, consumed_n, since_replay_n, releases_n, memory, practised_nC)
