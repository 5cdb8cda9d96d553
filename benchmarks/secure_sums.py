"""Processor time of a round with secure sums, and the bytes that keys and shares add.

    python benchmarks/secure_sums.py             # the table in docs/privacy.md
    python benchmarks/secure_sums.py --devices 400 --rounds 2

A round is five local steps of an MLP 64-64-10, and a sum at a server or at every device.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))  # before the others, however this file is run
from throughput import SIZES, ours, simulation

SERVER, MASKS = ("protocol=fedavg", "topology=none"), "secure_sum=bonawitz"
CONTESTANTS = {
    "a server, without masks": SERVER,
    "a server": (*SERVER, MASKS),
    "a server, 20 partners": (*SERVER, MASKS, "secure_sum.partners=20"),
    "a torus, without masks": ("topology=torus",),
    "a torus": ("topology=torus", MASKS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=4, help="rounds of a turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = replace(SIZES["small"], devices=options.devices, rounds=options.rounds)
    made = {name: simulation(size, *extra) for name, extra in CONTESTANTS.items()}
    turns = {name: ours(size, each) for name, each in made.items()}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(3):
        for name, turn in turns.items():
            seconds[name].append(turn() / size.rounds)
    print(f"{size.devices} devices, three turns of {size.rounds} rounds")
    for name, each in seconds.items():
        phases = made[name].experiment.communication.phases
        added = sum(phase.traffic(1).secure_bytes for phase in phases if phase.sends)
        kib = added / size.devices / 1024
        print(
            f"  {name:24s} {statistics.median(each) * 1e3:7.1f} ms a round  + {kib:6.1f} KiB a device"
        )


if __name__ == "__main__":
    main()
