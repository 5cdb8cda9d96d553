"""Plain SGD of chains Linear → ReLU → … → Linear under cross-entropy, one device after the other,
in loops that numba compiles.

A device's row stays in the processor's cache for all its steps. The sizes of a network are
arguments, so that the code is compiled once for a dtype, whatever the network. All arrays are
contiguous. Each matrix has its samples, rounded up to a multiple of four, as its first axis; those
that fill it up have no effect. Sums are in another order than those of torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from swarm.common.system.dataset_cache import cache_folder

Function = TypeVar("Function", bound=Callable[..., Any])
F = np.float32
numba: Any = importlib.import_module("numba")  # typed in some of its versions only
# sums may be reordered, but numbers that are not finite must stay so: a model that diverges is
# known by them
MATHS = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: Function, kept: bool = False) -> Function:
    """``function``, compiled where it is first called, and ``kept`` on disk if a folder can be
    written."""
    options = {"fastmath": MATHS, "error_model": "numpy"}
    try:
        made: Function = numba.njit(cache=kept, **options)(function)
    except RuntimeError:  # numba finds no folder
        made = numba.njit(**options)(function)
    return made


def kept(function: Function) -> Function:
    """``function``, compiled where it is first called, and kept on disk: in ``$NUMBA_CACHE_DIR``,
    else in ``swarm-sim-numba`` in the user's cache folder, else where numba finds a place."""
    before = numba.config.CACHE_DIR
    if not before:
        numba.config.CACHE_DIR = str(cache_folder() / "swarm-sim-numba")
    try:
        return compiled(function, kept=True)
    finally:
        numba.config.CACHE_DIR = before


@compiled
def exponential(x: Any) -> Any:
    """exp(x) in float32, for x ≤ 0, as a polynomial and a power of two; the loops with calls of the
    C library are not vectorised."""
    x = F(-87.0) if x < F(-87.0) else x
    n = np.floor(x * F(1.44269504) + F(0.5))
    x = x - n * F(0.693359375) - n * F(-2.12194440e-4)
    p = F(1.9875691500e-4) * x + F(1.3981999507e-3)
    p = (p * x + F(8.3334519073e-3)) * x + F(4.1665795894e-2)
    p = (p * x + F(1.6666665459e-1)) * x + F(5.0000001201e-1)
    return p * x * x + x + F(1), (np.int32(n) + np.int32(127)) << np.int32(23)


@compiled
def affine(x: Any, w: Any, bias: Any, h: Any, rectified: bool) -> None:
    """h = x · wᵀ + bias, of which relu where that is asked for; two units × four samples at a
    time."""
    units, zero = len(w) // 2 * 2, F(0)
    for j in range(0, units, 2):
        for r in range(0, len(x), 4):
            s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = zero
            for i in range(x.shape[1]):
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
            h[r, j], h[r + 1, j], h[r + 2, j], h[r + 3, j] = s0, s1, s2, s3
            k = j + 1
            h[r, k], h[r + 1, k], h[r + 2, k], h[r + 3, k] = t0, t1, t2, t3
    for j in range(units, len(w)):
        for r in range(len(x)):
            s0 = zero
            for i in range(x.shape[1]):
                s0 += w[j, i] * x[r, i]
            h[r, j] = s0
    for r in range(len(x)):
        for j in range(len(w)):
            s = h[r, j] + bias[j]
            h[r, j] = zero if rectified and s <= zero else s


@compiled
def exponentials(out: Any, part: Any, power: Any, fast: bool) -> None:
    """part = exp(out − largest), where the largest outputs of the samples lie behind ``part``'s
    classes."""
    powers, (classes, samples) = power.view(np.float32), out.shape
    most = part[classes]
    for c in range(classes):
        if fast:
            for r in range(samples):
                part[c, r], power[c, r] = exponential(out[c, r] - most[r])
            for r in range(samples):
                part[c, r] *= powers[c, r]
        else:
            for r in range(samples):
                part[c, r] = np.exp(out[c, r] - most[r])


@compiled
def residual(out: Any, target: Any, scale: Any, z: Any, power: Any, part: Any, fast: bool) -> None:
    """z = scale · (m · softmax(out) − target), where m = Σ target, for each sample. ``out`` and
    ``target`` have the classes first, ``z`` the samples; ``power`` and ``part`` are memory."""
    classes, samples = out.shape
    most, total, mass = part[classes], part[classes + 1], part[classes + 2]
    for r in range(samples):
        most[r], total[r], mass[r] = out[0, r], F(0), F(0)
    for c in range(classes):
        for r in range(samples):
            most[r] = out[c, r] if out[c, r] > most[r] else most[r]
            mass[r] += target[c, r]
    exponentials(out, part, power, fast)
    for c in range(classes):
        for r in range(samples):
            total[r] += part[c, r]
    for r in range(samples):
        total[r] = mass[r] * scale[r] / total[r]
    for c in range(classes):
        for r in range(samples):
            z[r, c] = part[c, r] * total[r] - scale[r] * target[c, r]


