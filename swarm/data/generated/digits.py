"""The 1,797 handwritten 8×8 digits that scikit-learn bundles (Alpaydin & Kaynak, UCI, 1998)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from swarm.data.dataset import Dataset, Ints, Source
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale, while_scaled

_PIXELS = 1797 * 64


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
        x, y = _bundled()
        image = x.reshape(len(x), *((64,) if self.flat else (1, 8, 8))).astype(np.float32)
        samples = Samples(image, y, classes=10, one_scale=True)
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )

    def loading(self) -> int:
        return while_scaled((8 + 4) * _PIXELS, _PIXELS // 64, _PIXELS)


def _bundled() -> tuple[npt.NDArray[np.float64], Ints]:
    """The images ``[1797, 64]`` and labels of scikit-learn's file.

    The file is read without importing scikit-learn, which takes a second; where a version of it
    keeps the file elsewhere, its own function reads it.
    """
    package = find_spec("sklearn")
    folders = () if package is None else package.submodule_search_locations or ()
    for folder in folders:
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return np.asarray(x, np.float64), np.asarray(y, np.int64)
