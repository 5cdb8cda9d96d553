"""A plug-in for the tests: nothing to generalise, all to learn by heart."""

from __future__ import annotations

import numpy as np

from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, Source


class Lots(Source):
    """Inputs in so many dimensions that they are nearly orthogonal, and labels drawn by lot."""

    def __init__(self, seed: int, classes: int) -> None:
        self.seed, self.classes = seed, classes

    def load(self) -> Dataset:
        random = Keys(self.seed, "lots").generator()
        x = random.standard_normal((640, 600)).astype(np.float32)
        ids = np.arange(640)
        return Dataset(
            x,
            random.integers(0, self.classes, 640),
            self.classes,
            None,
            ids[:600],
            ids[600:620],
            ids[620:],
        )
