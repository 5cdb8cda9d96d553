"""Measure how much memory runs take, beside what they state before they start.

    python benchmarks/memory.py                     # all configurations: some minutes, up to 2 GiB
    python benchmarks/memory.py --only adam delays  # some of them
    python benchmarks/memory.py --where             # also the parts of the estimate, and where the peak was reached

Each configuration runs in a process of its own. What counts is what a run adds to a Python that has
everything imported and has finished a tiny run: the largest resident set, with the data, from when
they are loaded until the run folder is complete.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hydra import compose, initialize_config_dir

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.experiments.runs.run import execute
from swarm.simulation.footprint import Footprint, footprint

ALWAYS = ("tracker=none", "optimizer.lr=0.1", "rounds=3", "scenario.arms=[swarm]")
LIKE = ("data=digits_like", "model=softmax")
REGULAR = (
    "devices=1000", "topology=random_regular", "topology.degree=6", "data=gaussian", "data.features=64",
    "data.per_device=60", "partition=natural", "model.hidden=[256]",
)  # fmt: skip
RUNS: dict[str, tuple[str, ...]] = {
    "1,000 devices, all arms": ("devices=1000", "data=digits_like", "scenario.arms=[swarm,isolated,centralised,fedavg]"),
    "100,000 softmax": ("devices=100000", *LIKE),
    "10,000 MLPs": ("devices=10000", "data=digits_like", "data.per_device=4"),
    "large model": ("devices=16", "topology=ring", "model.hidden=[4096,1024]"),
    "replay": ("devices=20000", *LIKE, "update=online", "replay=class_balanced", "replay.size=500", "train.batch=5"),
    "goals": (
        "devices=5000", *LIKE, "data.per_device=60", "partition=iid", "data.local_validation=0.2", "goal=gap",
        "metrics=[standard,specialisation,best_in_group]",
    ),
    "delays": ("devices=10000", "data=digits_like", "data.per_device=4", "delay=exponential", "delay.mean=2.0", "rounds=10"),
    "gradient tracking": ("devices=10000", "data=digits_like", "data.per_device=4", "protocol=gradient_tracking"),
    "scaffold": ("devices=10000", "data=digits_like", "data.per_device=4", "protocol=scaffold", "topology=none"),
    "top-k with feedback": ("devices=10000", "data=digits_like", "data.per_device=4", "compressor=top_k"),
    "predictions": ("devices=4000", "data=digits_like", "data.per_device=6", "protocol=fedmd", "data.public=1000", "protocol.steps=5", "topology=ring"),
    "predictions of images": ("devices=60", "data.flat=false", "model=cnn", "protocol=fedmd", "data.public=0.5", "protocol.batch=64", "topology=ring"),
    "asking": (
        "devices=6000", "data=digits_like", "data.per_device=4", "model.hidden=[32]", "topology=ring",
        "metrics=[standard,asking]", "+cohorts={small: {devices: 0.75, model: {hidden: [8]}}}",
    ),
    "cohorts": ("devices=3000", "data=digits_like", "data.per_device=4", "model.hidden=[64]", "topology=ring", "+cohorts={small: {devices: 0.5, model: {hidden: [32]}}, tiny: {devices: 0.25, model: {hidden: [8]}}}"),
    "cohorts packed": (
        "devices=3000", "data=digits_like", "data.per_device=4", "model.hidden=[64]", "topology=ring", "compressor=top_k", "+cohorts={small: {devices: 0.5, model: {hidden: [32]}}, tiny: {devices: 0.25, model: {hidden: [8]}}}",
    ),
    "cohorts trimmed": (
        "devices=3000", "data=digits_like", "data.per_device=4", "model.hidden=[64]", *REGULAR, "aggregator=trimmed_mean", "+cohorts={small: {devices: 0.5, model: {hidden: [32]}}, tiny: {devices: 0.25, model: {hidden: [8]}}}",
    ),
    "cohorts clipped and late": (
        "devices=3000", "data=digits_like", "data.per_device=4", "model.hidden=[64]", *REGULAR, "aggregator=clipped_gossip",
        "transforms=[noise]", "delay=exponential", "delay.mean=1.0", "+cohorts={small: {devices: 0.5, model: {hidden: [32]}}, tiny: {devices: 0.25, model: {hidden: [8]}}}",
    ),
    "relay": ("devices=5000", "data=digits_like", "data.per_device=4", "protocol=relay_sgd", "topology=ring"),
    "power gossip": ("devices=5000", "data=digits_like", "data.per_device=4", "protocol=power_gossip", "topology=ring"),
    "adam": ("devices=10000", "data=digits_like", "data.per_device=4", "optimizer=adam", "optimizer.lr=0.01"),
    "float64": ("devices=10000", "data=digits_like", "data.per_device=4", "compute.dtype=float64"),
    "churn and push-sum": ("devices=10000", "data=digits_like", "data.per_device=4", "protocol=push_sum", "churn=markov"),
    "sequences": ("devices=60", "data=markov", "model=gru", "partition=natural", "topology=ring"),
    "images": ("devices=100", "data.flat=false", "model=cnn", "topology=ring"),
    "augmented images": ("devices=40", "data.flat=false", "model=softmax", "topology=ring", "engine.block=10", "train.batch=800", "train.local_steps=20", "augment=[flip,crop]"),
    "krum": (*REGULAR, "aggregator=krum"),
    "nnm before the median": (*REGULAR, "aggregator=coordinate_median", "aggregator.f=1", "pre_aggregators=[nnm]"),
    "ubar": (*REGULAR, "aggregator=ubar", "data.local_validation=0.2"),
    "alie": (*REGULAR, "attack=alie"),
    "dissensus": (*REGULAR, "attack=dissensus"),
    "sample_level": (*REGULAR, "privacy=sample_level"),
    "device_level": (*REGULAR, "privacy=device_level"),
}  # fmt: skip
# asked for by name only: 11 GiB, and about 8 minutes
LARGE = {"1,000,000 softmax": ("devices=1000000", *LIKE)}


def settings(*overrides: str) -> Settings:
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        return Settings.parse(compose("config", overrides=[*ALWAYS, *overrides]))


def resident() -> tuple[int, int]:
    """Bytes of this process in memory, now and at most since :func:`forget`."""
    lines = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":" in line
    )
    return int(lines["VmRSS"].split()[0]) << 10, int(lines["VmHWM"].split()[0]) << 10


def forget() -> None:
    """Count the peak from here on."""
    Path("/proc/self/clear_refs").write_text("5")


class Watch(threading.Thread):
    """A thread that notes where the main thread is whenever memory has a new peak."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.where, self.main = 0, [""], threading.main_thread().ident

    def run(self) -> None:
        while True:
            now = resident()[0]
            if now > self.most:
                frame = sys._current_frames().get(self.main or 0)
                ours = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_stack(frame)
                        if "/swarm/" in f.filename] if frame else []  # fmt: skip
                self.most, self.where = now, ours[-5:]
            time.sleep(0.01)


