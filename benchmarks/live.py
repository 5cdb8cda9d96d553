"""Compare live runs with simulated asynchronous gossip: the same clocks, samples and graph.

    python benchmarks/live.py                              # three actors, five seeds: some minutes
    python benchmarks/live.py --seeds 2 rounds=100         # anything else as in a run

Each seed is simulated with messages that arrive at once, and with messages that take one tick. Then
it runs live: as fast as the actors can, and at least ``--pace`` seconds a round. All of them play the
same rounds, in which the same devices wake and take the same steps; only messages differ. A line has
the final accuracy, its difference to the first simulation and that of the whole curves (mean over
evaluations, at equal rounds), each with its 95% t-interval over seeds, and what happened to messages.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from hydra import compose, initialize_config_dir
from scipy import stats

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.engine.base import Engine
from swarm.simulation.engine.live.engine import LiveEngine
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.loop import Simulation

SETTINGS = (
    "devices=24", "rounds=300", "network.round_seconds=0.1", "clock=poisson", "clock.rate=1.0", "engine.block=4",
    "optimizer.lr=0.1", "scenario.arms=[swarm]", "tracker=none", "evaluate.every=20", "checkpoint.every=0",
)  # fmt: skip
ONE_TICK = ("delay=constant", "delay.seconds=0.1")
Records = list[dict[str, Any]]


def played(engine: Engine, settings: Sequence[str]) -> tuple[Records, dict[str, Any]]:
    """The evaluated records of a run, and what its engine says of itself."""
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        found = Settings.parse(compose("config", overrides=[*SETTINGS, *settings]))
    ready = PreparedRun.prepare(found)
    arm = ready.arms[0]
    with Simulation(ready.experiment(arm, arm.variants[0]), engine) as running:
        records = [each.values for each in running.records(found.rounds)]
        facts = running.engine.describe()
    return records, facts


def curve(records: Records) -> tuple[list[float], list[float]]:
    """Rounds, as far as devices have really played them, and accuracies."""
    seen = [each for each in records if "accuracy_mean" in each]
    return (
        [each.get("local_round_mean", each["round"]) for each in seen],
        [each["accuracy_mean"] for each in seen],
    )


def interval(values: Sequence[float]) -> str:
    """Mean and half the 95% t-interval, in points of accuracy."""
    each = 100 * np.asarray(values)
    if len(each) < 2:
        return f"{each.mean():+.1f}"
    half = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5
    return f"{each.mean():+.1f} ± {half:.1f}"


def line(name: str, first: list[Records], found: list[tuple[Records, dict[str, Any]]]) -> str:
    """A contestant beside the first simulation, seed by seed."""
    finals, ends, areas = [], [], []
    for reference, (records, _) in zip(first, found, strict=True):
        rounds, accuracy = curve(records)
        expected = np.interp(rounds, *curve(reference))
        finals.append(accuracy[-1])
        ends.append(accuracy[-1] - expected[-1])
        areas.append(float(np.mean(np.asarray(accuracy[1:]) - expected[1:])))
    wall = np.median([records[-1]["wall_s"] for records, _ in found])
    text = f"{name:22s} {100 * np.mean(finals):5.1f}   {interval(ends):>11s}   {interval(areas):>11s}   {wall:6.1f} s"
    lives = [facts["messages"] for _, facts in found if "messages" in facts]
    if not lives:
        return text
    across = sum(each["between_actors"] + each["lost"] + each["unread"] for each in lives)
    behind = np.mean([r["staleness"] for records, _ in found for r in records if "staleness" in r])
    return (
        f"{text}   {across / sum(each['sent'] for each in lives):.0%} of messages between actors,"
        f" {sum(each['lost'] for each in lives) / across:.1%} of them lost;"
        f" the others {behind:.1f} rounds behind"
    )


def main() -> None:
    """Run all contestants for every seed, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--actors", type=int, default=3)
    parser.add_argument("--pace", type=float, default=0.05)
    parser.add_argument("overrides", nargs="*", help="settings, as for run_swarm.py")
    arguments = parser.parse_args()
    words = [[*arguments.overrides, f"seed={seed}"] for seed in range(arguments.seeds)]
    at_once = [played(LocalEngine(), each) for each in words]
    first = [records for records, _ in at_once]
    print(f"{'':22s} final   against 1st   whole curve     wall")
    print(line("simulated", first, at_once), flush=True)
    late = [played(LocalEngine(), [*each, *ONE_TICK]) for each in words]
    print(line("simulated, a tick late", first, late), flush=True)
    with LiveEngine(actors=arguments.actors) as engine:
        for pace in (0.0, arguments.pace):
            engine.pace = pace
            name = f"live, {1000 * pace:.0f} ms a round" if pace else "live, at full speed"
            print(line(name, first, [played(engine, each) for each in words]), flush=True)


if __name__ == "__main__":
    main()
