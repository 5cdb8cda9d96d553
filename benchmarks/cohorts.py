"""Measure a round of a swarm with several models beside the rounds of its cohorts alone.

    python -m benchmarks.cohorts
    python -m benchmarks.cohorts --devices 400 --turns 9

N devices on a random graph with 6 links each, a quarter of them with each of four MLPs, take 5 SGD
steps of batch 32 a round. Four swarms of N / 4 devices with one of these models each are what their
cohorts take alone. All take turns, and the medians of processor time are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics

os.environ["OMP_NUM_THREADS"] = "1"

from benchmarks.aggregators import seconds
from benchmarks.throughput import started

WIDTHS = (256, 128, 64, 32)
SWARM = (
    "data=gaussian",
    "data.features=64",
    "data.per_device=60",
    "partition=natural",
    "train.batch=32",
    "train.local_steps=5",
    "optimizer.lr=0.1",
)
GRAPHS = {
    "none": ("topology=none",),
    "dpsgd": ("topology=random_regular", "topology.degree=6"),
    "fedavg": ("topology=none",),
}


def measured(devices: int, protocol: str, turns: int, rounds: int) -> tuple[float, float]:
    """The median processor seconds of a round: mixed, and of all cohorts alone together."""
    words, share = [*SWARM, f"protocol={protocol}", *GRAPHS[protocol]], 1 / len(WIDTHS)
    cohorts = [
        word
        for w in WIDTHS[1:]
        for word in (f"+cohorts.w{w}.devices={share}", f"+cohorts.w{w}.model.hidden=[{w}]")
    ]
    swarms = [started([*words, f"devices={devices}", f"model.hidden=[{WIDTHS[0]}]", *cohorts])]
    each = f"devices={devices // len(WIDTHS)}"
    swarms += [started([*words, each, f"model.hidden=[{w}]"]) for w in WIDTHS]
    found: list[list[float]] = [[] for _ in swarms]
    for turn in range(turns + 1):
        for times, running in zip(found, swarms, strict=True):
            times.append(seconds(running, 1 + turn * rounds) / rounds)
    mixed, *alone = (statistics.median(times[1:]) for times in found)
    return mixed, sum(alone)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    print("| Devices | `protocol` | Mixed, ms | Cohorts alone, ms | Mixed over alone |")
    print("|---|---|---|---|---|")
    for devices in asked.devices:
        for protocol in GRAPHS:
            mixed, alone = measured(devices, protocol, asked.turns, asked.rounds)
            row = f"| {devices:,} | {protocol} | {1000 * mixed:.1f} | {1000 * alone:.1f} |"
            print(f"{row} {mixed / alone:.2f} |", flush=True)


if __name__ == "__main__":
    main()
