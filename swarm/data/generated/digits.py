"""The 1,797 handwritten 8×8 digits that scikit-learn bundles (Alpaydin & Kaynak, UCI, 1998)."""

from __future__ import annotations

from typing import cast

import numpy as np
from sklearn.datasets import load_digits

from swarm.data.dataset import Dataset, Ints, Source
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale


class Digits(Source):
    """Real digits, 10 classes; ``x`` is ``[1797, 64]``, or ``[1797, 1, 8, 8]`` with ``flat=False``.

    Grey levels 0 … 16 become 0 … 1 with ``scale="unit"``. With the default fractions: 1,257
    training, 180 validation and 360 test samples, stratified by label.
    """

    def __init__(
        self,
        flat: bool = True,
        scale: Scale = "unit",
        test: float = 0.2,
        validation: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.flat, self.scale, self.test, self.validation, self.seed = (
            flat,
            scale,
            test,
            validation,
            seed,
        )

    def load(self) -> Dataset:
        x, y = cast("tuple[Ints, Ints]", load_digits(return_X_y=True))
        image = x.reshape(len(x), *((64,) if self.flat else (1, 8, 8))).astype(np.float32)
        samples = Samples(image, y, classes=10, one_scale=True)
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )
