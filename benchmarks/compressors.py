"""Measure every compressor: milliseconds of processor time for 1,000 payload rows, and bits per
number.

    python benchmarks/compressors.py                       # 4,810 numbers a row: the default model, 64-64-10
    python benchmarks/compressors.py --hidden 256 --rows 100

It uses one thread. The least of several turns counts, since whatever else a machine does can only
add to a time.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from swarm.common.rng import Keys
from swarm.common.rows import Layout
from swarm.communication.compression.base import Compressor, Draw
from swarm.config.build import build, option
from swarm.learning.models.dense import MLP

NAMES = [
    ("top_k", {"fraction": 0.01}),
    ("top_k", {"fraction": 0.1}),
    ("random_k", {"fraction": 0.01}),
    ("random_k", {"fraction": 0.1}),
    ("qsgd", {"bits": 8}),
    ("qsgd", {"bits": 4}),
    ("qsgd", {"bits": 2}),
    ("sign", {}),
    ("float16", {}),
    ("low_rank", {"rank": 2}),
    ("neurons", {"share": 0.25}),
]


def milliseconds(compressor: Compressor, v_nM: torch.Tensor, turns: int) -> float:
    """The least processor time of ``turns`` calls."""
    draw, times = Draw(Keys(0, "benchmark"), np.arange(len(v_nM)), 1), []
    with torch.inference_mode():
        for _ in range(turns):
            start = time.process_time()
            compressor(v_nM, draw)
            times.append(time.process_time() - start)
    return 1e3 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--hidden", type=int, default=64, help="of the model 64-HIDDEN-10")
    parser.add_argument("--turns", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    layout = Layout.of(MLP((64,), 10, [given.hidden]))
    v_nM = torch.randn(given.rows, layout.width)
    print(
        f"{given.rows} rows of {layout.width}"
        f" numbers\n\n{'compressor':28}{'ms / 1,000 rows':>16}{'bits / number':>16}"
    )
    for name, settings in NAMES:
        made = build(
            {**option("compressor", name), **settings},
            Compressor,
            "compressor",
            layout=layout,
            number_bits=32,
        )
        label = " ".join([name, *(f"{key}={value}" for key, value in settings.items())])
        took = milliseconds(made, v_nM, given.turns) * 1000 / given.rows
        print(f"{label:28}{took:16.1f}{made.bits(layout.width) / layout.width:16.2f}")


if __name__ == "__main__":
    main()
