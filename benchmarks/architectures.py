"""Compare MCSD, GRU and Transformer at equal parameters and growing lengths: how fast they train,
how fast they read token by token, and how much they keep.

    python benchmarks/architectures.py            # lengths 128 to 4096, some minutes
    python benchmarks/architectures.py --quick    # 128 and 512, less than a minute

MCSD is ``width`` wide with a feed-forward network of 2 · width. The Transformer is as wide, and its
feed-forward network is made smaller until it has the same number of parameters. The GRU has no such
network, and is made wider until it has as many. All have the same depth and vocabulary.

* training: one SGD step on 4,096 tokens (a batch of 4,096 / length sequences) predicts the next
  token at every position, as the engine does it for one device. Printed are tokens a second, and
  the peak of memory that a step adds to the process (VmHWM of a child process, Linux only).
* reading: ``step`` reads the last 32 tokens of one sequence of that length, one token at a time.
* kept: bytes of the state after so many tokens.

Everything runs on one thread and the models take turns. Figures are medians; ratios are medians of
the pairwise ratios to the Transformer in processor time.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import re
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from swarm.common.rows import Layout
from swarm.learning.kernels.losses import CrossEntropy
from swarm.learning.kernels.module import kernel_for
from swarm.learning.learner import Batch, Learner
from swarm.learning.models.gru import GRU
from swarm.learning.models.mcsd import MCSD
from swarm.learning.models.sequence import SequenceModel, state_bytes
from swarm.learning.models.transformer import Transformer
from swarm.learning.optim.optimizer import SGD
from swarm.learning.optim.schedule import Constant

LENGTHS, TOKENS, TOGETHER, LAST = [128, 256, 512, 1024, 2048, 4096], 64, 4096, 32
REFERENCE = "Transformer"
Work = Callable[[], object]


def size(model: SequenceModel) -> int:
    return sum(p.numel() for p in model.parameters())


def nearest(
    make: Callable[[int], SequenceModel], start: int, unit: int, parameters: int
) -> SequenceModel:
    """The model whose size comes nearest to ``parameters``, among sizes ``start``, ``start +
    unit``, …
    """
    best = make(start)
    while size(following := make(start := start + unit)) - parameters <= abs(
        size(best) - parameters
    ):
        best = following
    return best


def models(width: int, depth: int) -> dict[str, SequenceModel]:
    torch.manual_seed(0)
    mcsd = MCSD((1,), TOKENS, width, channels=8, depth=depth, hidden=2 * width)
    return {
        REFERENCE: nearest(
            lambda h: Transformer((1,), TOKENS, width, 4, depth, h), 1, 1, size(mcsd)
        ),
        "MCSD": mcsd,
        "GRU": nearest(lambda w: GRU((1,), TOKENS, w, depth), 1, 1, size(mcsd)),
    }


# --- what is measured -----------------------------------------------------------------------------


def training(model: SequenceModel, length: int) -> Work:
    """A turn that repeats the steps of one device."""
    draw, loss = torch.Generator().manual_seed(length), CrossEntropy()
    x, y = (torch.randint(TOKENS, (TOGETHER // length, length), generator=draw) for _ in range(2))
    target = loss.encode(y.view(1, 1, -1), TOKENS, torch.float32)
    batch = Batch(x[None, None], target, None, None, torch.zeros(1, dtype=torch.int64))
    learner = Learner(
        kernel_for(model, loss, x[:1, :2], 1), loss, SGD(0.01, Constant()), TOKENS, None, False
    )
    row = Layout.of(model).pack(dict(model.named_parameters()))[None]

    def step() -> None:
        with torch.inference_mode():
            learner.train(row, {}, batch, 0.01)

    return step


def reading(model: SequenceModel, length: int) -> Work:
    """A turn that reads the last tokens of a sequence."""
    with torch.no_grad():
        before = read(model, length - LAST)

    def go_on() -> None:
        state = before
        with torch.no_grad():
            for _ in range(LAST):
                _, state = model.step(torch.zeros(1, dtype=torch.int64), state)

    return go_on


def read(model: SequenceModel, length: int) -> list[tuple[torch.Tensor, ...]]:
    """The state after some tokens.

    What a Transformer keeps of so many is filled in: only its size matters here.
    """
    state = model.empty(1)
    if not isinstance(model, Transformer):
        return state
    return [
        (
            *(part.new_zeros(*part.shape[:2], length, part.shape[3]) for part in layer[:2]),
            *layer[2:],
        )
        for layer in state
    ]


def peak_bytes(model: SequenceModel, length: int) -> int | None:
    """Bytes that two steps of training take at most beyond what a child process had before."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    here, there = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=_measure, args=(there, model, length)
    )
    child.start()
    found = int(here.recv())
    child.join()
    return found


def _measure(result: Connection, model: SequenceModel, length: int) -> None:
    work = training(model, length)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    work()
    work()
    result.send(_status("VmHWM") - before)


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


# --- taking turns ---------------------------------------------------------------------------------


def turns(work: dict[str, Work], count: int) -> dict[str, list[float]]:
    """Seconds of processor time of each contestant, which take turns ``count`` times."""
    for each in work.values():
        each()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(count):
        for name, each in work.items():
            begin = time.process_time()
            each()
            seconds[name].append(time.process_time() - begin)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str) -> float:
    """How many times as fast as the Transformer each model is."""
    return statistics.median(a / b for a, b in zip(seconds[REFERENCE], seconds[name], strict=True))


def compare(found: dict[str, SequenceModel], length: int, count: int) -> None:
    trained = turns({name: training(model, length) for name, model in found.items()}, count)
    was_read = turns({name: reading(model, length) for name, model in found.items()}, 2 * count)
    for name, model in found.items():
        step, peak = statistics.median(trained[name]), peak_bytes(model, length)
        memory = "     –" if peak is None else f"{peak / 2**20:6.0f}"
        print(
            f"| {length:6d} | {name:11s} | {1e3 * step:7.0f} | {TOGETHER / step:8,.0f} |"
            f" {ratio(trained, name):5.2f} | {memory} |"
            f" {LAST / statistics.median(was_read[name]):7,.0f} | {ratio(was_read, name):5.2f} |"
            f" {state_bytes(read(model, length)):9,d} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two short lengths")
    parser.add_argument("--lengths", type=int, nargs="+", help=f"divisors of {TOGETHER}")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    found = models(options.width, options.depth)
    for name, model in found.items():
        wide = model.embed.embedding_dim
        print(f"{name}: {size(model):,} parameters, {options.depth} layers, {wide} wide")
    print(
        "\n| length | model       | ms/step | tokens/s | ratio | MiB peak | tokens/s reading |"
        " ratio | bytes kept |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for length in options.lengths or ([128, 512] if options.quick else LENGTHS):
        compare(found, length, options.turns)


if __name__ == "__main__":
    main()
