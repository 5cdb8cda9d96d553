"""A plug-in for the tests: device i has the loss f_i(x) = a_i (x − b_i)², from one sample (√a_i,
√a_i b_i).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, Source


class Slope(nn.Module):
    """One parameter: out = w · feature."""

    def __init__(self, features: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.w


class Quadratics(Source):
    """One training sample a device, owned by it; three more for validation and three for the test.

    ``steep`` multiplies a_3, the curvature of device 3.
    """

    def __init__(self, devices: int, seed: int, steep: float = 1.0) -> None:
        self.devices, self.seed, self.steep = devices, seed, steep

    def load(self) -> Dataset:
        n, random = self.devices, Keys(self.seed, "quadratics").generator()
        root_a, b = np.sqrt(random.uniform(0.8, 2.0, n + 6)), random.uniform(-3.0, 3.0, n + 6)
        root_a[3] *= np.sqrt(self.steep)
        x, y = root_a[:, None].astype(np.float32), (root_a * b)[:, None].astype(np.float32)
        ids = np.arange(n + 6)
        return Dataset(x, y, 0, np.minimum(ids, n - 1), ids[:n], ids[n : n + 3], ids[n + 3 :])
