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
    with others the mean is not exact. In a round at most one device is without a link, or at most
    one of each group if :func:`base_graph` cuts the devices into groups.

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
    schedules that both end with the mean of all, and the second one if they are equally long.

    One is :func:`simple`. The other writes n = p·q, where no factor of q above 1 is at most k + 1.
    First p groups of q devices find their own means at the same time by :func:`simple`; then
    :func:`hyper_hypercube` averages across the groups.
    """
    q = len(id_N)
    for factor in range(2, k + 2):
        while q % factor == 0:
            q //= factor
    plain, group_PQ = simple(id_N[None], k), id_N.reshape(-1, q)
    if q == len(id_N):
        return plain
    cut = simple(group_PQ, k) + hyper_hypercube(group_PQ.T, k)
    return cut if len(cut) <= len(plain) else plain


def simple(group_GN: Ints, k: int) -> Rounds:
    """Return the Simple Base-(k+1) graph (Algorithm 2) within each row of ``group_GN``, at the
    same time.

    Where no prime factor of the length n is above k + 1, that is the :func:`hyper_hypercube`.
    Otherwise write n = a_1 (k+1)^p_1 + a_2 (k+1)^p_2 + …, p_1 > p_2 > …, 1 ≤ a_l ≤ k. The devices
    of a row are cut into parts of those sizes, and part l into a_l pieces of (k+1)^p_l. First, each
    part finds its own mean. Then, for one part l after the other, :func:`_join` makes the mean of
    part l that of all devices; the mean of the later parts then is the same. Last, each piece
    averages among itself. Parts and pieces that are done before the others begin anew: this leaves
    exact means as they are, and brings devices together that have learned in between.

    In a round at most one device of a row has no link: the last one while parts or pieces average,
    if n mod (k+1) = 1; while parts are joined, one of the part that the later ones are linked to,
    if they leave 1 mod (k+1) devices of it free.
    """
    n = group_GN.shape[1]
    if _smooth(n, k + 1):
        return hyper_hypercube(group_GN, k)
    sizes = _digits(n, k + 1)
    parts = np.split(group_GN, np.cumsum([count * size for count, size in sizes])[:-1], axis=1)
    wholes = [hyper_hypercube(part_GM, k) for part_GM in parts]
    pieces = [
        # a piece of one device has nobody: the last part goes on as a whole
        hyper_hypercube(part_GM.reshape(-1, size), k) if size > 1 else whole
        for (_, size), part_GM, whole in zip(sizes, parts, wholes, strict=True)
    ]
    first = len(wholes[0])
    rounds: Rounds = [[] for _ in range(first + 1 + len(pieces[0]))]
    for part, part_GM in enumerate(parts):
        begin = first + part
        if later := parts[:part:-1]:
            rounds[begin] += _join(part_GM, sizes[part][1], np.concatenate(later, axis=1), k)
            begin += 1
        for r, links in enumerate(rounds):
            if r < first:
                links += _cyclic(wholes[part], r)
            elif r >= begin:
                links += _cyclic(pieces[part], r - begin)
    return rounds


def _join(part_GM: Ints, size: int, later_GK: Ints, k: int) -> list[WeightedLinks]:
    """Links between each later device and the last free one in each of a part's pieces of ``size``
    devices, with the weight that makes the part's mean that of all.

    The part's other devices are linked among themselves in cliques of k + 1, and what is left over
    in a smaller one; a single device that is left over has no link.
    """
    groups, later = later_GK.shape
    piece_GAS = part_GM.reshape(groups, -1, size)
    partner_GAK = piece_GAS[:, :, ::-1][:, :, :later]
    later_GAK = np.broadcast_to(later_GK[:, None], partner_GAK.shape)
    ends_K2 = np.stack([later_GAK.ravel(), partner_GAK.ravel()], axis=1)
    joined = WeightedLinks(ends_K2, np.full(len(ends_K2), size / (part_GM.shape[1] + later)))
    free_GF = piece_GAS[:, :, : size - later].reshape(groups, -1)
    whole = free_GF.shape[1] // (k + 1) * (k + 1)
    return [joined, _cliques(free_GF[:, :whole].reshape(-1, k + 1)), _cliques(free_GF[:, whole:])]


def hyper_hypercube(group_GS: Ints, k: int) -> Rounds:
    """Return the k-peer hyper-hypercube (Algorithm 1) within each row of ``group_GS``, whose length
    S has no prime factor above k + 1.

    Write S = s_1 s_2 … s_L with s_1 ≤ s_2 ≤ … ≤ k + 1 and the smallest L, and number the devices of
    a row by L digits. In round l, devices that differ only in digit l form cliques of s_l devices,
    each of which finds its mean.
    """
    count, size = group_GS.shape
    rounds: Rounds = []
    stride = 1
    for factor in reversed(_factors(size, k + 1)):
        clique_CF = group_GS.reshape(count, -1, factor, stride).swapaxes(2, 3).reshape(-1, factor)
        rounds.append([_cliques(clique_CF)])
        stride *= factor
    return rounds


def _cliques(clique_CF: Ints) -> WeightedLinks:
    """Links between all devices of each row, with equal weights."""
    factor = clique_CF.shape[1]
    a, b = np.triu_indices(factor, 1)
    ends_K2 = np.stack([clique_CF[:, a].ravel(), clique_CF[:, b].ravel()], axis=1)
    return WeightedLinks(ends_K2, np.full(len(ends_K2), 1.0 / max(1, factor)))


def _cyclic(rounds: Rounds, r: int) -> list[WeightedLinks]:
    """The links of round ``r`` of a schedule that begins anew after its last round."""
    return rounds[r % len(rounds)] if rounds else []


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
