"""Processor time of local steps with privacy, as ratios to plain steps.

    python benchmarks/privacy.py             # the table in docs/privacy.md
    python benchmarks/privacy.py --pairs 9

Each contestant plays whole rounds of the same swarm (K = 5 steps, then mixing on a ring) on one
thread. They take turns, and the medians of the pairwise ratios are printed with their range.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))  # before the others, however this file is run
from throughput import SIZES, K, ours, simulation

SAMPLES = "privacy=sample_level"
QUIET = (SAMPLES, "privacy.noise_multiplier=0")
CONTESTANTS = {
    "plain steps": (),
    "Poisson sampling": (*QUIET, "privacy.clip_norm=null"),
    "… and clipping": QUIET,
    "… and noise: sample_level": (SAMPLES,),
    "device_level": ("privacy=device_level",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--pairs", type=int, default=7, help="interleaved turns of each contestant")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = SIZES[options.size]
    turns = {name: ours(size, simulation(size, *extra)) for name, extra in CONTESTANTS.items()}
    for turn in turns.values():
        turn()
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(options.pairs):
        for name, turn in turns.items():
            seconds[name].append(turn())
    steps = size.devices * K * size.rounds
    print(f"{size}, {options.pairs} interleaved turns")
    for name, each in seconds.items():
        ratios = [a / b for a, b in zip(each, seconds["plain steps"], strict=True)]
        print(
            f"  {name:28s} {statistics.median(each) / steps * 1e6:7.1f} µs a step  "
            f"{statistics.median(ratios):5.2f} ×   (range {min(ratios):.2f} – {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
