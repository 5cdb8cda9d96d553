"""Mixing: the weights by which devices average what they hear, and how fast this leads to
consensus.
"""

from swarm.communication.mixing.convergence import (
    PeriodicRate,
    effective_neighbours,
    observed_rate,
    periodic_rate,
    second_eigenvalue,
    smallest_eigenvalue,
    spectral_gap,
)
from swarm.communication.mixing.matrix import Conserves, Matrix, Mixing, is_symmetric, weights

__all__ = [
    "Conserves",
    "Matrix",
    "Mixing",
    "PeriodicRate",
    "effective_neighbours",
    "is_symmetric",
    "observed_rate",
    "periodic_rate",
    "second_eigenvalue",
    "smallest_eigenvalue",
    "spectral_gap",
    "weights",
]
