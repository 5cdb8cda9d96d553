"""Compare selective activation with a dense model of the same hidden width: accuracy, bytes and
FLOPs over paired seeds.

    python -m benchmarks.selective                        # the table of docs/models.md
    python -m benchmarks.selective --tune                 # the widths and learning rates that the table was made with
    python -m benchmarks.selective --awake                # how many units one sample wakes, and all those of a round
    python -m benchmarks.selective --seeds 3 data=digits_like

A seed has the same data, start and samples for every line. Devices send their update to all others
(delta_sharing on the complete graph). Dense models send all of it; selective ones send the neurons
that changed most, as many as are active, with error feedback. Differences from the dense line are paired
by seed, with a 95% interval of Student's t.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from scipy import stats

from swarm.common.errors import DivergedError
from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.models.selective import Selective
from swarm.simulation.loop import Simulation

COMMON = (
    "devices=50", "rounds=200", "schedule=cosine", "protocol=delta_sharing", "topology=complete", "engine.block=50",
    "evaluate.every=1000", "evaluate.local=false", "evaluate.ensemble=false", "tracker=none", "scenario.arms=[swarm]",
)  # fmt: skip
NEURONS = "compressor=neurons"
TUNING = (10, 11)  # seeds that the table does not use
WIDTHS, RATES = (16, 32, 64, 128), (0.5, 0.8, 1.2)


@dataclass(frozen=True)
class Result:
    """The result of one run: mean accuracy of the devices, bytes and FLOP of the swarm."""

    accuracy: float
    bytes: float
    flops: float


@dataclass(frozen=True)
class Line:
    """A line of the table: what it is called, and its settings."""

    name: str
    overrides: tuple[str, ...]


def ready_of(seed: int, *overrides: str) -> PreparedRun:
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        settings = compose("config", overrides=[*COMMON, f"seed={seed}", *overrides])
    return PreparedRun.prepare(Settings.parse(settings))


def measure(seed: int, *overrides: str) -> Result:
    """One swarm, run to its end in this process."""
    ready = ready_of(seed, *overrides)
    arm = ready.arms[0]
    with Simulation(ready.experiment(arm, arm.variants[0]), ready.engine) as running:
        try:
            *_, last = running.records(running.experiment.settings.rounds)
        except DivergedError:
            return Result(np.nan, np.nan, np.nan)
    return Result(*(last.values[name] for name in ("accuracy_mean", "bytes_total", "flops_total")))


def dense(width: int, rate: float) -> tuple[str, ...]:
    return ("model=mlp", f"model.hidden=[{width}]", f"optimizer.lr={rate}")


def selective(width: int, rate: float, select: str, active: float) -> tuple[str, ...]:
    own = (
        "model=selective",
        f"model.hidden=[{width}]",
        f"model.select={select}",
        f"model.active={active}",
    )
    return (*own, f"optimizer.lr={rate}", NEURONS, f"compressor.share={active}")


def lines(given: argparse.Namespace) -> list[Line]:
    """The lines of the table. The first is the dense model, which the others are compared with."""
    whole = dense(given.width, given.dense_rate)
    found = [Line("dense", whole), Line("dense, 25% sent", (*whole, NEURONS))]
    for active in given.active:
        found += [
            Line(f"{select} {active:.0%}", selective(given.width, given.rate, select, active))
            for select in given.select
        ]
    return found


def tune(rest: list[str]) -> None:
    """Print the accuracy of every width and rate, over seeds that the table does not use."""
    tries = [
        Line(f"dense {width}, lr {rate}", dense(width, rate)) for width in WIDTHS for rate in RATES
    ]
    tries += [Line(f"{select} 25% of 64, lr {rate}", selective(64, rate, select, 0.25))
              for select in ("learned", "fixed", "random") for rate in RATES]  # fmt: skip
    for line in tries:
        found = [measure(seed, *line.overrides, *rest).accuracy for seed in TUNING]
        print(f"{line.name:28s} {np.mean(found):.4f}", flush=True)


def awake(given: argparse.Namespace) -> None:
    """How many units the samples of a device wake: one of them, those of its next round together,
    and the test set's.
    """
    line = selective(given.width, given.rate, "learned", 0.25)
    ready = ready_of(0, *line, *given.overrides)
    arm = ready.arms[0]
    with Simulation(ready.experiment(arm, arm.variants[0]), ready.engine) as running:
        e = running.experiment
        for _ in running.engine.advance(e.settings.rounds):
            pass
        model, found = e.model.module(), running.engine.snapshot()
    assert isinstance(model, Selective)
    model.load_state_dict(e.model.layout.state_dict(found["x"][0].clone()))  # all are alike
    devices = np.arange(e.settings.devices)
    sample_BKb = e.data.stream.draw(
        devices, found["steps"].numpy(), int(e.data.local_steps_N[0])
    ).sample_BKb
    x = torch.as_tensor(ready.dataset.x)
    each = [model.masks(x[ids.reshape(-1)])[0].amax(0).mean().item() for ids in sample_BKb]
    load = model.masks(x[ready.dataset.test])[0].mean(0)
    print(f"a sample wakes 25%, a device's round {np.mean(each):.0%} ({min(each):.0%} to {max(each):.0%}), the test set "
          f"{(load > 0).float().mean():.0%}; the busiest unit takes part in {load.max():.0%} of its samples")  # fmt: skip


def interval(values: list[float]) -> str:
    """The mean and its 95% interval, in points."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else np.nan
    return f"{100 * float(np.mean(values)):+.2f} ± {100 * float(half):.2f}"


def table(given: argparse.Namespace) -> None:
    found: dict[str, list[Result]] = {}
    print(f"{'':18s} {'accuracy':>9s}  {'points from dense':>18s} {'bytes':>7s} {'FLOPs':>7s}")
    for line in lines(given):
        runs = found[line.name] = [
            measure(seed, *line.overrides, *given.overrides) for seed in range(given.seeds)
        ]
        pairs = list(zip(runs, found["dense"], strict=True))
        print(
            f"{line.name:18s} {np.mean([r.accuracy for r in runs]):9.4f} "
            f" {interval([a.accuracy - b.accuracy for a, b in pairs]):>18s}"
            f" {np.mean([a.bytes / b.bytes for a, b in pairs]):7.1%}"
            f" {np.mean([a.flops / b.flops for a, b in pairs]):7.1%}",
            flush=True,
        )
    for active in given.active:
        learned = found.get(f"learned {active:.0%}")
        for other in given.select:
            if learned and other != "learned":
                gain = [
                    a.accuracy - b.accuracy
                    for a, b in zip(learned, found[f"{other} {active:.0%}"], strict=True)
                ]
                print(f"learned over {other}, {active:.0%}: {interval(gain)} points")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tune", action="store_true", help="try widths and rates instead")
    parser.add_argument(
        "--awake", action="store_true", help="count the units that samples wake instead"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--width", type=int, default=64, help="of the hidden layer")
    parser.add_argument("--dense-rate", type=float, default=1.2)
    parser.add_argument("--rate", type=float, default=0.8)
    parser.add_argument("--active", type=float, nargs="+", default=[0.25, 0.1, 0.5])
    parser.add_argument("--select", nargs="+", default=["learned", "random", "fixed"])
    parser.add_argument("overrides", nargs="*", help="further settings, such as data=digits_like")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.tune:
        tune(given.overrides)
    elif given.awake:
        awake(given)
    else:
        table(given)


if __name__ == "__main__":
    main()
