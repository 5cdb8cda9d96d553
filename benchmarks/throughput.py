"""Compare local steps per second of our engine and of what a researcher would write, as ratios.

    python benchmarks/throughput.py                   # the sizes of the table in docs/performance.md
    python benchmarks/throughput.py --size small --compile --pairs 7
    python benchmarks/throughput.py --scaling         # cost per device from 100 to 10,000 devices
    python benchmarks/throughput.py --scaling --lean  # and to 1,000,000 of softmax (11 GiB)

Every contestant trains the same N devices on a ring: K = 5 SGD steps a round, then the average with
both neighbours. Ours also shuffles, scores every new sample before learning from it, and counts
messages; the others get the same batches sliced beforehand. Each has one thread, and its processor
time counts. Contestants take turns, and the medians of the pairwise ratios are printed with their
range, since a single time on a busy machine says little.

* loop: one ``nn.Module`` a device with ``optim.SGD``, or ``autograd.grad`` with a fused update, and
  for images both also with the channels last in memory; the fastest one counts
* bare round: the same round by hand over stacked rows, scoring and gathering included; perceptrons
  only, the fastest block counts
* jax: ``jit`` of ``lax.map`` (or ``vmap``) over devices around ``lax.scan`` over steps, the fastest
  variant; if installed
* one model: a single centralised model on the same samples in one large batch a step (its time is
  the *swarm tax*'s unit)
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # before the others, however this file is run
import contestants as theirs
from contestants import CLASSES, LR, Turn, Work, timed

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.loop import Simulation

K = 5
CNN_SETTINGS = ("model=cnn", "model.channels=[8,16]")
LENET_SETTINGS = (
    "model=custom",
    "model._target_=contestants.gn_lenet",
    f"plugins=[{theirs.__file__}]",
)
ALWAYS = (f"optimizer.lr={LR}", "scenario.arms=[swarm]", "tracker=none")


@dataclass(frozen=True)
class Size:
    """How many devices train which model, and ``rounds`` of one turn."""

    devices: int
    features: int
    make: Callable[[], nn.Module]
    model: tuple[str, ...]
    rounds: int
    batch: int = 32
    samples: int = 600

    @property
    def is_perceptron(self) -> bool:
        return self.model[0].startswith("model.hidden")

    def __str__(self) -> str:
        return f"{self.devices} devices, {' '.join(self.model[:2])}, batch {self.batch}"


def mlp(devices: int, features: int, hidden: int, rounds: int) -> Size:
    make = partial(theirs.mlp, features, hidden)
    return Size(devices, features, make, (f"model.hidden=[{hidden}]",), rounds)


SIZES = {
    "small": mlp(100, 64, 64, 20),
    "large": mlp(100, 784, 128, 3),
    "many": mlp(1000, 64, 64, 3),
    "cnn": Size(32, 784, theirs.cnn, CNN_SETTINGS, 2, batch=8, samples=100),
    "lenet8": Size(16, 3072, theirs.gn_lenet, LENET_SETTINGS, 1, batch=8, samples=200),
    "lenet32": Size(16, 3072, theirs.gn_lenet, LENET_SETTINGS, 1, samples=200),
}


# --- ours -----------------------------------------------------------------------------------------


def simulation(size: Size, *overrides: str) -> Simulation:
    """The in-process engine, started, with all that any run does but the evaluation."""
    settings = [
        f"devices={size.devices}", "topology=ring", "data=gaussian", f"data.features={size.features}",
        f"data.classes={CLASSES}", f"data.per_device={size.samples}", "partition=natural", *size.model,
        f"train.batch={size.batch}", f"train.local_steps={K}", *overrides,
    ]  # fmt: skip
    return started(settings)


def started(settings: list[str]) -> Simulation:
    """The in-process engine of the one arm that these settings give, started."""
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        ready = PreparedRun.prepare(
            Settings.parse(compose("config", overrides=[*ALWAYS, *settings]))
        )
    arm = ready.arms[0]
    made = Simulation(ready.experiment(arm, arm.variants[0]), ready.engine)
    made.__enter__()
    # the engine's own setting; the others run as they would without it
    torch.set_flush_denormal(False)
    return made


def drawn(size: Size, made: Simulation) -> np.ndarray:
    """The samples of the first rounds, ``[N, rounds, K, b]``."""
    everybody, start = np.arange(size.devices), np.zeros(size.devices, np.int64)
    sample = made.experiment.data.stream.draw(everybody, start, size.rounds * K).sample_BKb
    return sample.reshape(size.devices, size.rounds, K, size.batch)


def ours(size: Size, made: Simulation) -> Turn:
    """A turn of some more rounds of the same run."""
    engine, done = made.engine, 0

    def turn() -> float:
        nonlocal done
        done += size.rounds
        torch.set_flush_denormal(True)
        seconds = timed(lambda: [None for _ in engine.advance(done)])
        torch.set_flush_denormal(False)
        return seconds

    return turn


# --- measuring ------------------------------------------------------------------------------------


def contestants(size: Size, overrides: list[str]) -> Iterator[tuple[str, Turn]]:
    made = simulation(size, *overrides)
    data, sample = made.experiment.data.dataset, drawn(size, made)
    samples_S, labels_S = torch.from_numpy(data.x), torch.from_numpy(data.y)
    work = Work(size.make, samples_S[sample], labels_S[sample])
    yield "ours", ours(size, made)
    memories = {"": torch.contiguous_format}
    if size.is_perceptron:
        chosen = torch.from_numpy(sample)
        for block in (2, 4) if size.features > 500 else (16, 32, 50):
            turn = theirs.bare_round(work, samples_S, labels_S, chosen, block)
            yield f"bare round, blocks of {block}", turn
    else:
        memories[", channels last"] = torch.channels_last
    for name, memory in memories.items():
        yield f"loop, optim.SGD{name}", theirs.loop_optim(work, memory)
        yield f"loop, autograd.grad{name}", theirs.loop_functional(work, memory)
        yield f"one model{name}", theirs.one_model(work, memory)
    try:
        import jax  # noqa: F401
    except ImportError:
        print("(JAX is not installed: pip install .[bench] adds it to the table)")
        return
    for group in (8, 4, None) if size.is_perceptron else (1, 4, None):
        name = "vmap" if group is None else f"lax.map of {group}"
        yield f"jax, {name}", theirs.jax_program(work, group)


RATIOS = {
    "bare": "ours / bare round, speed",
    "loop": "ours / fastest plain loop, speed",
    "jax": "ours / fastest JAX program, speed",
    "one": "swarm tax: ours / one model, time",
}


def compare(size: Size, pairs: int, overrides: list[str]) -> None:
    """Run all contestants in turns, and print steps/s and our pairwise ratios."""
    turns = dict(contestants(size, overrides))
    for turn in turns.values():
        turn()
        turn()
    seconds: dict[str, list[float]] = {n: [] for n in turns}
    for _ in range(pairs):
        for n, turn in turns.items():
            seconds[n].append(turn())
    steps = size.devices * K * size.rounds
    print(f"\n{size}, {pairs} interleaved turns")
    for n, times in seconds.items():
        low, middle, high = (steps / t for t in (max(times), statistics.median(times), min(times)))
        print(f"  {n:35s} {middle:10,.0f} steps/s   (range {low:,.0f} – {high:,.0f})")
    for prefix, label in RATIOS.items():
        group = [n for n in seconds if n.startswith(prefix)]
        if not group:
            continue
        best = min(group, key=lambda n: statistics.median(seconds[n]))
        ratios = [b / a for a, b in zip(seconds["ours"], seconds[best], strict=True)]
        _ratio(label, [1 / r for r in ratios] if prefix == "one" else ratios)


def _ratio(label: str, values: list[float]) -> None:
    print(
        f"  {label:36s} {statistics.median(values):6.2f} ×   (range {min(values):.2f} –"
        f" {max(values):.2f})"
    )


LEAN = ["topology=small_world", "model=softmax", "data=digits_like"]


def scaling(pairs: int, sizes: list[int], lean: bool, overrides: list[str]) -> None:
    """Print processor seconds per device and round for swarms of several sizes, which take turns.

    ``lean`` takes softmax regression on a small world with 15 samples a device, of which a million
    fit into 11 GiB.
    """
    rounds = {n: max(1, 1000 // n) for n in sizes}
    engines = {n: _scaled(n, lean, overrides).engine for n in sizes}
    done, cost = dict.fromkeys(sizes, 0), {n: list[float]() for n in sizes}
    torch.set_flush_denormal(True)
    for turn in range(pairs + 1):  # the first one only warms up
        for n, engine in engines.items():
            done[n] += rounds[n]
            seconds = timed(lambda engine=engine, to=done[n]: [None for _ in engine.advance(to)])
            if turn:
                cost[n].append(seconds / n / rounds[n])
    what = "softmax regression 64-10 on a small world" if lean else "MLP 64-64-10 on a ring"
    print(f"\nscaling: cost of one device and round (5 steps of {what})")
    for n, each in cost.items():
        ratio = [c / base for c, base in zip(each, cost[sizes[0]], strict=True)]
        print(
            f"  {n:9,d} devices: {statistics.median(each) * 1e6:7.1f} µs  "
            f" {statistics.median(ratio):.2f} × the cost at {sizes[0]:,}"
            f"   (range {min(ratio):.2f} – {max(ratio):.2f})",
            flush=True,
        )


def _scaled(devices: int, lean: bool, overrides: list[str]) -> Simulation:
    """A swarm of so many devices, started."""
    if not lean:
        return simulation(mlp(devices, 64, 64, 1), "data.per_device=60", *overrides)
    return started(
        [f"devices={devices}", *LEAN, "train.batch=32", f"train.local_steps={K}", *overrides]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=[*SIZES, "all"], default="all")
    parser.add_argument("--pairs", type=int, default=7, help="interleaved turns of each contestant")
    parser.add_argument("--compile", action="store_true", help="ours with compute.compile=true")
    parser.add_argument(
        "--scaling",
        action="store_true",
        help="only the cost of a device in swarms of several sizes",
    )
    parser.add_argument("--lean", action="store_true", help="scaling with softmax regression")
    parser.add_argument("--devices", type=int, nargs="+", help="the sizes of --scaling")
    parser.add_argument(
        "overrides", nargs="*", help="further settings of ours, such as engine.block=16"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    extra = [*options.overrides, *(["compute.compile=true"] if options.compile else [])]
    if options.scaling:
        usual = [100, 1000, 10_000, *([100_000, 1_000_000] if options.lean else [])]
        scaling(options.pairs, options.devices or usual, options.lean, extra)
        return
    for name, size in SIZES.items():
        if options.size in (name, "all"):
            compare(size, options.pairs, extra)


if __name__ == "__main__":
    main()
