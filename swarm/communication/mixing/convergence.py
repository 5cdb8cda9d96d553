"""How fast repeated mixing leads to consensus: eigenvalues, rates of a period, effective
neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackError, LinearOperator, eigs, eigsh

from swarm.common.rng import Keys
from swarm.communication.mixing.matrix import EXACT, Matrix, as_sparse, is_symmetric
from swarm.communication.topology.graph import Floats

_DENSE = 1500  # up to so many devices all eigenvalues are computed, in a second or two
# one eigenvalue; where so few steps do not find it, the caller says what then
_ARPACK: dict[str, Any] = {
    "k": 1, "ncv": 32, "tol": 1e-6, "maxiter": 60, "return_eigenvectors": False
}  # fmt: skip


def second_eigenvalue(mixing: Matrix) -> float:
    """Return ρ, the second largest |eigenvalue| of a row- or column-stochastic matrix.

    ρ is the factor by which the distance to consensus shrinks a round in the long run: 1 for a
    graph in pieces, 0 if one round is the exact mean.

    The mean over devices is first subtracted from Wx, which moves the eigenvalue 1 to 0 and leaves
    the others as they are (Brauer 1952: the vector of ones is a right or a left eigenvector of W).
    ρ is then the spectral radius. Up to 1500 devices all eigenvalues are computed; above, Arnoldi
    or Lanczos iteration finds ρ. The result is NaN if that does not converge, as on a very slow
    graph (a ring of 100,000 devices).
    """
    matrix = as_sparse(mixing)
    if matrix.shape[0] == 1:
        return 0.0
    if connected_components(matrix, connection="weak")[0] > 1:
        return 1.0
    return _radius([matrix])


def spectral_gap(mixing: Matrix) -> float:
    """Return 1 - ρ (see :func:`second_eigenvalue`): 0 means that devices never reach consensus, 1
    that they reach it in one round. NaN if ρ is.
    """
    return 1.0 - second_eigenvalue(mixing)


def smallest_eigenvalue(mixing: Matrix) -> float:
    """Return λ_min of a symmetric W with rows that sum to one.

    Up to 1500 devices all eigenvalues are computed; above, λ_min is found by Lanczos iteration. If
    that does not converge, the lower bound 2 min_i w_ii − 1 is returned (Gershgorin). Raises
    ``ValueError`` unless W = Wᵀ.
    """
    matrix = as_sparse(mixing)
    if not is_symmetric(matrix):
        raise ValueError("the smallest eigenvalue is asked for of symmetric weights only")
    n = matrix.shape[0]
    if n <= _DENSE:
        return float(np.linalg.eigvalsh(matrix.toarray())[0])
    start = Keys(0, "mixing").generator(0).standard_normal(n)
    try:
        found = eigsh(matrix, which="SA", v0=start, **_ARPACK)
        return float(found[0])
    except ArpackError:
        return float(2.0 * matrix.diagonal().min() - 1.0)


class PeriodicRate(NamedTuple):
    """The factor by which a repeating sequence of mixings shrinks the distance to consensus, in a
    whole period and in a round on average; ``per_period`` is ``per_round`` ** period.
    """

    per_period: float
    per_round: float


def periodic_rate(mixings: Sequence[Matrix]) -> PeriodicRate:
    """Return ρ of the product W_k … W_2 W_1 of one period, and its k-th root, the geometric mean
    over rounds.

    ``per_period`` is 0 if the product is the exact mean, as for one-peer exponential graphs of 2^k
    devices.
    """
    matrices = [as_sparse(mixing) for mixing in mixings]
    if matrices[0].shape[0] == 1:
        return PeriodicRate(0.0, 0.0)
    rho = (
        1.0 if connected_components(sum(matrices), connection="weak")[0] > 1 else _radius(matrices)
    )
    return PeriodicRate(rho, rho ** (1.0 / len(matrices)))


def observed_rate(mixings: Sequence[Matrix]) -> float:
    """Return ρ of a sequence of rounds that never repeat: the factor by which they shrink the
    distance to consensus of random vectors a round, after the fast modes have decayed.

    It is the geometric mean of ‖y_t‖/‖y_{t−1}‖ over the second half of the rounds, for y ← Wy −
    mean(Wy) from 16 fixed random vectors together. For long sequences of random matrices it
    converges to a limit (Furstenberg & Kesten 1960); for a few dozen rounds it is an estimate. It
    is 0 if a round is the exact mean.
    """
    matrices = [as_sparse(mixing) for mixing in mixings]
    y_NZ = Keys(0, "observed_rate").generator(0).standard_normal((matrices[0].shape[0], 16))
    y_NZ -= y_NZ.mean(axis=0)
    shrunk_T = np.zeros(len(matrices))
    for t, matrix in enumerate(matrices):
        # scaled to length 1 again, so that nothing underflows
        y_NZ = matrix @ (y_NZ / (np.linalg.norm(y_NZ) or 1.0))
        y_NZ -= y_NZ.mean(axis=0)
        shrunk_T[t] = np.linalg.norm(y_NZ)
    if shrunk_T.min() < EXACT:
        return 0.0
    return min(float(np.exp(np.log(shrunk_T[len(shrunk_T) // 2 :]).mean())), 1.0)


def _radius(matrices: list[csr_array]) -> float:
    """The spectral radius of the product of ``matrices``, the last one leftmost, after one
    eigenvalue 1 is removed.
    """
    n, symmetric = matrices[0].shape[0], len(matrices) == 1 and is_symmetric(matrices[0])

    def apply(x: Floats) -> Floats:
        for matrix in matrices:
            x = matrix @ x
        return np.asarray(x - x.mean(axis=0))

    if n <= _DENSE:
        dense = apply(np.eye(n))
        values = np.linalg.eigvalsh(dense) if symmetric else np.linalg.eigvals(dense)
        rho = float(np.abs(values).max())
        return (
            0.0
            if rho < n * np.finfo(np.float64).eps and np.abs(dense).max() < EXACT
            else min(rho, 1.0)
        )
    start = Keys(0, "mixing").generator(0).standard_normal(n)
    if np.linalg.norm(apply(start)) < EXACT * np.linalg.norm(start):
        return 0.0
    operator = LinearOperator((n, n), matvec=apply, dtype=np.float64)
    solve = eigsh if symmetric else eigs
    try:
        values = solve(operator, which="LM", v0=start, **_ARPACK)
    except ArpackError:  # includes ArpackNoConvergence
        return float("nan")
    return min(float(np.abs(values).max()), 1.0)


def effective_neighbours(
    mixing: Matrix | Sequence[Matrix], gamma: float = 0.95, ends: int | None = None
) -> float:
    """Return the number of devices that a device effectively averages with, while old contributions
    decay by ``gamma`` a round.

    It is n_W(γ) of Vogels, Hendrikx & Jaggi, *Beyond spectral gap*, NeurIPS 2022 (arXiv
    2206.03093). Every device takes the random walk z ← W(√γ z + ξ) with new unit noise ξ in each
    round; n_W is the variance that it would have alone, 1/(1 - γ), over the mean variance that it
    has:

        n_W(γ) = (1/(1 - γ)) / ((1/n) Σ_{t≥1} γ^{t-1} ‖Wᵗ‖_F²)

    It is 1 without links and n on the complete graph, for every γ. On any connected graph with
    doubly stochastic weights it goes to n as γ → 1. γ stands for the learning problem (small steps
    mean γ near 1); the default 0.95 is about what the authors fitted for a deep network.

    A sequence of mixings is one period of a time-varying topology. The result is averaged over its
    rounds, or over ``ends`` of them, evenly spaced, to save time. It is exact for normal matrices
    (symmetric, circulant) up to 1500 devices and for small others; else it is estimated with 64
    to 1 fixed random probes, the fewer the more devices there are, to about a percent. Time grows
    with 1/(1 - γ). Raises ``ValueError`` unless 0 ≤ γ < 1.
    """
    if not 0.0 <= gamma < 1.0:
        raise ValueError(f"gamma must lie in [0, 1), not {gamma}")
    matrices = [as_sparse(each) for each in (mixing if isinstance(mixing, Sequence) else [mixing])]
    if len(matrices) == 1 and matrices[0].shape[0] <= _DENSE and _is_normal(matrices[0]):
        dense = matrices[0].toarray()
        values = (
            np.linalg.eigvalsh(dense) if is_symmetric(matrices[0]) else np.linalg.eigvals(dense)
        )
        power = np.minimum(np.abs(values) ** 2, 1.0)
        variance = float((power / (1.0 - gamma * power)).mean())
    else:
        variance = _walk_variance(matrices, gamma, min(ends or len(matrices), len(matrices)))
    return 1.0 / (1.0 - gamma) / variance


def _is_normal(matrix: csr_array) -> bool:
    """Whether W Wᵀ = Wᵀ W, so that the singular values are the |eigenvalues|.

    It is true for symmetric and circulant matrices.
    """
    if is_symmetric(matrix):
        return True
    commutator = matrix @ matrix.T - matrix.T @ matrix
    return bool(np.abs(commutator.data).max(initial=0.0) <= EXACT)


def _walk_variance(matrices: list[csr_array], gamma: float, ends: int) -> float:
    """(1/n) Σ_{s≥1} γ^{s-1} ‖W_t W_{t-1} … W_{t-s+1}‖_F², averaged over ``ends`` rounds t of a
    period.

    For a small swarm ‖A‖_F² is the sum of ‖Aᵀz‖² over all unit vectors z; else it is n times the
    mean over vectors of random signs (Hutchinson 1989).
    """
    n, period = matrices[0].shape[0], len(matrices)
    steps = 1 if gamma == 0.0 else int(np.ceil(np.log(1e-12 * (1.0 - gamma)) / np.log(gamma)))
    if n * steps * sum(matrix.nnz for matrix in matrices) <= 2e9:
        start_NZ = np.eye(n)
    else:
        steps, probes = steps // 2 + 1, max(1, min(64, 800_000 // n))
        start_NZ = np.sign(
            Keys(0, "effective_neighbours").generator(0).standard_normal((n, probes))
        )
    back = [matrix.T.tocsr() for matrix in matrices]
    total = 0.0
    for last in np.arange(ends) * period // ends:
        x_NZ, fade = start_NZ, 1.0 / (ends * np.square(start_NZ).sum())
        for step in range(steps):
            x_NZ = back[(last - step) % period] @ x_NZ
            total += fade * float(np.square(x_NZ).sum())
            fade *= gamma
    return float(total)
