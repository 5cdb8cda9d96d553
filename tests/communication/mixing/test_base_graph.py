"""Theorems about Base-(k+1) graphs (Takezawa et al. 2023): the exact mean after a period, how long
a period is, how many links a device has, and which devices have none in a round.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarm.communication.mixing import weights
from swarm.communication.topology.base_graph import BaseGraph, Rounds, simple
from tests.support import run

Floats = np.ndarray[Any, np.dtype[np.float64]]
DEGREES = range(1, 6)
LARGER = [(100, 1), (129, 1), (257, 2), (500, 3), (637, 4), (1001, 5)]

# Messages in each round of the schedules that the authors' program makes (github.com/yukiTakezawa/
# BaseGraph, commit c89b116), counted from its mixing matrices.
PUBLISHED = {
    (21, 1): [20] * 9,
    (22, 1): [20] * 7 + [22],
    (23, 1): [22] * 9,
    (24, 1): [16] * 3 + [24] * 3,
    (25, 1): [24] * 9,
    (21, 2): [18, 36, 30, 36, 42],
    (22, 2): [40, 40, 32, 40, 40, 22],
    (23, 2): [26, 44, 44, 34, 40, 44],
    (24, 2): [24, 24, 24, 48],
    (25, 2): [24, 48, 42, 34, 46, 48],
    (21, 3): [54, 18, 54, 42],
    (22, 3): [28, 60, 28, 60, 22],
    (23, 3): [66, 66, 38, 54, 66],
    (24, 3): [24, 48, 72],
    (25, 3): [56, 72, 36, 66, 72],
    (21, 4): [66, 30, 66, 42],
    (22, 4): [62, 82, 58, 82],
    (23, 4): [66, 86, 50, 86],
    (24, 4): [24, 48, 72],
    (25, 4): [100, 100],
}


def product(topology: BaseGraph, rounds: range, rule: str = "auto") -> Floats:
    P = np.eye(topology.devices)
    for round in rounds:
        P = weights(topology.graph(round), rule).matrix @ P
    return P


def rough(number: int, largest: int) -> int:
    """What is left of a number without its prime factors up to ``largest``."""
    for factor in range(2, largest + 1):
        while number % factor == 0:
            number //= factor
    return number


def fewest(number: int, largest: int) -> int:
    """How few factors, none above ``largest``, make a number."""
    factors = [f for f in range(2, largest + 1) if number % f == 0]
    return min((1 + fewest(number // f, largest) for f in factors), default=0)


def digits(n: int, base: int) -> list[tuple[int, int]]:
    """The digits above 0, each with its power of the base, the largest power first."""
    powers = [base**p for p in range(n) if base**p <= n][::-1]
    return [(n // power % base, power) for power in powers if n // power % base]


def length(n: int, k: int) -> int:
    """Rounds of the Simple Base-(k+1) graph: p or p + 1 until the largest part has its mean, one to
    join the second part to it, and p within its pieces."""
    if rough(n, k + 1) == 1:
        return fewest(n, k + 1)
    count, power = digits(n, k + 1)[0]
    p = round(math.log(power, k + 1))
    return p + (count > 1) + 1 + p


def without_links(rounds: Rounds, n: int) -> list[list[int]]:
    """The devices that have no link, for each round."""
    ends = [np.concatenate([part.ends_K2.ravel() for part in parts]) for parts in rounds]
    return [np.setdiff1d(np.arange(n), end_K).tolist() for end_K in ends]


@pytest.mark.parametrize("k", DEGREES)
def test_they_reach_the_exact_mean_of_any_number_of_devices(k: int) -> None:
    """The product of a period is J to 1e-12; every round is symmetric and doubly stochastic, with
    at most k links a device."""
    for n in [*range(k + 1, 65), *(n for n, degree in LARGER if degree == k)]:
        topology = BaseGraph(n, k)
        P = np.eye(n)
        for round in range(topology.period):
            graph = topology.graph(round)
            mixing = weights(graph)
            assert mixing.conserves == "both"
            assert mixing.matrix.diagonal().min() > 0
            assert abs(mixing.matrix - mixing.matrix.T).max() == 0
            assert graph.degree_in.max() <= k
            assert not graph.directed
            P = mixing.matrix @ P
        assert np.abs(P - 1 / n).max() < 1e-12, n


@pytest.mark.parametrize("k", DEGREES)
def test_a_period_is_as_short_as_the_construction_allows(k: int) -> None:
    """At most 2·log_{k+1}(n) + 2 rounds, and fewer where n = p·q is better cut into p groups."""
    for n in [*range(k + 1, 65), *(n for n, degree in LARGER if degree == k)]:
        q = rough(n, k + 1)
        expected = min(length(n, k), length(q, k) + fewest(n // q, k + 1))
        assert BaseGraph(n, k).period == expected <= 2 * math.log(n, k + 1) + 2 + 1e-9, n


@pytest.mark.parametrize(("n", "k"), [(5, 1), (7, 1), (23, 2), (30, 3)])
def test_they_need_every_round_in_its_order_and_their_own_weights(n: int, k: int) -> None:
    """One round short, one late, or with Metropolis weights the mean is missed."""
    topology = BaseGraph(n, k)
    assert np.abs(product(topology, range(topology.period)) - 1 / n).max() < 1e-12
    assert np.abs(product(topology, range(topology.period - 1)) - 1 / n).max() > 1e-3
    assert np.abs(product(topology, range(1, topology.period)) - 1 / n).max() > 1e-3
    assert np.abs(product(topology, range(topology.period), "metropolis") - 1 / n).max() > 1e-3


@pytest.mark.parametrize("k", DEGREES)
def test_at_most_one_device_has_no_link_in_a_round(k: int) -> None:
    """Within the Simple Base-(k+1) graph. While parts or pieces average, it is the last device,
    which is a part of its own if n mod (k+1) = 1. While part l is joined by the later ones, it is
    one of its devices, if the later ones leave 1 mod (k+1) of them free."""
    for n in range(k + 1, 65):
        alone = without_links(simple(np.arange(n)[None], k), n)
        parts = digits(n, k + 1)
        assert len(alone) == length(n, k)
        if rough(n, k + 1) == 1:
            assert not any(alone)
            continue
        first = len(alone) - 1 - round(math.log(parts[0][1], k + 1))
        bounds = [0, *np.cumsum([count * size for count, size in parts])]
        joins = list(zip(alone[first:], parts, pairwise(bounds), strict=False))[:-1][
            : len(parts) - 1
        ]
        for waits, (count, size), (begin, end) in joins:
            free = count * (size - (n - end))
            assert len(waits) == (free % (k + 1) == 1)
            assert all(begin <= device < end for device in waits)
        others = alone[:first] + alone[first + len(joins) :]
        assert others == [[n - 1] if n % (k + 1) == 1 else []] * len(others)


@pytest.mark.parametrize("k", DEGREES)
def test_at_most_one_device_of_a_group_has_no_link(k: int) -> None:
    """n = p·q devices are p groups of q, where no prime factor of q is k + 1 or less. With k = 1
    and n odd, all but one exchange models in every round."""
    for n in range(k + 1, 65):
        topology, q = BaseGraph(n, k), rough(n, k + 1)
        for round in range(topology.period):
            degree_N = topology.graph(round).degree_in
            assert (degree_N.reshape(-1, q) == 0).sum(1).max() <= 1, n
            assert k > 1 or n % 2 == 0 or degree_N.sum() == n - 1


def test_they_send_as_many_messages_in_each_round_as_published() -> None:
    for (n, k), expected in PUBLISHED.items():
        topology = BaseGraph(n, k)
        found = [len(topology.graph(round).src_E) for round in range(topology.period)]
        assert found == expected, (n, k)


@pytest.mark.parametrize("devices", [7, 12])
def test_base_graphs_agree_exactly_through_the_engine(tmp_path: Path, devices: int) -> None:
    """The consensus scenario: nothing is left of the distance after one period, and something
    before.
    """
    period = BaseGraph(devices, 1).period
    assert period is not None
    summary = run(
        tmp_path / "run",
        "topology=base_graph",
        "scenario=consensus",
        f"devices={devices}",
        f"rounds={period}",
    )
    assert summary["topology"]["period"] == period
    assert summary["topology"]["rho"] == 0
    assert summary["arms"]["gossip"]["consensus_distance"] < 1e-14
    short = run(
        tmp_path / "short",
        "topology=base_graph",
        "scenario=consensus",
        f"devices={devices}",
        f"rounds={period - 1}",
    )
    assert short["arms"]["gossip"]["consensus_distance"] > 1e-3
