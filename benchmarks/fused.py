"""How fast a compiled kernel takes the local steps of a Linear-ReLU-Linear network, beside ours.

    pip install numba
    python benchmarks/fused.py                 # the networks of docs/performance.md
    python benchmarks/fused.py --turns 15

One loop nest takes all K steps of a device: forward pass, softmax cross entropy, backward pass and
SGD step, on the row of parameters as the engine keeps it, which stays in the processor's cache.
Ours takes the same steps of a block by batched products. Both are timed in turn, in processor time
of one thread, and must end with the same parameters to rounding. This is a trial: no option of the
engine uses it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from swarm.common.rows import BlockParameters
from swarm.learning.kernels.dense import Dense
from swarm.learning.kernels.losses import CrossEntropy
from swarm.simulation.engine.base import prepare_process

F = np.float32
LR, K = 0.1, 5
NETWORKS = [  # inputs, hidden units, classes, samples of a mini-batch, devices of a block
    (64, 64, 10, 8, 25),
    (64, 64, 10, 32, 25),
    (784, 128, 10, 8, 9),
    (784, 128, 10, 32, 9),
]


@njit(fastmath=True)
def mantissa(x: Any) -> Any:
    """exp(x) without its power of two, and the power; a polynomial, as loops with calls of the C
    library are not vectorised."""
    x = max(x, F(-87.0))
    n = np.floor(x * F(1.44269504) + F(0.5))
    x = x - n * F(0.693359375) - n * F(-2.12194440e-4)
    p = F(1.9875691500e-4) * x + F(1.3981999507e-3)
    p = (p * x + F(8.3334519073e-3)) * x + F(4.1665795894e-2)
    p = (p * x + F(1.6666665459e-1)) * x + F(5.0000001201e-1)
    return p * x * x + x + F(1), np.int32(n)


@njit(fastmath=True, inline="always")
def into_hidden(h: Any, x: Any, w: Any, bias: Any, samples: int, inputs: int, hidden: int) -> None:
    """h = relu(x · wᵀ + bias), two units × four samples at a time."""
    for j in range(0, hidden, 2):
        for r in range(0, samples, 4):
            s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = F(0)
            for i in range(inputs):
                a, b = w[j, i], w[j + 1, i]
                x0, x1, x2, x3 = x[r, i], x[r + 1, i], x[r + 2, i], x[r + 3, i]
                s0 += a * x0
                s1 += a * x1
                s2 += a * x2
                s3 += a * x3
                t0 += b * x0
                t1 += b * x1
                t2 += b * x2
                t3 += b * x3
            c, d = bias[j], bias[j + 1]
            h[r, j], h[r + 1, j] = max(s0 + c, F(0)), max(s1 + c, F(0))
            h[r + 2, j], h[r + 3, j] = max(s2 + c, F(0)), max(s3 + c, F(0))
            h[r, j + 1], h[r + 1, j + 1] = max(t0 + d, F(0)), max(t1 + d, F(0))
            h[r + 2, j + 1], h[r + 3, j + 1] = max(t2 + d, F(0)), max(t3 + d, F(0))


@njit(fastmath=True, inline="always")
def into_outputs(z: Any, h: Any, w: Any, bias: Any, samples: int, hidden: int, outs: int) -> None:
    """z = h · wᵀ + bias."""
    for r in range(0, samples, 4):
        for c in range(outs):
            s0 = s1 = s2 = s3 = F(0)
            for j in range(hidden):
                a = w[c, j]
                s0 += a * h[r, j]
                s1 += a * h[r + 1, j]
                s2 += a * h[r + 2, j]
                s3 += a * h[r + 3, j]
            z[r, c], z[r + 1, c] = s0 + bias[c], s1 + bias[c]
            z[r + 2, c], z[r + 3, c] = s2 + bias[c], s3 + bias[c]


@njit(fastmath=True, inline="always")
def residual(z: Any, label: Any, power: Any, part: Any, rate: Any, samples: int, outs: int) -> None:
    """z becomes rate · (softmax(z) - onehot(label)); ``power`` and ``part`` are its memory."""
    powers = power.view(np.float32)
    for r in range(samples):
        most = z[r, 0]
        for c in range(outs):
            most = max(most, z[r, c])
        for c in range(outs):
            y, n = mantissa(z[r, c] - most)
            power[r, c], part[r, c] = (n + np.int32(127)) << np.int32(23), y
        total = F(0)
        for c in range(outs):
            z[r, c] = part[r, c] * powers[r, c]
            total += z[r, c]
        scale = rate / total
        for c in range(outs):
            z[r, c] *= scale
        z[r, label[r]] -= rate


@njit(fastmath=True, inline="always")
def step_(w: Any, bias: Any, d: Any, x: Any, samples: int, inputs: int, outs: int) -> None:
    """w -= dᵀ · x and bias -= Σ d, eight samples at a time."""
    for r in range(0, samples, 8):
        for j in range(outs):
            a, b, c, e = d[r, j], d[r + 1, j], d[r + 2, j], d[r + 3, j]
            f, g, p, q = d[r + 4, j], d[r + 5, j], d[r + 6, j], d[r + 7, j]
            for i in range(inputs):
                one = a * x[r, i] + b * x[r + 1, i] + c * x[r + 2, i] + e * x[r + 3, i]
                two = f * x[r + 4, i] + g * x[r + 5, i] + p * x[r + 6, i] + q * x[r + 7, i]
                w[j, i] -= one + two
            bias[j] -= a + b + c + e + f + g + p + q


def compiled(inputs: int, hidden: int, outs: int, samples: int) -> Callable[..., None]:
    """The steps of a block ``x_BP``, written to ``into_BP``; the sizes are constants in the code."""
    first, second = hidden * inputs, hidden * inputs + hidden
    third = second + outs * hidden

    @njit(fastmath=True)
    def steps(x_BP: Any, into_BP: Any, inputs_BKbD: Any, label_BKb: Any, rate: Any) -> None:
        h, dh = np.empty((samples, hidden), F), np.empty((samples, hidden), F)
        z, part = np.empty((samples, outs), F), np.empty((samples, outs), F)
        power = np.empty((samples, outs), np.int32)
        for device in range(x_BP.shape[0]):
            row = into_BP[device]
            row[:] = x_BP[device]
            w1, b1 = row[:first].reshape(hidden, inputs), row[first:second]
            w2, b2 = row[second:third].reshape(outs, hidden), row[third:]
            for k in range(inputs_BKbD.shape[1]):
                x = inputs_BKbD[device, k]
                into_hidden(h, x, w1, b1, samples, inputs, hidden)
                into_outputs(z, h, w2, b2, samples, hidden, outs)
                residual(z, label_BKb[device, k], power, part, rate, samples, outs)
                for r in range(samples):
                    for j in range(hidden):
                        s = F(0)
                        for c in range(outs):
                            s += z[r, c] * w2[c, j]
                        dh[r, j] = s * (F(1) if h[r, j] > F(0) else F(0))
                step_(w2, b2, z, h, samples, hidden, outs)
                step_(w1, b1, dh, x, samples, inputs, hidden)

    return steps


def processor_us(work: Callable[[], object], calls: int) -> float:
    """The processor time of a call."""
    began = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - began) / calls * 1e6


def spread(values: list[float]) -> str:
    """The median with the range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def compare(inputs: int, hidden: int, outs: int, samples: int, block: int, turns: int) -> None:
    """Print a line about one network."""
    module = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outs))
    kernel = Dense.match(module, CrossEntropy())
    assert kernel is not None
    draw = np.random.default_rng(0)
    x = torch.as_tensor(draw.standard_normal((block, kernel.layout.width)).astype(F)) * 0.1
    samples_BKbD = draw.standard_normal((block, K, samples, inputs)).astype(F)
    label_BKb = draw.integers(0, outs, (block, K, samples))
    target = nn.functional.one_hot(torch.as_tensor(label_BKb), outs).float()
    target = target.transpose(2, 3).contiguous()
    parts = BlockParameters(kernel.layout, block, x)
    add = kernel.gradients(parts.views, parts.views, samples)
    features = torch.as_tensor(samples_BKbD)

    def ours() -> Tensor:
        parts.load(x)
        for k in range(K):
            add(features[:, k], target[:, k], -LR / samples)
        return parts.rows()

    steps, into_BP, rate = (
        compiled(inputs, hidden, outs, samples),
        x.numpy().copy(),
        F(LR / samples),
    )
    start_BP = x.numpy()

    def fused() -> None:
        steps(start_BP, into_BP, samples_BKbD, label_BKb, rate)

    began = time.perf_counter()
    fused()
    seconds = time.perf_counter() - began
    apart = float(np.abs(ours().numpy() - into_BP).max())
    assert apart < 1e-5, apart
    work = 2 * samples * (2 * inputs * hidden + 3 * hidden * outs)  # additions and products
    calls = max(2, int(1.5e9 / (work * block * K)))
    pairs = [[processor_us(f, calls) / (block * K) for f in (ours, fused)] for _ in range(turns)]
    one, two = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(
        f"MLP {inputs}-{hidden}-{outs}, batch {samples}: {one:.2f} and {two:.2f} us a step"
        f" ({work / one / 1e3:.0f} and {work / two / 1e3:.0f} GFLOP/s), {spread([a / b for a, b in pairs])}"
        f" times as fast; compiled in {seconds:.1f} s, apart by {apart:.1e}",
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
