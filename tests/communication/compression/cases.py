"""Every compressor with the settings that matter, made as a run makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swarm.common.rng import Keys
from swarm.common.rows import HasNeurons, Layout
from swarm.communication.compression.base import Compressor, Draw
from swarm.config.build import build, option


class Stated(nn.Sequential, HasNeurons):
    """Channels of a convolution, of which each has four numbers in the next layer, and a hidden
    layer with a norm.
    """

    def neurons(self) -> list[dict[str, int]]:
        own = ("2.weight", "2.bias", "3.weight", "3.bias")
        return [
            {"0.weight": 0, "0.bias": 0, "2.weight": 1},
            {**dict.fromkeys(own, 0), "4.weight": 1},
        ]


LAYOUT = Layout.of(
    Stated(nn.Conv2d(3, 5, 2), nn.Flatten(), nn.Linear(20, 7), nn.LayerNorm(7), nn.Linear(7, 4))
)
WIDTH = LAYOUT.width  # 258
CASES: dict[str, dict[str, Any]] = {
    "top_k": {"fraction": 0.1},
    "top_k of 1": {"fraction": 1e-9},
    "top_k of all": {"fraction": 1.0},
    "random_k": {"fraction": 0.1},
    "random_k, unbiased": {"fraction": 0.25, "unbiased": True, "feedback": False},
    "random_k of all": {"fraction": 1.0},
    "qsgd, 8 bits": {"bits": 8, "bucket": None},
    "qsgd, 4 bits": {"bits": 4, "bucket": 64},
    "qsgd, 2 bits": {"bits": 2, "bucket": 100},
    "qsgd, contractive": {"bits": 4, "bucket": 1000, "unbiased": False},
    "sign": {},
    "float16": {},
    "low_rank of 1": {"rank": 1},
    "low_rank": {"rank": 2},
    "low_rank of 4": {"rank": 4},
    "neurons": {"share": 0.4},
    "neurons of 1": {"share": 1e-9},
    "neurons of all": {"share": 1.0},
}


def make(case: str, number_bits: int = 32, **settings: Any) -> Any:
    """The compressor of a case; ``settings`` go before the case's own."""
    node = {
        **option("compressor", case.replace(",", " ").split()[0]),
        **CASES.get(case, {}),
        **settings,
    }
    return build(node, Compressor, "compressor", layout=LAYOUT, number_bits=number_bits)


def draw(devices: int | np.ndarray, round: int = 1, purpose: str = "test") -> Draw:
    """The randomness of some devices, given by number or by id."""
    ids = np.arange(devices) if isinstance(devices, int) else devices
    return Draw(Keys(0, purpose), ids, round)


def payload(
    n: int, width: int = WIDTH, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Tensor:
    """Rows of very different lengths, with zeros and equal numbers among them."""
    random = np.random.default_rng(seed)
    v = random.standard_normal((n, width)) * 10.0 ** random.uniform(-3, 3, (n, 1))
    v[random.random((n, width)) < 0.1] = 0.0
    v[:, : width // 10] = np.round(v[:, : width // 10])
    if n > 3:
        v[1], v[2], v[3] = 0.0, 1.0, np.sign(v[3])
    return torch.as_tensor(v, dtype=dtype)
