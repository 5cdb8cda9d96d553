"""Measure what each aggregation rule costs beside the mean: rounds of the same swarm in turns.

    python -m benchmarks.aggregators                                # every option of conf/aggregator
    python -m benchmarks.aggregators --only krum nnm+coordinate_median --pairs 7
    python -m benchmarks.aggregators topology.degree=10             # another swarm

1,000 devices on a random graph with 6 links each and an MLP 64-64-10 take 5 SGD steps of batch 32 a
round. All rules take turns, and the medians of the pairwise ratios of processor time are printed
with their range. A ratio covers the whole round, learning included: 1.5 means half a round's work
on top. Every device has validation samples of its own, which only the rules that measure models
use.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from benchmarks.throughput import started
from swarm.common.system import paths
from swarm.simulation.loop import Simulation

BASE = "mean"
SWARM = (
    "devices=1000",
    "topology=random_regular",
    "topology.degree=6",
    "data=gaussian",
    "data.features=64",
    "data.per_device=60",
    "data.local_validation=0.2",
    "partition=natural",
    "model.hidden=[64]",
    "train.batch=32",
    "train.local_steps=5",
    "optimizer.lr=0.1",
)
MIXED = [f"{pre}+coordinate_median" for pre in ("nnm", "bucketing")]


def made(name: str, overrides: list[str]) -> Simulation:
    """The swarm under the rule ``name``, or ``PRE+RULE`` with a pre-aggregator in front."""
    pre, _, rule = name.rpartition("+")
    own = [f"aggregator={rule}"]
    if pre:
        own += [f"pre_aggregators=[{pre}]", "aggregator.f=1"]
    return started([*SWARM, *own, *overrides])


def seconds(running: Simulation, until: int) -> float:
    """The processor seconds of all rounds up to the round ``until``."""
    torch.set_flush_denormal(True)
    start = time.process_time()
    for _ in running.engine.advance(until):
        pass
    used = time.process_time() - start
    torch.set_flush_denormal(False)
    return used


def compare(names: list[str], pairs: int, rounds: int, overrides: list[str]) -> None:
    """Run all rules in turns, and print ms a round and ratios."""
    running = {name: made(name, overrides) for name in names}
    for each in running.values():
        seconds(each, 1)
    found: dict[str, list[float]] = {name: [] for name in names}
    for pair in range(pairs):
        for name, each in running.items():
            found[name].append(seconds(each, 1 + (pair + 1) * rounds) / rounds)
    print(f"{' '.join(SWARM)}\n{pairs} interleaved turns of {rounds} rounds, processor time")
    print(f"  {'rule':28s} {'ms a round':>10s}   × {BASE} (range)")
    for name, times in found.items():
        ratios = [a / b for a, b in zip(times, found[BASE], strict=True)]
        span = f"{statistics.median(ratios):5.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
        print(f"  {name:28s} {statistics.median(times) * 1e3:10.1f}   {span}")


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="interleaved turns of each rule")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of a turn")
    parser.add_argument("--only", nargs="+", help="these rules instead of all")
    parser.add_argument("overrides", nargs="*", help="further settings, such as topology=torus")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rules = sorted(file.stem for file in (paths.conf() / "aggregator").glob("*.yaml"))
    names = options.only or [*rules, *MIXED]
    chosen = [BASE, *(name for name in names if name not in (BASE, "custom"))]
    compare(chosen, options.pairs, options.rounds, options.overrides)


if __name__ == "__main__":
    main()