def estimate(ready: PreparedRun) -> Footprint:
    """The stated memory of the arm that takes the most."""
    found = [footprint(ready.experiment(arm, each)) for arm in ready.arms for each in arm.variants]
    return max(found, key=lambda each: each.total)


def one(name: str, where: bool) -> dict[str, Any]:
    """Run a configuration in this process."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        execute(
            PreparedRun.prepare(settings("devices=8", "rounds=1", "topology=ring")),
            Path(folder) / "tiny",
        )
        base, _ = resident()
        ready = PreparedRun.prepare(settings(*(RUNS | LARGE)[name]))
        said = estimate(ready)
        watch = Watch()
        if where:
            watch.start()
        forget()
        execute(ready, Path(folder) / "run")
        peak = resident()[1] - base
    parts = {part.name: part.bytes for part in said.parts}
    return {"said": said.total, "peak": peak, "parts": parts, "where": watch.where}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=[*RUNS, *LARGE], metavar="NAME", default=[*RUNS]
    )
    parser.add_argument("--where", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.where)))
        return
    print(f"{'configuration':26s} {'said, MiB':>10s} {'peak, MiB':>10s} {'said / peak':>12s}")
    for name in options.only:
        command = [sys.executable, __file__, "--one", name, *(["--where"] if options.where else [])]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            sys.exit(ran.stderr[-1500:])
        found = json.loads(ran.stdout)
        said, peak = found["said"], found["peak"]
        print(
            f"{name:26s} {said / 2**20:10,.0f} {peak / 2**20:10,.0f} {said / peak:12.2f}",
            flush=True,
        )
        if options.where:
            for part, size in sorted(found["parts"].items(), key=lambda pair: -pair[1]):
                print(f"    {size / 2**20:10,.1f}  {part}")
            print("    at the peak: " + " < ".join(reversed(found["where"])), flush=True)


if __name__ == "__main__":
    main()
