"""A data source of a user's own, as a plug-in."""

from __future__ import annotations

import numpy as np

from swarm.data.dataset import Dataset, Source
from swarm.data.prepare import Samples, prepare


class Moons(Source):
    """Two half moons; ``bad`` puts a NaN into row 3."""

    def __init__(self, samples: int = 200, bad: bool = False, seed: int = 0) -> None:
        self.samples, self.bad, self.seed = samples, bad, seed

    def load(self) -> Dataset:
        draw = np.random.default_rng(self.seed)
        angle, y = np.pi * draw.random(self.samples), draw.integers(0, 2, self.samples)
        x = np.stack([np.cos(angle) * (1 - 2 * y) + y, np.sin(angle) * (1 - 2 * y) + y / 2], axis=1)
        x[3, 1] = np.nan if self.bad else x[3, 1]
        return prepare(Samples(x, y, classes=2), self.seed)
