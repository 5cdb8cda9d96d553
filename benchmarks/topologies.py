"""Measures what the table of ``docs/topologies.md`` says of each family: mean degree, spectral gap
and effective number of neighbours.

    python -m benchmarks.topologies                          # 100 devices, each family as conf/ has it
    python -m benchmarks.topologies small_world 'erdos_renyi topology.p=0.1' --seeds 5 --devices 1000

A family that depends on the seed is the mean over ``--seeds`` of them; one whose figures are
estimated, because it never repeats, over 8. All of it takes a minute of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.describe import describe_topology
from swarm.experiments.runs.prepared import PreparedRun

ESTIMATED = 8  # seeds, where figures are estimated
FAMILIES = (
    "none", "ring", "torus", "torus topology.periodic=false", "star", "complete", "hypercube devices=64",
    "hypercube devices=128", "exponential", "one_peer_exponential", "one_peer_exponential devices=128", "base_graph",
    "base_graph topology.k=4", "random_matching", "epidemic", "epidemic topology.variant=local",
    "waypoint network.round_seconds=1", "erdos_renyi", "small_world", "barabasi_albert", "random_regular",
    "geometric", "clusters", "hierarchy", "social devices=34",
    "social devices=32 topology.graph=davis_southern_women", "social devices=77 topology.graph=les_miserables",
    "social devices=15 topology.graph=florentine_families",
)  # fmt: skip
SHOWN = ("mean_degree", "spectral_gap", "effective_neighbours")


def figures(words: Sequence[str], seed: int) -> dict[str, Any]:
    """What ``summary.json`` has under ``topology`` for a run with these settings. The mean degree of
    a family that repeats is over its period, not the first round's."""
    common = (
        "scenario=consensus",
        "scenario.rounds=null",
        "rounds=1",
        f"seed={seed}",
    )  # which needs no data
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        cfg = compose("config", overrides=[*common, *words])
    run = PreparedRun.prepare(Settings.parse(cfg))
    experiment = run.experiment(run.arms[0], run.arms[0].variants[0])
    found = describe_topology(experiment)
    if period := found["period"]:
        graphs = map(experiment.communication.graph, range(1, period + 1))
        found["mean_degree"] = float(np.mean([graph.mean_degree for graph in graphs]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=FAMILIES, help="with their settings")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--devices", type=int, default=100)
    options = parser.parse_args()
    print(f"{'topology':52s} {'degree':>7s} {'gap':>8s} {'n_eff':>7s}  seeds")
    for family in options.families:
        words = [f"devices={options.devices}", *f"topology={family}".split()]
        found = [figures(words, 0)]
        while len(found) < (ESTIMATED if found[0]["estimated_from"] else options.seeds):
            found.append(figures(words, len(found)))
            if len(found) == 2 and all(found[0][name] == found[1][name] for name in SHOWN):
                del found[1]  # it does not depend on the seed
                break
        degree, gap, near = (np.mean([one[name] for one in found]) for name in SHOWN)
        print(f"{family:52s} {degree:7.2f} {gap:8.4f} {near:7.1f} {len(found):6d}", flush=True)


if __name__ == "__main__":
    main()
