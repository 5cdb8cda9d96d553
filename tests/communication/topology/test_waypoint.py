"""Moving devices: places depend on (seed, device, round) only, speeds and pauses are kept to, near
ones are linked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.waypoint import Waypoint


def places(seed: int = 3, devices: int = 20) -> Waypoint:
    return Waypoint(devices, seed, side=100, radius=30, speed_min=1, speed_max=4, pause=5, window=3)


def test_any_round_in_any_order_is_the_same() -> None:
    """In order, backwards, at random, and straight from the start, as after a resume."""
    inorder = places()
    expected = {round: inorder.positions(round) for round in range(400)}
    mixed = places()
    for round in [399, 0, 17, 17, 398, 16, 200, *range(30, 0, -3), 399]:
        np.testing.assert_array_equal(mixed.positions(round), expected[round])
        np.testing.assert_array_equal(places().positions(round), expected[round])
        assert len(mixed._known) <= 2


def test_places_follow_from_seed_and_device() -> None:
    """A device's way does not depend on how many others there are, but on the seed."""
    few, many, other = places(), places(devices=50), places(seed=4)
    for round in (0, 7, 90):
        np.testing.assert_array_equal(few.positions(round), many.positions(round)[:20])
        assert not np.array_equal(few.positions(round), other.positions(round))


def test_devices_keep_to_their_speeds_and_pauses_inside_the_square() -> None:
    """Against a device that is followed leg by leg, and at a resolution of 0.01 s."""
    topology = Waypoint(1, 7, side=100, radius=30, speed_min=2, speed_max=4, pause=5, window=0.01)
    way_T2 = np.concatenate([topology.positions(round) for round in range(20_000)])
    assert way_T2.min() >= 0
    assert way_T2.max() <= 100
    speed_T = np.linalg.norm(np.diff(way_T2, axis=0), axis=1) / 0.01
    assert speed_T.max() <= 4 + 1e-6
    resting = speed_T < 1e-9
    walking = ~resting
    starts = np.flatnonzero(np.diff(resting.astype(int)) == 1)
    ends = np.flatnonzero(np.diff(resting.astype(int)) == -1)
    rests = [
        (end - start) * 0.01 for start, end in zip(starts, ends[ends > starts[0]], strict=False)
    ]
    assert len(rests) >= 3
    np.testing.assert_allclose(rests, 5, atol=0.021)
    # not the steps that begin or end with a pause
    inner = walking[1:-1] & walking[:-2] & walking[2:]
    assert speed_T[1:-1][inner].min() >= 2 - 1e-6


def test_near_devices_are_linked_and_lengths_are_distances() -> None:
    topology = places()
    for round in (0, 5, 50):
        graph = topology.graph(round)
        assert graph.pos_N2 is not None
        assert graph.length_E is not None
        far = np.linalg.norm(graph.pos_N2[:, None] - graph.pos_N2[None], axis=2)
        np.testing.assert_allclose(graph.length_E, far[graph.src_E, graph.dst_E], atol=1e-12)
        np.fill_diagonal(far, np.inf)
        expected = Graph.from_edges(20, np.argwhere(far <= 30))
        np.testing.assert_array_equal(graph.src_E, expected.src_E)
        np.testing.assert_array_equal(graph.dst_E, expected.dst_E)


def test_pieces_are_normal() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Waypoint(20, 0, radius=1).graph(3).components() == 20
    assert Waypoint(1, 0).graph(5).n == 1


REFUSALS: list[tuple[Callable[[], Topology], str]] = [
    (lambda: Waypoint(0, 0), "devices=0: must be at least 1"),
    (lambda: Waypoint(10, 0, side=0), "side=0: must be above 0"),
    (lambda: Waypoint(10, 0, radius=float("nan")), "radius=nan: must be above 0"),
    (lambda: Waypoint(10, 0, window=float("inf")), "window=inf: must be above 0"),
    (lambda: Waypoint(10, 0, speed_min=0), "speed_min=0: must be above 0"),
    (lambda: Waypoint(10, 0, speed_min=20), "speed_min=20: must be at most speed_max=10"),
    (
        lambda: Waypoint(10, 0, speed_max=1e6),
        "speed_max=1000000: must be at most 1000, 10 sides a round",
    ),
    (lambda: Waypoint(10, 0, pause=-1), "pause=-1: must be at least 0"),
    (lambda: Waypoint(100_000, 0, radius=800), "radius=800: would make about .* links"),
]


@pytest.mark.parametrize(("build", "message"), REFUSALS)
def test_refusals(build: Callable[[], Topology], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        build()