@compiled
def backward(d: Any, w: Any, h: Any, below: Any) -> None:
    """below = (d · w) where h > 0, else 0; four units × one sample at a time."""
    fours, zero = d.shape[1] // 4 * 4, F(0)
    for r in range(len(d)):
        for j in range(w.shape[1]):
            below[r, j] = zero
        for c in range(0, fours, 4):
            d0, d1, d2, d3 = d[r, c], d[r, c + 1], d[r, c + 2], d[r, c + 3]
            for j in range(w.shape[1]):
                one = d0 * w[c, j] + d1 * w[c + 1, j]
                below[r, j] += one + (d2 * w[c + 2, j] + d3 * w[c + 3, j])
        for c in range(fours, d.shape[1]):
            d0 = d[r, c]
            for j in range(w.shape[1]):
                below[r, j] += d0 * w[c, j]
        for j in range(w.shape[1]):
            below[r, j] = below[r, j] if h[r, j] > zero else zero


@compiled
def subtract(w: Any, bias: Any, d: Any, x: Any) -> None:
    """w −= dᵀ · x and bias −= Σ d, eight samples at a time, and the last four."""
    eights = len(d) // 8 * 8
    for r in range(0, eights, 8):
        for j in range(len(w)):
            a, b, c, e = d[r, j], d[r + 1, j], d[r + 2, j], d[r + 3, j]
            f, g, p, q = d[r + 4, j], d[r + 5, j], d[r + 6, j], d[r + 7, j]
            for i in range(x.shape[1]):
                one = a * x[r, i] + b * x[r + 1, i] + c * x[r + 2, i] + e * x[r + 3, i]
                two = f * x[r + 4, i] + g * x[r + 5, i] + p * x[r + 6, i] + q * x[r + 7, i]
                w[j, i] -= one + two
            bias[j] -= a + b + c + e + f + g + p + q
    for r in range(eights, len(d), 4):
        for j in range(len(w)):
            a, b, c, e = d[r, j], d[r + 1, j], d[r + 2, j], d[r + 3, j]
            for i in range(x.shape[1]):
                w[j, i] -= a * x[r, i] + b * x[r + 1, i] + c * x[r + 2, i] + e * x[r + 3, i]
            bias[j] -= a + b + c + e


@compiled
def learn(
    row: Any, x: Any, target: Any, scale: Any, out: Any, at: Any, hidden: Any, d: Any, memory: Any,
) -> None:  # fmt: skip
    """One step of one device, whose parameters are in ``row``; the outputs are left in ``out``."""
    z, last, power, part, fast = memory
    layers, rows = len(at), len(x)
    h = x
    for n in range(layers):
        w = row[at[n, 0] : at[n, 1]].reshape(at[n, 4], at[n, 5])
        bias = row[at[n, 2] : at[n, 3]]
        if n + 1 < layers:
            below, begin, size = h, at[n, 6], rows * at[n, 4]
            h = hidden[begin : begin + size].reshape(rows, at[n, 4])
            affine(below, w, bias, h, True)
        else:
            affine(h, w, bias, last, False)
    classes, samples = out.shape
    for c in range(classes):
        for r in range(samples):
            out[c, r] = last[r, c]
    residual(out, target, scale, z, power, part, fast)
    above = z
    for n in range(layers - 1, -1, -1):
        w = row[at[n, 0] : at[n, 1]].reshape(at[n, 4], at[n, 5])
        bias = row[at[n, 2] : at[n, 3]]
        if n == 0:
            subtract(w, bias, above, x)
            continue
        begin, size = at[n - 1, 6], rows * at[n, 5]
        h = hidden[begin : begin + size].reshape(rows, at[n, 5])
        below = d[begin : begin + size].reshape(rows, at[n, 5])
        backward(above, w, h, below)
        subtract(w, bias, above, h)
        above = below


@kept
def descend(
    row_BP: Any, x_BKbD: Any, target_BKCb: Any, scale_Bb: Any, active_BK: Any, out_BKCb: Any,
    at: Any, fast: bool,
) -> None:  # fmt: skip
    """Take the K steps of B devices in their rows ``row_BP``, and write the outputs before each to
    ``out_BKCb``, those of a step that is not taken as they are.

    ``scale_Bb`` is the learning rate times the weight of each sample. ``at`` has a line for each
    layer: where its weight begins and ends in a row, where its bias begins and ends, its outputs,
    its inputs, and how many units the layers below have. ``fast`` takes the exponential of float32.
    """
    devices, steps, samples, features = x_BKbD.shape
    classes, rows = target_BKCb.shape[2], (samples + 3) // 4 * 4
    kind = row_BP.dtype
    units = at[:, 4].sum()
    hidden, d = np.empty(rows * units, kind), np.empty(rows * units, kind)
    spots = at.copy()
    spots[:, 6] *= rows
    z, last = np.zeros((rows, classes), kind), np.empty((rows, classes), kind)
    power, part = np.empty((classes, samples), np.int32), np.empty((classes + 3, samples), kind)
    filled = np.zeros((rows, features), kind)
    memory = (z, last, power, part, fast)
    for device in range(devices):
        row, scale = row_BP[device], scale_Bb[device]
        for k in range(steps):
            if not active_BK[device, k]:
                continue
            x = x_BKbD[device, k]
            if rows > samples:
                filled[:samples] = x
                x = filled
            out, target = out_BKCb[device, k], target_BKCb[device, k]
            learn(row, x, target, scale, out, spots, hidden, d, memory)
