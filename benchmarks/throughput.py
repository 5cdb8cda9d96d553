"""Compare local steps per second of our engine and of what a researcher would write, as ratios.

    python benchmarks/throughput.py                        # the three sizes of the table in docs/performance.md
    python benchmarks/throughput.py --size small --compile --pairs 7
    python benchmarks/throughput.py --scaling              # cost per device from 100 to 10,000 devices
    python benchmarks/throughput.py --scaling --lean       # and to 1,000,000 of softmax regression (11 GiB)

Every contestant trains the same N devices on a ring: K = 5 SGD steps of batch 32 on 600 samples a
device, then the average with both neighbours. Ours also shuffles, scores every new sample before
learning from it, and counts messages; the others get the same batches sliced beforehand. Each has
one thread. Contestants take turns, and the medians of the pairwise ratios are printed with their
range, since a single time on a busy machine says little.

* loop: one ``nn.Module`` a device with ``optim.SGD``, or ``autograd.grad`` on bare tensors; the
  faster one counts
* jax: ``jit`` of ``lax.map`` (or ``vmap``) over devices around ``lax.scan`` over steps, the fastest
  variant; if installed
* one model: a single centralised model on the same samples in one large batch a step (its time is
  the *swarm tax*'s unit)
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.loop import Simulation

K, BATCH, SAMPLES, LR, CLASSES = 5, 32, 600, 0.1, 10
ALWAYS = (f"optimizer.lr={LR}", "scenario.arms=[swarm]", "tracker=none")


@dataclass(frozen=True)
class Size:
    devices: int
    features: int
    hidden: int
    rounds: int  # of one turn


SIZES = {
    "small": Size(100, 64, 64, 20),
    "large": Size(100, 784, 128, 3),
    "many": Size(1000, 64, 64, 3),
}
Turn = Callable[[], float]  # runs the size's rounds once more; returns seconds


# --- ours -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What every contestant trains on: the batches that ours draws in the first rounds of a run."""

    size: Size
    x: torch.Tensor  # [N, rounds, K, b, features]
    y: torch.Tensor  # [N, rounds, K, b]


