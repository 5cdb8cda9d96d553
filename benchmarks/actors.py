"""Measure Ray actors beside the in-process engine: what they cost, and from which size on they pay.

    python benchmarks/actors.py                 # all of it: about half an hour on two cores
    python benchmarks/actors.py --only cost     # start-up, memory and round time against the number of actors
    python benchmarks/actors.py --only cost --actors 256    # of so many
    python benchmarks/actors.py --only pairs    # two actors against one process on 1,000 devices, beside the ceiling
    python benchmarks/actors.py --only scan     # the number of devices from which on two actors are faster

Times on a shared machine say little. So contestants take turns, and medians of pairwise ratios are
printed with their range. The ceiling is what two processes can do at all: it compares two
in-process engines side by side, each with a whole swarm, with one alone. Where two "processors" are two threads of
one core it is far below 2, and no engine can pass it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hydra import compose, initialize_config_dir

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.engine.base import Engine
from swarm.simulation.loop import Simulation

Turn = Callable[[], float]  # some more rounds of the same run; returns seconds a round
# features, hidden units, rounds of one turn
MODELS = {"784-128-10": (784, 128, 1), "64-64-10": (64, 64, 10)}


# --- runs -----------------------------------------------------------------------------------------


def ready(*settings: str) -> PreparedRun:
    always = (
        "scenario.arms=[swarm]",
        "tracker=none",
        "optimizer.lr=0.1",
        "evaluate.accuracy=false",
    )
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        return PreparedRun.prepare(
            Settings.parse(compose("config", overrides=[*always, *settings]))
        )


def sized(devices: int, model: str, *more: str) -> PreparedRun:
    """A run of MLPs on a ring, with 5 steps of batch 32 a round and 60 samples a device."""
    features, hidden, _ = MODELS[model]
    return ready(
        f"devices={devices}", "topology=ring", "data=gaussian", f"data.features={features}", "data.classes=10",
        "data.per_device=60", "partition=natural", f"model.hidden=[{hidden}]", "train.batch=32", "train.local_steps=5",
        "rounds=1000000", *more,
    )  # fmt: skip


def started(stack: ExitStack, made: PreparedRun) -> Simulation:
    """The swarm of ``made``, ready for its first round."""
    arm = made.arms[0]
    return stack.enter_context(Simulation(made.experiment(arm, arm.variants[0]), made.engine))


def turn(engine: Engine, rounds: int) -> Turn:
    done = 0

    def play() -> float:
        nonlocal done
        done += rounds
        begin = time.perf_counter()
        for _ in engine.advance(done):
            pass
        return (time.perf_counter() - begin) / rounds

    return play


def ratios(one: Turn, other: Turn, pairs: int) -> list[float]:
    """Ratios of the time of ``other`` to that of ``one``, in turns, after two turns each to warm up."""
    found = []
    for pair in range(pairs + 2):
        a, b = one(), other()
        found += [b / a] if pair > 1 else []
    return found


def said(values: Sequence[float]) -> str:
    return f"{statistics.median(values):5.2f} ×   (range {min(values):.2f} – {max(values):.2f})"


# --- what an actor costs --------------------------------------------------------------------------


def proportional(pids: Sequence[int]) -> int:
    """Bytes of these processes; a shared page counts in equal parts for the processes that share it."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue  # it has ended
        total += 1024 * int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])  # type: ignore[index]
    return total


def family(pid: int) -> list[int]:
    """The ids of a process and of all its descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += [child for child, parent in parents.items() if parent == found[-1]]
    return found


def ticks(pids: Sequence[int]) -> float:
    """Processor seconds of these processes, and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


class Peak(threading.Thread):
    """Watches within a block how much of the machine's memory is taken at most, in GiB beyond what
    was taken before. What else runs there counts, too."""

    most = 0.0

    def __enter__(self) -> Peak:
        self.before, self.over = self.available(), threading.Event()
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.most = max(self.most, self.before - self.available())

    def available(self) -> float:
        text = Path("/proc/meminfo").read_text()
        return int(re.search(r"^MemAvailable:\s+(\d+)", text, re.M)[1]) / 2**20  # type: ignore[index]


def cost(actors: int, rounds: int) -> None:
    """Print a line: a fresh Ray with so many actors, one device in each, in the default scenario."""
    me, begin, spent = os.getpid(), time.perf_counter(), ticks([os.getpid()])
    with Peak() as peak, ExitStack() as stack:
        few = ["topology=ring"] if actors < 8 else []  # the scenario's own has six neighbours
        own = (
            "engine=ray",
            "engine.actors=per_device",
            f"devices={actors}",
            "rounds=1000000",
            *few,
        )
        running = started(stack, ready(*own))
        start, start_cpu = time.perf_counter() - begin, ticks(family(me)) - spent
        play = turn(running.engine, 1)
        first, spent = play(), ticks(family(me))
        each = statistics.median([play() for _ in range(rounds)])
        several = turn_of(running.engine, rounds)
        round_cpu = (ticks(family(me)) - spent) / (2 * rounds)
        pids = running.engine.describe()["pids"]
        one, everyone = (
            proportional(pids) / len(pids) / 2**20,
            proportional(family(os.getpid())) / 2**30,
        )
    print(
        f"  {actors:6d} {start:9.1f} {start_cpu:10.1f} {first:10.2f} {each:14.3f} {several:9.3f}"
        f" {round_cpu:12.3f} {one:10.1f} {everyone:11.2f} {peak.most:12.2f}",
        flush=True,
    )


