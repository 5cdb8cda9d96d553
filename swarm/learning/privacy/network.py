"""What one device can learn of another from the messages of its own neighbours alone.

Cyffers, Even, Bellet & Massoulié, *Muffliato: peer-to-peer privacy amplification for decentralized
optimization and averaging*, NeurIPS 2022 (arXiv 2206.05091), call a bound on that pairwise network
differential privacy. They add up what each message by itself tells. An observer may combine
messages, which tells more of some devices and less of others; here the divergence between all that
it sees is computed, which is exact for Gaussian noise.

Every device's part is c_u + z_u, where z_u is noise of the standard deviation σC in each number.
All that an observer v sees is A(c + z), with a row for each message, and the Rényi divergence of
order α for a change of c_u by at most C is

    α/(2σ²) · g(u, v),   g(u, v) = (P_v)_uu,

where P_v projects onto the space of the rows of A. g is 1 if v can find out c_u + z_u itself, as it
would if everything was public, and 0 if nothing of u has reached v.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.learning.privacy.accountant import divergences, epsilon_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RELATIVE = 1e-10  # a direction with less than this of a message's length is rounding


def averaging_exposure_NN(mixing_NN: Floats, steps: int) -> Floats:
    """g(u, v) in row v and column u, ``[N, N]``, if all devices add noise once to what they have,
    and then average over their links ``steps`` times, x ← Wx; ``mixing_NN`` is W.

    v sees row w of W^t for each neighbour w and t = 0, …, steps − 1, and knows its own part. These
    rows span a Krylov space, whose basis is found step by step, as their numbers soon differ by
    less than rounding.

    Raises :class:`ConfigError` unless W is a square matrix of finite numbers and ``steps`` ≥ 1.
    """
    n = _size(mixing_NN, "steps", steps)
    found_NN = np.empty((n, n))
    for v in range(n):
        known_NK = _basis(np.eye(n)[:, [v]], np.zeros((n, 0)))
        fresh_NK = _basis(np.eye(n)[:, _heard(mixing_NN, v)], known_NK)
        for step in range(steps):
            if step:
                fresh_NK = _basis(mixing_NN.T @ fresh_NK, known_NK)
            known_NK = np.concatenate([known_NK, fresh_NK], axis=1)
        found_NN[v] = np.square(known_NK).sum(1)
        found_NN[v, v] = 1.0
    return found_NN.clip(0.0, 1.0)


def training_exposure_NN(mixing_NN: Floats, rounds: int) -> Floats:
    """g(u, v) in row v and column u, ``[N, N]``, of ``rounds`` rounds of D-PSGD, X⁺ = W(X + c + z),
    in each of which every device adds fresh noise to what it has learnt, c. It lies between 0 and
    ``rounds``.

    What the devices other than u have learnt counts as the same, whatever u has: the result says
    what averaging carries, not how others react to it.

    A change of u's part in every round, by at most C in each, has the divergence
    α/(2σ²C²) · Σ_st G_st ⟨d_s, d_t⟩, where d_s is the change in round s and G is u's block of P_v,
    ``[rounds, rounds]``; g is the smaller one of Σ_st |G_st| and rounds · λ_max(G), which both are
    at least as much.

    Raises :class:`ConfigError` unless W is a square matrix of finite numbers and ``rounds`` ≥ 1.
    """
    n = _size(mixing_NN, "rounds", rounds)
    power_RNN = np.stack([np.linalg.matrix_power(mixing_NN, r) for r in range(rounds)])
    found_NN = np.empty((n, n))
    for v in range(n):
        own_RNR = np.zeros((rounds, n, rounds))
        own_RNR[np.arange(rounds), v, np.arange(rounds)] = 1.0
        heard = _heard(mixing_NN, v)
        sees_RNH = np.zeros((rounds, n, rounds * len(heard)))
        for r in range(rounds):  # the message of round r has a part of each round s up to r
            for s in range(r + 1):
                columns = slice(r * len(heard), (r + 1) * len(heard))
                sees_RNH[s, :, columns] = power_RNN[r - s][heard].T
        seen = np.concatenate([own_RNR, sees_RNH], axis=2).reshape(rounds * n, -1)
        basis_RNK = _basis(seen, np.zeros((rounds * n, 0))).reshape(rounds, n, -1)
        block_NRR = np.einsum("snk,tnk->nst", basis_RNK, basis_RNK)
        at_most_N = rounds * np.linalg.eigvalsh(block_NRR)[:, -1]
        found_NN[v] = np.minimum(np.abs(block_NRR).sum((1, 2)), at_most_N)
    return found_NN.clip(0.0, float(rounds))


def pairwise_epsilon(exposure_NN: Floats, noise_multiplier: float, delta: float) -> Floats:
    """The ε that each device in a column loses to the one in a row, in the shape of
    ``exposure_NN``, for the noise σ = ``noise_multiplier``.

    Raises :class:`ConfigError` unless σ > 0 and 0 < ``delta`` ≤ 1.
    """
    number("noise_multiplier", noise_multiplier, 0, open_low=True)
    number("delta", delta, 0, 1, open_low=True)
    orders_O, one_O = divergences(1.0, noise_multiplier)
    epsilon = epsilon_of(orders_O, exposure_NN.reshape(-1, 1) * one_O, delta)
    return epsilon.reshape(exposure_NN.shape)


def mean_by_distance(values_NN: Floats, distance_NN: npt.ArrayLike) -> dict[int, float]:
    """The mean of ``values_NN`` over all pairs of different devices with each distance, by
    distance."""
    steps_NN = np.asarray(distance_NN)
    distances = np.unique(steps_NN[np.isfinite(steps_NN) & (steps_NN > 0)])
    return {int(d): float(values_NN[steps_NN == d].mean()) for d in distances.tolist()}


def _size(mixing_NN: Floats, key: str, count: int) -> int:
    """N, if what was given is a matrix ``[N, N]`` and a number of steps."""
    shape = np.shape(mixing_NN)
    if len(shape) != 2 or shape[0] != shape[1] or not np.isfinite(mixing_NN).all():
        raise ConfigError("mixing_NN", list(shape), "must be a square matrix of finite numbers")
    number(key, count, 1)
    return int(shape[0])


def _heard(mixing_NN: Floats, v: int) -> Ints:
    """The neighbours whose messages v receives."""
    return np.flatnonzero((mixing_NN[v] != 0) & (np.arange(len(mixing_NN)) != v))


def _basis(columns_NK: Floats, known_NK: Floats) -> Floats:
    """An orthonormal basis of what ``columns_NK`` add to the space of ``known_NK``, whose columns
    are orthonormal."""
    length_K = np.linalg.norm(columns_NK, axis=0)
    left_NK = columns_NK / np.where(length_K > 0, length_K, 1.0)
    for _ in range(2):  # twice is enough (Giraud et al., 2005)
        left_NK = left_NK - known_NK @ (known_NK.T @ left_NK)
    if not left_NK.size:
        return left_NK
    basis_NK, size_K, _ = np.linalg.svd(left_NK, full_matrices=False)
    return np.asarray(basis_NK[:, size_K > RELATIVE])