def simulation(size: Size, *overrides: str) -> Simulation:
    """The in-process engine, started, with all that any run does but the evaluation."""
    settings = [
        f"devices={size.devices}", "topology=ring", "data=gaussian", f"data.features={size.features}",
        f"data.classes={CLASSES}", f"data.per_device={SAMPLES}", "partition=natural", f"model.hidden=[{size.hidden}]",
        f"train.batch={BATCH}", f"train.local_steps={K}",
        *overrides,
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


def work(size: Size, made: Simulation) -> Work:
    """The samples of the first rounds, sliced beforehand."""
    e = made.experiment
    draw = e.data.stream.draw(
        np.arange(size.devices), np.zeros(size.devices, np.int64), size.rounds * K
    )
    sample = draw.sample_BKb.reshape(size.devices, size.rounds, K, BATCH)
    data = e.data.dataset
    return Work(size, torch.from_numpy(data.x[sample]), torch.from_numpy(data.y[sample]))


def ours(size: Size, made: Simulation) -> Turn:
    """A turn of some more rounds of the same run."""
    engine, done = made.engine, 0

    def turn() -> float:
        nonlocal done
        done += size.rounds
        torch.set_flush_denormal(True)
        seconds = _timed(lambda: [None for _ in engine.advance(done)])
        torch.set_flush_denormal(False)
        return seconds

    return turn


# --- theirs ---------------------------------------------------------------------------------------


def _model(size: Size) -> nn.Module:
    return nn.Sequential(
        nn.Linear(size.features, size.hidden), nn.ReLU(), nn.Linear(size.hidden, CLASSES)
    )


def loop_optim(work: Work) -> Turn:
    """The plain loop with one module and one ``optim.SGD`` for each device."""
    size, x, y = work.size, work.x, work.y
    models = [_model(size) for _ in range(size.devices)]
    optimizers = [torch.optim.SGD(m.parameters(), lr=LR) for m in models]
    loss = nn.CrossEntropyLoss()

    def play() -> None:
        for r in range(size.rounds):
            for i, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
                for k in range(K):
                    optimizer.zero_grad()
                    loss(model(x[i, r, k]), y[i, r, k]).backward()
                    optimizer.step()
            with torch.no_grad():
                for parameters in zip(*(m.parameters() for m in models), strict=True):
                    _ring(list(parameters))

    return lambda: _timed(play)


def loop_functional(work: Work) -> Turn:
    """The plain loop on bare tensors with ``autograd.grad``."""
    size, x, y = work.size, work.x, work.y
    models = [
        [p.detach().clone().requires_grad_() for p in _model(size).parameters()]
        for _ in range(size.devices)
    ]

    def play() -> None:
        for r in range(size.rounds):
            for i, (w1, b1, w2, b2) in enumerate(models):
                for k in range(K):
                    h = torch.relu(torch.addmm(b1, x[i, r, k], w1.T))
                    value = nn.functional.cross_entropy(torch.addmm(b2, h, w2.T), y[i, r, k])
                    gradients = torch.autograd.grad(value, [w1, b1, w2, b2])
                    with torch.no_grad():
                        torch._foreach_add_([w1, b1, w2, b2], gradients, alpha=-LR)
            with torch.no_grad():
                for parameters in zip(*models, strict=True):
                    _ring(list(parameters))

    return lambda: _timed(play)


def _ring(parameters: list[torch.Tensor]) -> None:
    old = torch.stack(parameters)
    mixed = (old + old.roll(1, 0) + old.roll(-1, 0)) / 3
    for parameter, value in zip(parameters, mixed, strict=True):
        parameter.copy_(value)


def jax_program(work: Work, devices_at_once: int | None) -> Turn:
    """``lax.map`` over groups of devices (None: ``vmap`` over all of them), ``lax.scan`` over
    steps, all under ``jit``.
    """
    import jax
    from jax import numpy as jnp

    size = work.size
    x, y = (jnp.asarray(a.transpose(0, 1).numpy()) for a in (work.x, work.y))
    draw = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(draw.normal(0, 0.05, (size.devices, *shape)), dtype=jnp.float32)

    rows = (
        normal(size.features, size.hidden),
        normal(size.hidden),
        normal(size.hidden, CLASSES),
        normal(CLASSES),
    )

    def loss(p: tuple[jax.Array, ...], x: jax.Array, y: jax.Array) -> jax.Array:
        z = jax.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3]
        return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()

    def step(
        p: tuple[jax.Array, ...], xy: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, ...], None]:
        return jax.tree.map(lambda a, g: a - LR * g, p, jax.grad(loss)(p, *xy)), None

    def device(pxy: tuple[tuple[jax.Array, ...], jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        return jax.lax.scan(step, pxy[0], pxy[1:])[0]

    @jax.jit
    def play_round(p: tuple[jax.Array, ...], x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        learnt = (
            jax.lax.map(device, (p, x, y), batch_size=devices_at_once)
            if devices_at_once
            else jax.vmap(device)((p, x, y))
        )
        return jax.tree.map(lambda a: (a + jnp.roll(a, 1, 0) + jnp.roll(a, -1, 0)) / 3, learnt)

    def play() -> None:
        nonlocal rows
        for r in range(size.rounds):
            rows = play_round(rows, x[r], y[r])
        jax.block_until_ready(rows)

    return lambda: _timed(play)


def one_model(work: Work) -> Turn:
    """One centralised model that takes K steps of batch N · 32 a round on the same samples."""
    size = work.size
    x, y = (
        a.permute(1, 2, 0, 3, *range(4, a.dim())).flatten(2, 3).contiguous()
        for a in (work.x, work.y)
    )
    model, loss = _model(size), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)

    def play() -> None:
        for r in range(size.rounds):
            for k in range(K):
                optimizer.zero_grad()
                loss(model(x[r, k]), y[r, k]).backward()
                optimizer.step()

    return lambda: _timed(play)


# --- measuring ------------------------------------------------------------------------------------


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def contestants(size: Size, overrides: list[str]) -> Iterator[tuple[str, Turn]]:
    made = simulation(size, *overrides)
    task = work(size, made)
    yield "ours", ours(size, made)
    yield "loop, optim.SGD", loop_optim(task)
    yield "loop, autograd.grad", loop_functional(task)
    try:
        import jax  # noqa: F401
    except ImportError:
        print("(JAX is not installed: pip install .[bench] adds it to the table)")
    else:
        for group in (8, 4, None):
            yield (
                f"jax, {'vmap' if group is None else f'lax.map of {group}'}",
                jax_program(task, group),
            )
    yield "one model", one_model(task)


def compare(name: str, size: Size, pairs: int, overrides: list[str]) -> None:
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
    print(
        f"\n{name}: {size.devices} devices × MLP {size.features}-{size.hidden}-{CLASSES}, {pairs}"
        " interleaved turns"
    )
    for n, times in seconds.items():
        low, middle, high = (steps / t for t in (max(times), statistics.median(times), min(times)))
        print(f"  {n:22s} {middle:10,.0f} steps/s   (range {low:,.0f} – {high:,.0f})")
    for label, prefix in (("faster plain loop", "loop"), ("fastest JAX program", "jax")):
        group = [n for n in seconds if n.startswith(prefix)]
        if group:
            best = min(group, key=lambda n: statistics.median(seconds[n]))
            _ratio(
                f"ours / {label}",
                [b / a for a, b in zip(seconds["ours"], seconds[best], strict=True)],
            )
    _ratio(
        "swarm tax (ours / one model, time)",
        [a / b for a, b in zip(seconds["ours"], seconds["one model"], strict=True)],
    )


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
            start = time.process_time()
            for _ in engine.advance(done[n]):
                pass
            if turn:
                cost[n].append((time.process_time() - start) / n / rounds[n])
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
        return simulation(Size(devices, 64, 64, 1), "data.per_device=60", *overrides)
    return started(
        [f"devices={devices}", *LEAN, f"train.batch={BATCH}", f"train.local_steps={K}", *overrides]
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
            compare(name, size, options.pairs, extra)


if __name__ == "__main__":
    main()
