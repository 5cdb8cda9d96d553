"""A model of what a round of `engine=ray` costs, fitted on small runs of this machine and held against
others: processor seconds, memory, bytes, and calls.

    python -m benchmarks.scale                   # fit, validate at 1, 2 and 5 actors, foretell: half an hour
    python -m benchmarks.scale --repeats 1       # each run once: noisier

The counts (messages, bytes, calls) are exact, and a test holds them against runs. The constants are
found by non-negative least squares on relative errors. The runs that validate are others than those
of the fit, with other models, devices and actors. docs/scale.md says what the model leaves out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from benchmarks.actors import family, proportional, ready, started, ticks, turn
from swarm.communication.topology.graph import Graph
from swarm.simulation.experiment import Experiment

Ints = npt.NDArray[np.int64]
GIB = float(1 << 30)
REPORT_BYTES = 56  # of a device in an actor's report: seven numbers of 8 bytes
BLOCK, LOCAL_STEPS, SAMPLES = 20, 5, 60


@dataclass(frozen=True)
class Work:
    """The counts of one round of D-PSGD that follow from the settings alone.

    Attributes:
        devices: Devices.
        actors: Actors.
        steps: Local steps of all devices.
        flops: Floating-point operations of those steps.
        messages: Payloads sent from one device to another.
        bytes: Bytes of those payloads.
        moved: Bytes of rows that go from one actor to another: each row once to each actor that
            needs it, however many of its devices do.
        reported: Bytes of the devices' results, which the driver gets.
        calls: Remote calls.
        rows: Bytes of the parameters of all devices.
        data: Bytes of the samples.
    """

    devices: int
    actors: int
    steps: int
    flops: float
    messages: int
    bytes: int
    moved: int
    reported: int
    calls: int
    rows: int
    data: int


def rows_between(graph: Graph, owner_N: Ints) -> int:
    """How many rows cross a cut: pairs of a device, and an owner that needs its row and has not got
    it; ``owner_N`` says who holds each device (an actor, or a node)."""
    src, to = graph.src_E, owner_N[graph.dst_E]
    away = owner_N[src] != to
    return len(np.unique(src[away] * (int(owner_N.max()) + 1) + to[away]))


def work_of(e: Experiment, owner_N: Ints) -> Work:
    """The counts of a round of ``e`` whose devices ``owner_N`` are shared out over actors."""
    graph, n, s = e.communication.graph(1), e.settings.devices, e.settings
    row = e.model.layout.width * e.dtype.itemsize
    steps, actors = n * s.train.local_steps, int(owner_N.max()) + 1
    return Work(
        devices=n,
        actors=actors,
        steps=steps,
        flops=steps * e.model.step_flops,
        messages=len(graph.src_E),
        bytes=len(graph.src_E) * row,
        moved=rows_between(graph, owner_N) * row,
        reported=n * REPORT_BYTES,
        calls=actors,
        rows=n * row,
        data=e.data.dataset.x.nbytes,
    )


# --- the model ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """The constants of a machine: seconds of one processor, and bytes.

    A round takes ``step_s`` for each local step, ``flop_s`` for each of its operations, ``call_s``
    for each call (Ray's threads and the driver's with it), and ``byte_s`` for each byte that goes
    from one actor to another. Of this the driver, which is one process, takes ``driver_call_s`` for
    each call and ``driver_device_s`` for each device. Starting takes ``start_s``, and ``actor_s`` for each actor. Memory is
    ``fixed_bytes`` (the driver, Ray, imports), ``actor_bytes`` for each actor, ``known_bytes`` for
    each device in each actor (whose process knows the whole graph), and ``copies`` of the rows. The
    data are there :data:`DATA_COPIES` times.
    """

    step_s: float
    flop_s: float
    call_s: float
    byte_s: float
    driver_call_s: float
    driver_device_s: float
    start_s: float
    actor_s: float
    fixed_bytes: float
    actor_bytes: float
    known_bytes: float
    copies: float

    def round_s(self, w: Work) -> float:
        """Processor seconds of a round, of all processes."""
        return float(np.dot(_of_round(w), _constants(self, ROUND)))

    def begin_s(self, w: Work) -> float:
        """Processor seconds from the command to the first round."""
        return float(np.dot(_of_start(w), _constants(self, START)))

    def memory(self, w: Work) -> float:
        """Bytes of all processes, a shared page once."""
        return float(np.dot(_of_memory(w), _constants(self, MEMORY))) + DATA_COPIES * w.data

    def driver_s(self, w: Work) -> float:
        """Processor seconds of a round in the driver."""
        return float(np.dot(_of_driver(w), _constants(self, DRIVER)))


ROUND = ("step_s", "flop_s", "call_s", "byte_s")
DRIVER = ("driver_call_s", "driver_device_s")
START = ("start_s", "actor_s")
MEMORY = ("fixed_bytes", "actor_bytes", "known_bytes", "copies")
DATA_COPIES = 2  # the driver's, and the one in the object store that all actors read


def _of_round(w: Work) -> list[float]:
    return [w.steps, w.flops, w.calls, w.moved]


def _of_driver(w: Work) -> list[float]:
    return [w.calls, w.devices]


def _of_start(w: Work) -> list[float]:
    return [1, w.actors]


def _of_memory(w: Work) -> list[float]:
    return [1, w.actors, w.actors * w.devices, w.rows]


def _constants(machine: Machine, names: Sequence[str]) -> list[float]:
    return [getattr(machine, name) for name in names]


@dataclass(frozen=True)
class Measured:
    """What a run took: processor seconds of a round, in all and of the driver, and of the start;
    bytes of memory; and what it counted in a round."""

    work: Work
    round_s: float
    driver_s: float
    begin_s: float
    memory: float
    messages: int
    bytes: int


def fitted(runs: Sequence[Measured]) -> Machine:
    """The constants, none below 0, that make the squares of relative errors least."""
    found: dict[str, float] = {}
    parts: Sequence[tuple[Sequence[str], Callable[[Work], list[float]], list[float]]] = (
        (ROUND, _of_round, [run.round_s for run in runs]),
        (DRIVER, _of_driver, [run.driver_s for run in runs]),
        (START, _of_start, [run.begin_s for run in runs]),
        (MEMORY, _of_memory, [run.memory - DATA_COPIES * run.work.data for run in runs]),
    )
    for names, of, each in parts:
        took = np.array(each)
        matrix = np.array([of(run.work) for run in runs], float) / took[:, None]
        scale = matrix.max(axis=0)  # the counts differ by ten orders of magnitude
        x, _ = nnls(matrix / scale, np.ones(len(runs)))
        found |= dict(zip(names, x / scale, strict=True))
    return Machine(**found)


# --- runs -----------------------------------------------------------------------------------------

# devices, actors, hidden units, features; rounds of one turn
FIT = (
    (120, 1, 64, 64, 12), (480, 1, 64, 64, 4), (240, 1, 256, 64, 3), (240, 3, 64, 64, 8), (240, 4, 256, 64, 3),
    (120, 6, 64, 64, 12), (20_000, 1, 1, 2, 1), (20_000, 4, 1, 2, 1),
)  # fmt: skip
VALIDATE = ((300, 1, 128, 64, 5), (300, 2, 128, 64, 5), (300, 5, 128, 64, 5))
TURNS = 5


def measured(devices: int, actors: int, hidden: int, features: int, rounds: int) -> Measured:
    """Run it in this process, which must be a fresh one, and its actors."""
    words = (
        "engine=ray", f"engine.actors={actors}", f"engine.block={BLOCK}", f"devices={devices}", "rounds=1000000",
        "data=gaussian", "data.classes=10", f"data.features={features}", f"data.per_device={SAMPLES}", "partition=natural",
        f"model.hidden=[{hidden}]", "train.batch=32", f"train.local_steps={LOCAL_STEPS}",
    )  # fmt: skip
    me = os.getpid()
    with ExitStack() as stack:
        running = started(stack, ready(*words))
        engine: Any = running.engine
        begin = ticks(family(me))
        play = turn(engine, rounds)
        play()  # warms up: routes, and the first rows
        each, driver, sent = [], [], []
        for _ in range(TURNS):
            before, mine = ticks(family(me)), ticks([me])
            play()
            each.append((ticks(family(me)) - before) / rounds)
            driver.append((ticks([me]) - mine) / rounds)
        for happened in engine.advance(engine.round + 1):
            sent += happened.traffic
        memory = proportional(family(me))
        owner_N = np.empty(devices, np.int64)
        for number, held in enumerate(engine.assignment.devices):
            owner_N[held] = number
        work = work_of(running.experiment, owner_N)
        messages = sum(int(part.sent_N.sum()) for part in sent)
        return Measured(
            work, statistics.median(each), statistics.mean(driver), begin, memory, messages,
            sum(int(part.sent_N.sum()) * part.bits // 8 for part in sent),
        )  # fmt: skip


def in_a_process(run: Sequence[int]) -> Measured:
    command = [sys.executable, "-m", "benchmarks.scale", "--one", *map(str, run)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Measured(Work(**found.pop("work")), **found)


def medians(runs: Sequence[Measured]) -> Measured:
    """The same run several times: its median figures."""
    names = ("round_s", "driver_s", "begin_s", "memory")
    middle = {name: statistics.median(getattr(run, name) for run in runs) for name in names}
    return Measured(**{**vars(runs[0]), **middle})


def print_runs(title: str, machine: Machine, runs: Sequence[Measured]) -> None:
    print(f"\n{title}: measured (model, model / measured)")
    print(
        "devices actors    flops/step  ms a round     of the driver               start, s            MiB"
    )
    for run in runs:
        w = run.work
        pairs = (
            (1000 * run.round_s, 1000 * machine.round_s(w)),
            (1000 * run.driver_s, 1000 * machine.driver_s(w)),
            (run.begin_s, machine.begin_s(w)),
            (run.memory / 2**20, machine.memory(w) / 2**20),
        )
        text = "   ".join(f"{a:8.1f} ({b:8.1f}, {b / max(a, 1e-9):.2f})" for a, b in pairs)
        same = (run.messages, run.bytes) == (w.messages, w.bytes)
        counts = "counts equal" if same else "COUNTS DIFFER"
        print(f"{w.devices:7d} {w.actors:6d} {w.flops / w.steps:13,.0f}  {text}  {counts}")


# --- what it says of large swarms -----------------------------------------------------------------


@dataclass(frozen=True)
class Nodes:
    """Equal machines: their number, and cores, bytes of memory and bytes a second of each."""

    count: int
    cores: int = 32
    memory: float = 128 * GIB
    network: float = 25e9 / 8


def foretold(
    m: Machine, nodes: Nodes, devices: int, degree: float, crossing: float
) -> dict[str, float]:
    """What a round of MLP 64-64-10 takes with an actor on each core, when each device has so many
    links (``degree``), and a row crosses to ``crossing`` other nodes on average.

    Seconds are of the slowest part; memory is of one node.
    """
    row, actors = 4_810 * 4, nodes.count * nodes.cores
    steps = devices * LOCAL_STEPS
    flops = steps * 6.0 * 32 * (64 * 64 + 64 * 10)
    compute = (steps * m.step_s + flops * m.flop_s) / actors + m.call_s - m.driver_call_s
    known = nodes.cores * devices * m.known_bytes
    own = devices / nodes.count * (m.copies * row + SAMPLES * 64 * 4)
    return {
        "compute_s": compute,
        "driver_s": actors * m.driver_call_s + devices * m.driver_device_s,
        "network_s": devices / nodes.count * crossing * row / nodes.network,
        "messages_GB": devices * degree * row / 1e9,
        "crossing_GB": devices * crossing * row / 1e9,
        "reports_GB": devices * REPORT_BYTES / 1e9,
        "rows_GiB": own / GIB,
        "known_GiB": known / GIB,
        "node_GiB": (own + known + nodes.cores * m.actor_bytes) / GIB,
    }


def print_foretold(machine: Machine) -> None:
    print(
        "\nMLP 64-64-10, 6 links, nodes of 32 cores, 128 GiB, 25 Gbit/s; rows cross 1.2 nodes on average or 6"
    )
    for devices in (1_000_000, 100_000_000):
        for count in (32, 1000):
            for crossing in (1.2, 6.0):
                found = foretold(machine, Nodes(count), devices, 6, crossing)
                text = "  ".join(f"{name} {value:,.3g}" for name, value in found.items())
                print(f"{devices:11,d} devices {count:5d} nodes, {crossing} crossings: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="how often each run is made")
    parser.add_argument("--one", type=int, nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(measured(*options.one))))
        return
    made: dict[tuple[int, ...], list[Measured]] = {run: [] for run in (*FIT, *VALIDATE)}
    for _ in range(options.repeats):  # in turns, as other work comes and goes
        for run, found in made.items():
            found.append(in_a_process(run))
            print(".", end="", file=sys.stderr, flush=True)
    each = {run: medians(found) for run, found in made.items()}
    machine = fitted([each[run] for run in FIT])
    print("\n".join(f"{name:12s} {value:.4g}" for name, value in asdict(machine).items()))
    print_runs("fitted on", machine, [each[run] for run in FIT])
    print_runs("validated on", machine, [each[run] for run in VALIDATE])
    print_foretold(machine)


if __name__ == "__main__":
    main()
