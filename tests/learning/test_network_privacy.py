"""What an observer learns of each device is what the Gaussians of all that it sees say."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.mixing import weights
from swarm.communication.topology.graph import Graph
from swarm.learning.privacy.accountant import Accountant
from swarm.learning.privacy.mechanism import DeviceLevel
from swarm.learning.privacy.network import (
    averaging_exposure_NN,
    mean_by_distance,
    pairwise_epsilon,
    training_exposure_NN,
)

Floats = npt.NDArray[np.float64]
N = 9


def mixing(*steps: int) -> Floats:
    """The weights of a graph in which device i is linked to i + step."""
    edges = [(i, (i + step) % N) for i in range(N) for step in steps]
    return np.asarray(weights(Graph.from_edges(N, edges)).matrix.toarray())


RING, CHORDS = mixing(1), mixing(1, 3)


def seen_by(v: int, mixing_NN: Floats, steps: int) -> Floats:
    """What v hears in ``steps`` steps of averaging, a row for each message."""
    heard = [w for w in range(N) if w != v and mixing_NN[v, w]]
    return np.concatenate([np.linalg.matrix_power(mixing_NN, t)[heard] for t in range(steps)])


def divergence(seen: Floats, v: int, shift: Floats) -> float:
    """Twice the Rényi divergence over its order for a ``shift`` of the unknown parts, whose noise
    has the variance 1; v knows its own parts, whose places are those of ``v`` modulo N."""
    others = np.flatnonzero(np.arange(seen.shape[1]) % N != v)
    noisy = seen[:, others]
    mean = noisy @ shift[others]
    return float(mean @ np.linalg.pinv(noisy @ noisy.T, rcond=1e-12) @ mean)


@pytest.mark.parametrize("mixing_NN", [RING, CHORDS], ids=["ring", "chords"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_averaging_tells_what_the_direct_computation_says(mixing_NN: Floats, steps: int) -> None:
    found_NN = averaging_exposure_NN(mixing_NN, steps)
    for v, u in itertools.permutations(range(N), 2):
        exact = divergence(seen_by(v, mixing_NN, steps), v, np.eye(N)[u])
        assert found_NN[v, u] == pytest.approx(exact, abs=1e-8)


def test_single_messages_bound_the_mean_over_devices_and_not_each_of_them() -> None:
    """A sum over messages, each by itself, is exact for one step. Over several it is still at least
    what all devices together lose, but an observer that combines what it hears on a ring finds out
    more of a device two links away: all that there is."""

    def by_message(v: int, mixing_NN: Floats, steps: int) -> Floats:
        rows = seen_by(v, mixing_NN, steps)
        return np.asarray((rows**2 / (rows**2).sum(1, keepdims=True)).sum(0))

    for mixing_NN, steps in itertools.product((RING, CHORDS), (1, 2, 3)):
        others = np.arange(1, N)
        found_N = averaging_exposure_NN(mixing_NN, steps)[0][others]
        alone_N = by_message(0, mixing_NN, steps)
        if steps == 1:
            np.testing.assert_allclose(found_N, alone_N[others], atol=1e-12)
        assert found_N.sum() <= alone_N.sum() + 1e-9
    assert by_message(0, RING, 2)[2] == pytest.approx(1 / 3)
    assert averaging_exposure_NN(RING, 2)[0, 2] == pytest.approx(1.0)
    # what is further away than there were steps has not arrived
    assert averaging_exposure_NN(RING, 3)[0, 4] == 0


@pytest.mark.parametrize("mixing_NN", [RING, CHORDS], ids=["ring", "chords"])
def test_training_loses_no_more_than_is_said_whatever_the_change(mixing_NN: Floats) -> None:
    rounds, draw = 4, np.random.default_rng(0)
    found_NN = training_exposure_NN(mixing_NN, rounds)
    heard = [w for w in range(1, N) if mixing_NN[0, w]]
    blocks = np.zeros((rounds, len(heard), rounds, N))
    for r, s in itertools.product(range(rounds), repeat=2):
        if s <= r:
            blocks[r, :, s] = np.linalg.matrix_power(mixing_NN, r - s)[heard]
    seen = blocks.reshape(rounds * len(heard), rounds * N)
    for u in range(1, N):
        worst = 0.0
        for signs in (
            *itertools.product((-1, 1), repeat=rounds),
            *draw.uniform(-1, 1, (8, rounds)),
        ):
            shift = np.zeros((rounds, N))
            shift[:, u] = signs
            worst = max(worst, divergence(seen, 0, shift.reshape(-1)))
        assert worst <= found_NN[0, u] + 1e-9
        assert found_NN[0, u] <= min(1.6 * worst + 1e-9, rounds)
    np.testing.assert_allclose(
        training_exposure_NN(mixing_NN, 1), averaging_exposure_NN(mixing_NN, 1)
    )


def test_epsilon_falls_with_the_distance_and_is_the_local_one_next_door() -> None:
    distance_NN = np.abs(np.arange(N)[:, None] - np.arange(N))
    distance_NN = np.minimum(distance_NN, N - distance_NN)
    found = pairwise_epsilon(training_exposure_NN(RING, 6), 2.0, 1e-5)
    by_distance = mean_by_distance(found, distance_NN)
    assert list(by_distance) == [1, 2, 3, 4]
    assert sorted(by_distance.values(), reverse=True) == list(by_distance.values())
    local = Accountant(DeviceLevel(1.0, 2.0, 1e-5), np.ones(1)).epsilon_N(np.array([6]))[0]
    assert by_distance[4] < by_distance[1] / 3 < local / 3
    assert found.diagonal() == pytest.approx(local)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: averaging_exposure_NN(RING, 0), "steps=0: must be at least 1"),
        (lambda: training_exposure_NN(RING[:3], 2), "mixing_NN=.*: must be a square matrix"),
        (lambda: pairwise_epsilon(RING, 0.0, 1e-5), "noise_multiplier=0: must be above 0"),
        (lambda: pairwise_epsilon(RING, 1.0, 0.0), "delta=0"),
    ],
)
def test_what_cannot_be_asked_is_said(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        call()
