"""Aggregation rules written out for one device in plain NumPy: what the tests compare with."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch

from swarm.communication.aggregation.base import Heard

Floats = npt.NDArray[np.float64]


def heard(rows: Floats, weight: Floats | None = None, loss: Floats | None = None) -> Heard:
    """A device whose own row is the first of ``rows``; the weights are equal unless given."""
    n = len(rows)
    weight = np.full(n, 1 / n) if weight is None else weight
    return Heard(
        torch.as_tensor(rows[0]),
        float(weight[0]),
        torch.as_tensor(rows[1:]),
        torch.as_tensor(weight[1:]),
        np.arange(1, n),
        np.zeros(n - 1, np.int64),
        torch.as_tensor(np.arange(1.0, n + 1) if loss is None else loss),
    )


def random_rows(n: int, seed: int = 0, spread: float = 1.0) -> Floats:
    """``[n, 7]`` numbers, some of them equal."""
    return np.random.default_rng(seed).integers(-9, 10, (n, 7)) / 4 * spread


def distances(rows: Floats) -> Floats:
    return np.linalg.norm(rows[:, None] - rows[None], axis=2)


def median(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    return np.median(rows, axis=0)


def trimmed_mean(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    return np.sort(rows, axis=0)[f : len(rows) - f].mean(0)


def _by_score(rows: Floats, f: int) -> list[int]:
    squares = np.sort(distances(rows) ** 2, axis=1)
    score = squares[:, 1 : len(rows) - f - 1].sum(1)
    return sorted(range(len(rows)), key=lambda i: round(score[i], 9))


def krum(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    return rows[_by_score(rows, f)[0]]


def multi_krum(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    return rows[_by_score(rows, f)[: len(rows) - f]].mean(0)


def geometric_median(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    """By many small steps of plain Weiszfeld from the coordinate-wise median."""
    z = np.median(rows, axis=0)
    for _ in range(600):
        beta = 1 / np.maximum(np.linalg.norm(rows - z, axis=1), 1e-9)
        z = beta @ rows / beta.sum()
    return z


def minimum_diameter(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    apart = distances(rows)
    found = min(
        combinations(range(len(rows)), len(rows) - f),
        key=lambda some: round(max(apart[a, b] for a in some for b in some), 9),
    )
    return rows[list(found)].mean(0)


def _clip(v: Floats, radius: float) -> Floats:
    length = np.linalg.norm(v)
    return v if length <= radius else v * (radius / length)


def centred_clipping(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    return rows[0] + sum(_clip(x - rows[0], 1.0) for x in rows) / len(rows)


def clipped_gossip(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    pairs = zip(weight[1:], rows[1:], strict=True)
    return rows[0] + sum(w * _clip(x - rows[0], 1.0) for w, x in pairs)


def adaptive_clipping(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    length = np.linalg.norm(rows - rows[0], axis=1)
    near = np.argsort(length, kind="stable")[: len(rows) - f]
    room = np.sort(weight[1:])[::-1][:f].sum()
    radius = float(np.sqrt((weight[near] * length[near] ** 2).sum() / room))
    pairs = zip(weight[1:], rows[1:], strict=True)
    return rows[0] + sum(w * _clip(x - rows[0], radius) for w, x in pairs)


def monna(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    length = np.linalg.norm(rows - rows[0], axis=1)
    return rows[np.argsort(length, kind="stable")[: len(rows) - f]].mean(0)


def ubar(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    length = np.linalg.norm(rows[1:] - rows[0], axis=1)
    near = 1 + np.argsort(length, kind="stable")[: len(rows) - 1 - f]
    good = [j for j in near if loss[j] <= loss[0]] or [min(near, key=lambda j: loss[j])]
    return 0.5 * rows[0] + 0.5 * rows[good].mean(0)


def reputation(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    trust = np.minimum(1, loss[0] / loss) ** 2
    return rows[0] + (weight * trust) @ (rows - rows[0])


def fedfomo(rows: Floats, f: int, weight: Floats, loss: Floats) -> Floats:
    gain, moved = np.zeros(len(rows)), rows[0].copy()
    for j in range(1, len(rows)):
        if loss[j] < loss[0]:
            gain[j] = weight[j] * (loss[0] - loss[j]) / np.linalg.norm(rows[j] - rows[0])
    for j in np.flatnonzero(gain):
        moved += 0.5 * gain[j] / gain.sum() * (rows[j] - rows[0])
    return moved


def nnm(rows: Floats, f: int) -> Floats:
    """The mixtures of nearest-neighbour mixing."""
    near = np.argsort(distances(rows).round(9), axis=1, kind="stable")[:, : len(rows) - f]
    return np.stack([rows[some].mean(0) for some in near])


RULES: dict[str, Callable[[Floats, int, Floats, Floats], Floats]] = {
    "coordinate_median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "geometric_median": geometric_median,
    "minimum_diameter": minimum_diameter,
    "centred_clipping": centred_clipping,
    "clipped_gossip": clipped_gossip,
    "monna": monna,
    "ubar": ubar,
    "reputation": reputation,
    "fedfomo": fedfomo,
}
