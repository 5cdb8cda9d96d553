"""Measure what each protocol costs beside D-PSGD: rounds of the same swarm in turns, as ratios.

    python -m benchmarks.protocols                               # every option of conf/protocol
    python -m benchmarks.protocols --only scaffold relay_sgd --pairs 7
    python -m benchmarks.protocols topology=torus devices=400       # another swarm

1,000 devices on a ring with an MLP 64-64-10 take 5 SGD steps of batch 32 a round. All protocols
take turns, and the medians of the pairwise ratios are printed with their range. A ratio covers the
whole round, learning included: 1.5 means half a round's work on top. Bits are those that one device
sends in a round, as a multiple of its model's size.
"""

from __future__ import annotations

import argparse
import os
import statistics

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from benchmarks.throughput import Size, Turn, mlp, ours, simulation
from swarm.common.system import paths
from swarm.simulation.loop import Simulation

BASE = "dpsgd"


def contestants(
    size: Size, names: list[str], overrides: list[str]
) -> dict[str, tuple[Simulation, Turn]]:
    found = {}
    for name in names:
        made = simulation(
            size, f"protocol={name}", "mixing=lazy", "data.per_device=60", *overrides
        )  # D² refuses plain weights of a ring
        found[name] = made, ours(size, made)
    return found


def sent(made: Simulation) -> float:
    """What one device sends in a round, as a multiple of its model's size."""
    e = made.experiment
    phases = [
        number for number, phase in enumerate(e.communication.protocol.phases) if phase != "learn"
    ]
    bits = sum(
        traffic.messages * traffic.bits
        for traffic in (e.communication.phases[number].traffic(1) for number in phases)
    )
    return (
        bits
        / e.settings.devices
        / (e.model.layout.width * torch.empty(0, dtype=e.dtype).element_size() * 8)
    )


def compare(size: Size, names: list[str], pairs: int, overrides: list[str]) -> None:
    """Run all protocols in turns, and print ms a round and ratios."""
    made = contestants(size, names, overrides)
    for _, turn in made.values():
        turn()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(pairs):
        for name, (_, turn) in made.items():
            seconds[name].append(turn() / size.rounds)
    print(f"{size}, {pairs} interleaved turns of {size.rounds} rounds")
    print(f"  {'protocol':18s} {'ms a round':>10s}   {f'× {BASE} (range)':24s} models sent")
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(times, seconds[BASE], strict=True)]
        span = f"{statistics.median(ratios):5.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
        print(
            f"  {name:18s} {statistics.median(times) * 1e3:10.1f}   {span:24s}"
            f" {sent(made[name][0]):6.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="interleaved turns of each protocol")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of a turn")
    parser.add_argument("--only", nargs="+", help="these protocols instead of all")
    parser.add_argument("overrides", nargs="*", help="further settings, such as topology=torus")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = sorted(file.stem for file in (paths.conf() / "protocol").glob("*.yaml"))
    chosen = [BASE, *(n for n in options.only or names if n != BASE)]
    compare(mlp(1000, 64, 64, options.rounds), chosen, options.pairs, options.overrides)


if __name__ == "__main__":
    main()
