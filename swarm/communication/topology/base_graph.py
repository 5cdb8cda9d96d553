"""Base-(k+1) graphs: few links in each round, and the exact mean after finitely many rounds, for
every number of devices.

Takezawa, Sato, Bao, Niwa & Yamada, *Beyond Exponential Graph: Communication-Efficient Topologies
for Decentralized Learning via Finite-time Convergence*, NeurIPS 2023 (arXiv 2305.11420).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from swarm.common.errors import ConfigError
from swarm.communication.topology.base import Topology, check_devices, check_links
from swarm.communication.topology.graph import Floats, Graph, Ints


@dataclass(frozen=True)
class WeightedLinks:
    """Undirected links of one round, ``[K, 2]``, and the weight that the two ends of each link give
    one another, ``[K]``.
    """

    ends_K2: Ints
    weight_K: Floats


Rounds = list[list[WeightedLinks]]
"""A schedule: the links of each round, in parts that have no device in common."""


class BaseGraph(Topology):
    """Time-varying undirected graphs with weights of their own, in which a device has at most ``k``
    links a round.

    The product of the rounds of one period is J = 11ᵀ/n for every n: W_L … W_2 W_1 = J. A period
    has at most 2·log_{k+1}(n) + 2 rounds. ``mixing=auto`` uses the weights of the construction;
    with others the mean is not exact.

    Raises ``ConfigError`` unless 1 ≤ k < devices; for a single device ``k`` may be any number ≥ 1.
    """

    def __init__(self, devices: int, k: int = 1) -> None:
        check_devices(devices)
        if k < 1 or (devices > 1 and k >= devices):
            raise ConfigError("k", k, f"must lie between 1 and devices - 1 = {devices - 1}")
        check_links("k", k, devices * k / 2)
        self.devices = devices
        self._rounds = base_graph(np.arange(devices), k) if devices > 1 else []
        self.period = max(1, len(self._rounds))

    def graph(self, phase: int) -> Graph:
        if not self._rounds:
            return Graph.empty(self.devices)
        parts = self._rounds[phase % len(self._rounds)]
        ends_K2 = np.concatenate([part.ends_K2 for part in parts])
        return Graph.from_edges(
            self.devices, ends_K2, weight=np.concatenate([part.weight_K for part in parts])
        )


def base_graph(id_N: Ints, k: int) -> Rounds:
    """Return the Base-(k+1) graph (Algorithm 3) of the devices ``id_N``: the shorter of two
    schedules that both end with the mean of all.

    One is :func:`simple`. The other writes n = p·q, where no factor of q above 1 is at most k + 1.
    First p groups of q devices find their own means at the same time by :func:`simple`; then
    :func:`hyper_hypercube` averages across the groups.
    """
    q = len(id_N)
    for factor in range(2, k + 2):
        while q % factor == 0:
            q //= factor
    plain, group_PQ = simple(id_N, k), id_N.reshape(-1, q)
    inside = [simple(group_Q, k) for group_Q in group_PQ] if q > 1 else []
    cut = _beside(inside) + hyper_hypercube(group_PQ.T, k)
    return cut if len(cut) < len(plain) else plain


def simple(id_N: Ints, k: int) -> Rounds:
    """Return the Simple Base-(k+1) graph (Algorithm 2) of the devices ``id_N``.

    Write n = a_1 (k+1)^p_1 + a_2 (k+1)^p_2 + …, p_1 > p_2 > …, 1 ≤ a_l ≤ k. The devices are cut
    into parts of those sizes, and part l into a_l pieces of (k+1)^p_l. First, each part finds its
    own mean. Then, for one part l after the other, each device of the later parts is linked to one
    device in each piece of part l, with the weight that makes the mean of part l that of all
    devices; the mean of the later parts then is the same. Last, each piece averages among itself.
    """
    sizes = _digits(len(id_N), k + 1)
    if len(sizes) == 1:
        return hyper_hypercube(id_N[None], k)
    bounds = np.cumsum([count * size for count, size in sizes])
    parts = np.split(id_N, bounds[:-1])
    first = _beside([hyper_hypercube(part[None], k) for part in parts])
    after: list[Rounds] = []
    for step, ((count, size), part) in enumerate(zip(sizes, parts, strict=True)):
        pieces_AS, later_M = part.reshape(count, size), id_N[bounds[step] :]
        linked: Rounds = [[] for _ in range(step)]  # no links while earlier parts are linked
        if len(later_M):
            ends_K2 = np.stack(
                [np.tile(later_M, count), pieces_AS[:, : len(later_M)].ravel()], axis=1
            )
            linked.append(
                [WeightedLinks(ends_K2, np.full(len(ends_K2), size / (len(part) + len(later_M))))]
            )
        after.append(linked + hyper_hypercube(pieces_AS, k))
    return first + _beside(after)


def hyper_hypercube(group_GS: Ints, k: int) -> Rounds:
    """Return the k-peer hyper-hypercube (Algorithm 1) within each row of ``group_GS``, whose length
    S has no prime factor above k + 1.

    Write S = s_1 s_2 … s_L with all s_l ≤ k + 1 and the smallest L, and number the devices of a row
    by L digits. In round l, devices that differ only in digit l are linked with weight 1/s_l: they
    form cliques of s_l devices, each of which finds its mean.
    """
    count, size = group_GS.shape
    rounds: Rounds = []
    stride = 1
    for factor in _factors(size, k + 1):
        clique_CF = group_GS.reshape(count, -1, factor, stride).swapaxes(2, 3).reshape(-1, factor)
        a, b = np.triu_indices(factor, 1)
        ends_K2 = np.stack([clique_CF[:, a].ravel(), clique_CF[:, b].ravel()], axis=1)
        rounds.append([WeightedLinks(ends_K2, np.full(len(ends_K2), 1.0 / factor))])
        stride *= factor
    return rounds


def _beside(schedules: list[Rounds]) -> Rounds:
    """Schedules without common devices, run at the same time; shorter ones have no links at the
    end.
    """
    longest = max(map(len, schedules), default=0)
    return [
        [part for rounds in schedules if r < len(rounds) for part in rounds[r]]
        for r in range(longest)
    ]


def _digits(n: int, base: int) -> list[tuple[int, int]]:
    """``(a, base^p)`` for every digit a > 0 of n, the largest power first."""
    found, power = [], 1
    while n:
        n, digit = divmod(n, base)
        if digit:
            found.append((digit, power))
        power *= base
    return found[::-1]


@lru_cache(maxsize=1000)
def _factors(n: int, largest: int) -> tuple[int, ...]:
    """The shortest list of factors of n, none above ``largest``; no prime factor of n is above it
    either.
    """
    if n == 1:
        return ()
    divisors = (d for d in range(min(n, largest), 1, -1) if n % d == 0)
    return min(((d, *_factors(n // d, d)) for d in divisors if _smooth(n // d, d)), key=len)


def _smooth(n: int, largest: int) -> bool:
    """Whether n has no prime factor above ``largest``."""
    for factor in range(2, largest + 1):
        while n % factor == 0:
            n //= factor
    return n == 1