def turn_of(engine: Engine, rounds: int) -> float:
    """Seconds a round where several rounds are asked for at once, so that no actor waits for the end
    of each."""
    last = engine.round  # type: ignore[attr-defined]
    begin = time.perf_counter()
    for _ in engine.advance(last + rounds):
        pass
    return (time.perf_counter() - begin) / rounds


def costs(counts: Sequence[int], rounds: int) -> None:
    print(
        "one device an actor, default scenario (digits, MLP 64-64-10): seconds, of all processors"
        " where it says cpu; proportional memory, and the most that the whole machine took"
    )
    print(
        "  actors  start, s  start, cpu  1st round  alone, s/round  in a row  cpu s/round"
        "  MiB/actor  GiB in all  machine, GiB"
    )
    for count in counts:
        cost(count, rounds)


# --- two actors against one process ---------------------------------------------------------------


def _side(devices: int, model: str, rounds: int, wire: Connection) -> None:
    """A process of its own with an in-process engine: plays a turn whenever it is told to."""
    with ExitStack() as stack:
        play = turn(started(stack, sized(devices, model)).engine, rounds)
        wire.send(play())
        while wire.recv():
            wire.send(play())


class Sides:
    """Two processes with an in-process engine each.

    ``alone``: the first plays; ``both``: at once, as one swarm's halves would at best, so half of
    the time counts."""

    def __init__(self, stack: ExitStack, devices: int, model: str, rounds: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.wires = []
        for _ in range(2):
            mine, theirs = context.Pipe()
            process = context.Process(
                target=_side, args=(devices, model, rounds, theirs), daemon=True
            )
            process.start()
            stack.callback(process.join)
            stack.callback(mine.send, False)
            self.wires.append(mine)
        for wire in self.wires:
            wire.recv()

    def alone(self) -> float:
        self.wires[0].send(True)
        return float(self.wires[0].recv())

    def both(self) -> float:
        for wire in self.wires:
            wire.send(True)
        return max(float(wire.recv()) for wire in self.wires) / 2


def duel(devices: int, model: str, pairs: int) -> None:
    """Print the speed of two actors, the ceiling, and the ratio of the two."""
    rounds = MODELS[model][2]
    print(
        f"\n{devices} devices × MLP {model}, {pairs} interleaved pairs: × the steps/s of one"
        " process"
    )
    with ExitStack() as stack:
        ray = turn(
            started(stack, sized(devices, model, "engine=ray", "engine.actors=2")).engine, rounds
        )
        local = turn(started(stack, sized(devices, model)).engine, rounds)
        found = ratios(ray, local, pairs)
        print(f"  two actors           {said(found)}", flush=True)
    with ExitStack() as stack:
        sides = Sides(stack, devices, model, rounds)
        ceiling = ratios(sides.both, sides.alone, pairs)
        print(f"  ceiling              {said(ceiling)}")
    print(
        f"  two actors / ceiling {statistics.median(found) / statistics.median(ceiling):5.2f}",
        flush=True,
    )


def scan(model: str, pairs: int) -> None:
    """Find the smallest of these swarms on which two actors are faster."""
    print(f"\nMLP {model}: × the steps/s of one process, by the number of devices")
    pays = None
    for devices in (32, 64, 128, 256, 512, 1024, 2048):
        rounds = max(1, 2048 // devices) * MODELS[model][2]
        with ExitStack() as stack:
            ray = turn(
                started(stack, sized(devices, model, "engine=ray", "engine.actors=2")).engine,
                rounds,
            )
            local = turn(started(stack, sized(devices, model)).engine, rounds)
            found = ratios(ray, local, pairs)
        print(f"  {devices:6d} devices   {said(found)}", flush=True)
        if statistics.median(found) < 1:
            pays = None
        elif pays is None:
            pays = devices
    print(
        f"  two actors begin to pay at {pays} devices" if pays else "  two actors do not pay here"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["cost", "pairs", "scan"])
    parser.add_argument(
        "--actors", type=int, nargs="+", default=[1, 2, 8, 64, 256], help="for the table of costs"
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds for the table of costs")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--model", choices=[*MODELS, "all"], default="all")
    options = parser.parse_args()
    models = [m for m in MODELS if options.model in (m, "all")]
    if options.only in (None, "cost"):
        costs(options.actors, options.rounds)
    for model in models:
        if options.only in (None, "pairs"):
            duel(1000, model, options.pairs)
    for model in models:
        if options.only in (None, "scan"):
            scan(model, options.pairs)


if __name__ == "__main__":
    main()
