"""Check and measure ``compute.device=cuda`` on one card: equal bits, speed, memory.

    python benchmarks/gpu.py                       # everything, some minutes on a card
    python benchmarks/gpu.py --only bits
    python benchmarks/gpu.py --device cpu --small  # small sizes, on a machine without a card

* bits: the same swarm in 1, 2 and 5 shards must end with equal ``params_sha256``, for models of
  each kernel and for messages of each kind; exit code 1 if they do not
* speed: 1,000 × GN-LeNet and 10,000 × MLP on a ring, K = 5 steps a round, against a plain loop over
  the devices on the same card, in turns; larger blocks than ``engine.block=auto``, which is made
  for a processor's cache, as well
* memory: what a run states before it starts, against the most that it takes on the card (of the
  process, with ``--device cpu``)

Speed is in wall seconds, from when the card has nothing to do until it has nothing to do again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # before the others, however this file is run
import contestants as theirs
import memory as resident_set
import throughput
import torch
from contestants import Turn, Work
from throughput import K, Size

from swarm.common.rows import params_sha256
from swarm.simulation.footprint import footprint
from swarm.simulation.loop import Simulation

SHARDS = (1, 2, 5)
IMAGES = ("data=digits_like", "data.flat=false", "model=cnn")
SEQUENCES = ("data=markov", "partition=natural")
CASES: dict[str, tuple[str, ...]] = {
    "perceptrons, a small world": ("data=digits_like",),
    "perceptrons, the mean over all": ("data=digits_like", "topology=complete"),
    "Adam, clipped, top-k, late messages": (
        "data=digits_like", "optimizer=adam", "optimizer.lr=0.01", "train.clip_norm=1", "compressor=top_k",
        "delay=exponential", "clock=poisson",
    ),
    "convolutions": IMAGES,
    "augmented images": (*IMAGES, "augment=[flip,crop]"),
    "BatchNorm and dropout": (
        "data=digits_like", "model=custom", "model._target_=contestants.noisy", f"plugins=[{theirs.__file__}]",
    ),
    "GRU": (*SEQUENCES, "model=gru"),
    "MCSD": (*SEQUENCES, "model=mcsd"),
    "transformer": (*SEQUENCES, "model=transformer"),
}  # fmt: skip
SPEED = {
    "1,000 × GN-LeNet": replace(throughput.SIZES["lenet32"], devices=1000, samples=160),
    "10,000 × MLP 64-64-10": replace(throughput.SIZES["many"], devices=10_000, rounds=1, samples=160),
}  # fmt: skip
SMALL = {
    "4 × GN-LeNet": replace(SPEED["1,000 × GN-LeNet"], devices=4, batch=2, samples=20),
    "50 × MLP 64-64-10": replace(SPEED["10,000 × MLP 64-64-10"], devices=50),
}
BLOCKS = ("auto", "100", "500")


class Device:
    """Where the arithmetic is done: the name of a torch device."""

    def __init__(self, name: str) -> None:
        self.name, self.on_card = name, name == "cuda"

    def settings(self, *more: str) -> list[str]:
        """Further settings of a run on it."""
        return [f"compute.device={self.name}", *more]

    def wall(self, work: Callable[[], object]) -> float:
        """The wall seconds that ``work`` takes, until the card has done all of it."""
        self._finish()
        begin = time.perf_counter()
        work()
        self._finish()
        return time.perf_counter() - begin

    def _finish(self) -> None:
        if self.on_card:
            torch.cuda.synchronize()

    def base(self) -> int:
        """Count the largest memory from here on; returns the bytes taken now."""
        if self.on_card:
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated()
        resident_set.forget()
        return resident_set.resident()[0]

    def most(self) -> int:
        """The most bytes taken since :meth:`base`."""
        return torch.cuda.max_memory_allocated() if self.on_card else resident_set.resident()[1]


# --- bits -----------------------------------------------------------------------------------------


def bits(device: Device, small: bool) -> bool:
    """Print for each case whether its parameters are the same bits in any number of shards."""
    devices, rounds = (12, 2) if small else (200, 5)
    equal = True
    print("\nparams_sha256 in " + ", ".join(map(str, SHARDS)) + " shards")
    for name, settings in CASES.items():
        found = {
            _hash(device, f"devices={devices}", "engine.block=2", f"engine.shards={n}", *settings, rounds=rounds)
            for n in SHARDS
        }  # fmt: skip
        said = f"equal: {min(found)[:16]}" if len(found) == 1 else "DIFFERENT"
        print(f"  {name:38s} {said}", flush=True)
        equal &= len(found) == 1
    return equal


def _hash(device: Device, *settings: str, rounds: int) -> str:
    made = throughput.started(device.settings(f"rounds={rounds}", *settings))
    _play(made, rounds)
    found = params_sha256(made.engine.snapshot()["x"].numpy())
    made.__exit__(None, None, None)
    return found


def _play(made: Simulation, until: int) -> None:
    for _ in made.engine.advance(until):
        pass


# --- speed and memory -----------------------------------------------------------------------------


def _blocks(size: Size) -> list[str]:
    return [b for b in BLOCKS if b == "auto" or int(b) < size.devices]


def speed(device: Device, sizes: dict[str, Size], pairs: int) -> None:
    """Print steps/s of ours, by block size, and of plain loops, which take turns."""
    for name, size in sizes.items():
        turns: dict[str, Turn] = {}
        for block in _blocks(size):
            made = throughput.simulation(size, *device.settings(f"engine.block={block}"))
            turns[f"ours, engine.block={block}"] = throughput.ours(size, made)
        data, sample = made.experiment.data.dataset, throughput.drawn(size, made)
        x, y = (torch.from_numpy(each)[sample].to(device.name) for each in (data.x, data.y))
        work = Work(lambda size=size: size.make().to(device.name), x, y)
        turns["loop, optim.SGD"] = theirs.loop_optim(work, torch.contiguous_format)
        turns["loop, autograd.grad"] = theirs.loop_functional(work, torch.contiguous_format)
        for turn in turns.values():
            turn()
        seconds: dict[str, list[float]] = {n: [] for n in turns}
        for _ in range(pairs):
            for n, turn in turns.items():
                seconds[n].append(device.wall(turn))
        _print(name, seconds, size.devices * K * size.rounds)


def _print(name: str, seconds: dict[str, list[float]], steps: int) -> None:
    loops = [n for n in seconds if n.startswith("loop")]
    best = min(loops, key=lambda n: statistics.median(seconds[n]))
    print(f"\n{name}: steps/s in wall time, and × the faster plain loop")
    for n, times in seconds.items():
        ratio = [b / a for a, b in zip(times, seconds[best], strict=True)]
        print(
            f"  {n:28s} {steps / statistics.median(times):12,.0f} {statistics.median(ratio):8.2f} ×"
            f"   (range {min(ratio):.2f} - {max(ratio):.2f})",
            flush=True,
        )


def memory(device: Device, sizes: dict[str, Size]) -> None:
    """Print what a run states before it starts, and the most that it takes."""
    where = "the card" if device.on_card else "the process"
    print(f"\nmemory stated for a whole run, and taken of {where} by rounds and an evaluation, MiB")
    for name, size in sizes.items():
        for block in _blocks(size):
            settings = device.settings(f"engine.block={block}")
            base = device.base()
            made = throughput.simulation(size, *settings)
            stated = footprint(made.experiment).total
            _play(made, 2)
            made.measure(2, made.counters)
            taken = device.most() - base
            made.__exit__(None, None, None)
            what = f"{name}, engine.block={block}"
            print(
                f"  {what:40s} {stated / 2**20:10,.0f} {taken / 2**20:10,.0f}"
                f" {stated / max(taken, 1):8.2f}",
                flush=True,
            )


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, to try this script")
    parser.add_argument("--only", nargs="+", choices=("bits", "speed", "memory"),
                        default=("bits", "speed", "memory"), metavar="PART")  # fmt: skip
    parser.add_argument("--pairs", type=int, default=5, help="turns of each contestant")
    options = parser.parse_args(words)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no card is here; --device cpu --small tries this script without one")
        return 1
    torch.set_num_threads(1)
    device, sizes = Device(options.device), SMALL if options.small else SPEED
    equal = bits(device, options.small) if "bits" in options.only else True
    if "speed" in options.only:
        speed(device, sizes, options.pairs)
    if "memory" in options.only:
        memory(device, sizes)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
