"""Generated digits, for more devices than the real digits suffice for: each sample blends two real
training digits and adds noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swarm.common.ranges import number, room
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, Floats, Ints, Source
from swarm.data.generated.digits import Digits
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale, while_generated

_BLOCK = 1 << 16


@dataclass(eq=False)
class DigitsLike(Source):
    """``devices · per_device`` generated 8×8 training digits; validation and test samples are the
    real held-out ones.

    A generated sample takes a real training digit ``a`` at random, another ``b`` of the same class,
    and is ``clip((1 - λ)·a + λ·b + noise·ε, 0, 16)`` with ``λ ~ U(0, blend)`` and ``ε ~ N(0, I)``;
    with probability ``shift`` both are first moved by one pixel in one of eight directions (*mixup*
    within a class: Zhang, arXiv 1710.09412). The split is that of
    :class:`~swarm.data.generated.digits.Digits` with the same seed, so no held-out digit is ever
    blended in.
    """

    devices: int
    per_device: int = 15
    blend: float = 0.5
    noise: float = 1.0
    shift: float = 0.2
    flat: bool = True
    scale: Scale = "unit"
    seed: int = 0

    def __post_init__(self) -> None:
        number("per_device", self.per_device, 1)
        number("blend", self.blend, 0, 1)
        number("noise", self.noise, 0, 16)
        number("shift", self.shift, 0, 1)
        self.count = self.devices * self.per_device
        room("per_device", self.per_device, self.count, 64)

    def load(self) -> Dataset:
        real = self._real()
        held_out = np.concatenate([real.validation, real.test])
        x = np.empty((self.count + len(held_out), 64), np.float32)
        y = np.empty(len(x), np.int64)
        self._generate(real.x[real.train], np.asarray(real.y[real.train], np.int64), x, y)
        x[self.count :], y[self.count :] = real.x[held_out], real.y[held_out]
        validation, test = np.split(np.arange(self.count, len(x)), [len(real.validation)])
        shaped = x if self.flat else x.reshape(-1, 1, 8, 8)
        samples = Samples(shaped, y, classes=10, validation=validation, test=test, one_scale=True)
        return prepare(samples, self.seed, scale=self.scale)

    def loading(self) -> int:
        return while_generated(self.count, 64 * self.count)

    def _real(self) -> Dataset:
        """The real digits, split into those that are blended and those that are held out."""
        return Digits(scale="none", seed=self.seed).load()

    def _generate(self, real_x: Floats, real_y: Ints, x: Floats, y: Ints) -> None:
        """Fill the first ``count`` rows block by block, so that temporary memory stays at some tens
        of MB.
        """
        order = np.argsort(real_y, kind="stable")
        # sorted by class, so that a partner of the same class is a start and an offset
        real_x, real_y = real_x[order], real_y[order]
        size_C = np.bincount(real_y, minlength=10)
        start_C = np.cumsum(size_C) - size_C
        moved_9R = _moved(real_x)
        for block, first in enumerate(range(0, self.count, _BLOCK)):
            rows = min(_BLOCK, self.count - first)
            draw = Keys(self.seed, "digits_like").generator(block)
            a = draw.integers(len(real_x), size=rows)
            label = real_y[a]
            b = start_C[label] + draw.integers(size_C[label])
            step = np.where(draw.random(rows) < self.shift, draw.integers(1, 9, size=rows), 0)
            weight = (self.blend * draw.random(rows, dtype=np.float32))[:, None]
            image = moved_9R[step, a] * (1 - weight) + moved_9R[step, b] * weight
            image += np.float32(self.noise) * draw.standard_normal((rows, 64), dtype=np.float32)
            np.clip(image, 0, 16, out=x[first : first + rows])
            y[first : first + rows] = label


def _moved(real_x: Floats) -> npt.NDArray[np.float32]:
    """Every image unmoved (entry 0) and moved by one pixel in each of eight directions, padded with
    zeros: ``[9, R, 64]``.
    """
    padded = np.pad(real_x.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    steps = [(1, 1), (0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)]
    return np.stack([padded[:, i : i + 8, j : j + 8].reshape(-1, 64) for i, j in steps])
