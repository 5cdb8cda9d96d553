"""Run asynchronous gossip at size: 10,000 devices for 100 virtual seconds, in one process.

    python benchmarks/asynchronous.py                                   # Poisson clocks, one waking a second, ticks of 0.1 s
    python benchmarks/asynchronous.py delay=exponential delay.mean=0.2  # anything else as in a run
    python benchmarks/asynchronous.py --profile

It prints wall and processor seconds, the milliseconds of a tick, and what was done in them. The
devices are evaluated once, at the end.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import time

os.environ["OMP_NUM_THREADS"] = "1"

from hydra import compose, initialize_config_dir

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.loop import Simulation

SETTINGS = (
    "devices=10000", "rounds=1000", "network.round_seconds=0.1", "clock=poisson", "clock.rate=1.0", "model=softmax",
    "data=gaussian", "data.test=0.01", "data.validation=0.01", "partition=natural", "optimizer.lr=0.1",
    "scenario.arms=[swarm]", "tracker=none", "evaluate.every=1000", "evaluate.devices=500", "checkpoint.every=0",
)  # fmt: skip


def main() -> None:
    """Run it, and print one line of figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", action="store_true", help="also where the time goes")
    parser.add_argument("overrides", nargs="*", help="settings, as for run_swarm.py")
    arguments = parser.parse_args()
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        ready = PreparedRun.prepare(
            Settings.parse(compose("config", overrides=[*SETTINGS, *arguments.overrides]))
        )
    arm = ready.arms[0]
    profile = cProfile.Profile()
    with Simulation(ready.experiment(arm, arm.variants[0]), ready.engine) as running:
        rounds = running.experiment.settings.rounds
        start, processor = time.perf_counter(), time.process_time()
        if arguments.profile:
            profile.enable()
        last = list(running.records(rounds))[-1].values
        profile.disable()
        took, busy = time.perf_counter() - start, time.process_time() - processor
    awake = last["steps_total"] / rounds / running.experiment.data.local_steps_N[0]
    devices = running.experiment.settings.devices
    print(
        f"{took:.1f} s ({busy:.1f} s of processor time) for {last['virtual_s']:.0f} virtual seconds"
        f" of {devices:,} devices: {1000 * took / rounds:.1f} ms a tick, {awake:,.0f} devices awake"
        f" in it, {last['steps_total'] / took:,.0f} local steps/s, {last['messages_total']:,}"
        f" messages, mean accuracy {last['accuracy_mean']:.3f}"
    )
    if arguments.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
