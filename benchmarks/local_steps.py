"""How fast both kernels take the local steps of a Linear-ReLU-Linear network, without all else.

    pip install .[fast]
    python benchmarks/local_steps.py                 # the networks of docs/performance.md
    python benchmarks/local_steps.py --turns 15

The kernels of compute.kernels=torch and =numba take the same K steps of a block in turn, in
processor time of one thread, and must end with the same parameters to rounding in float64.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from swarm.learning.batch import Batch
from swarm.learning.kernels.dense import Dense
from swarm.learning.kernels.losses import CrossEntropy
from swarm.learning.learner import Learner
from swarm.learning.numba_steps.learner import NumbaLearner
from swarm.learning.optim.optimizer import SGD
from swarm.learning.optim.schedule import Constant
from swarm.simulation.engine.base import prepare_process

LR, K = 0.1, 5
NETWORKS = [  # inputs, hidden units, classes, samples of a mini-batch, devices of a block
    (64, 64, 10, 8, 25),
    (64, 64, 10, 32, 25),
    (784, 128, 10, 8, 9),
    (784, 128, 10, 32, 9),
]


def processor_us(work: Callable[[], object], calls: int) -> float:
    """The processor time of a call."""
    began = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - began) / calls * 1e6


def compare(inputs: int, hidden: int, outs: int, samples: int, block: int, turns: int) -> None:
    """Print a line about one network."""
    loss = CrossEntropy()
    module = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outs))
    kernel = Dense.match(module, loss)
    assert kernel is not None
    draw = torch.Generator().manual_seed(0)
    x_BP = 0.1 * torch.randn(block, kernel.layout.width, generator=draw)
    features = torch.randn(block, K, samples, inputs, generator=draw)
    label = torch.randint(0, outs, (block, K, samples), generator=draw)
    none = torch.zeros(block, dtype=torch.int64)
    target = loss.encode(label, outs, torch.float32)
    batch = Batch(features, target, None, None, none)
    sgd = SGD(LR, Constant())

    def learners() -> list[Learner]:
        torchs = Learner(kernel, loss, sgd, outs, None, False)
        return [torchs, NumbaLearner(kernel, loss, sgd, outs)]

    # in float32 a unit within rounding of zero may be on in one and off in the other
    exact = replace(batch, x=features.double(), target=target.double())
    ends = [learner._descend(x_BP.double(), exact, LR)[0] for learner in learners()]
    apart = float((ends[0] - ends[1]).abs().max())
    assert apart < 1e-12, apart
    both = learners()
    work = 2 * samples * (2 * inputs * hidden + 3 * hidden * outs)  # additions and products
    calls = max(2, int(1e9 / (work * block * K)))
    pairs = [
        [processor_us(lambda each=each: each._descend(x_BP, batch, LR), calls) / (block * K) for each in both]
        for _ in range(turns)
    ]  # fmt: skip
    one, two = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    print(
        f"MLP {inputs}-{hidden}-{outs}, batch {samples}: {one:.2f} and {two:.2f} us a step"
        f" ({work / one / 1e3:.0f} and {work / two / 1e3:.0f} GFLOP/s), {statistics.median(ratios):.2f}"
        f" ({min(ratios):.2f}-{max(ratios):.2f}) times as fast; in float64 apart by {apart:.1e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    prepare_process()
    with torch.inference_mode():
        for network in NETWORKS:
            compare(*network, turns)


if __name__ == "__main__":
    main()
