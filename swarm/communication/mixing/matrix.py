"""Mixing weights: the weight of each row that a device averages, as one sparse matrix W, x ← W x.

Row i holds device i's weights on itself and on the devices that it receives from. Which sums are
one decides what mixing conserves: with rows, devices that agree go on agreeing; with columns, the
total over devices stays the same; with both, their mean does, which plain gossip needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array, issparse

from swarm.common.errors import ConfigError, meant
from swarm.communication.topology.graph import Floats, Graph

Conserves = Literal["row", "column", "both"]
ADVICE = "; "  # between what is wrong with a rule and which one would do
EXACT = 1e-12  # sums and weights that should be equal differ by less, from rounding


@dataclass(frozen=True, eq=False)
class Mixing:
    """The mixing weights of one round.

    Attributes:
        matrix: W, a float64 ``csr_array`` ``[N, N]`` with the whole diagonal and sorted indices.
        conserves: Which sums of W are one.
        is_mean: Whether W is 11ᵀ/n, so that mixing is the exact mean.
    """

    matrix: csr_array
    conserves: Conserves
    is_mean: bool


Matrix: TypeAlias = Mixing | csr_array | npt.NDArray[np.float64]


def weights(graph: Graph, rule: str = "auto") -> Mixing:
    """Return the mixing weights of ``graph`` by ``rule``; d_i is the degree of device i.

    - ``auto``: the topology's own weights if it has some, else metropolis on undirected graphs and
      uniform on directed ones.
    - ``topology``: the topology's own weights, w_ij = ``weight_E`` of the edge j → i; w_ii is the
      rest of 1.
    - ``metropolis``: w_ij = 1 / (1 + max(d_i, d_j)); w_ii is the rest of 1. Doubly stochastic
      (Metropolis–Hastings; Xiao, Boyd & Kim 2007).
    - ``lazy``: (I + W_metropolis) / 2. All eigenvalues are ≥ 0.
    - ``max_degree``: w_ij = 1 / (1 + d_max). Doubly stochastic, but slow if one device has many
      links.
    - ``uniform``: 1 / (1 + in-degree) for the device itself and each that it hears. Rows sum to
      one, and columns as well on regular graphs.
    - ``column``: 1 / (1 + out-degree of the sender). Columns sum to one, for push-sum.

    Raises ``ConfigError`` for an unknown rule, for metropolis, lazy or max_degree on a directed
    graph, and for topology on a graph without weights of its own.
    """
    rules: dict[str, Callable[[Graph], csr_array]] = {
        "auto": _own if graph.weight_E is not None else _uniform if graph.directed else _metropolis,
        "metropolis": _metropolis,
        "uniform": _uniform,
        "lazy": _lazy,
        "max_degree": _max_degree,
        "column": _column,
        "topology": _own,
    }
    if rule not in rules:
        raise ConfigError("/mixing", rule, f"must be one of {', '.join(rules)}{meant(rule, rules)}")
    if graph.directed and rules[rule] in (_metropolis, _lazy, _max_degree):
        would = "on this directed one uniform or column would do"
        reason = f"needs an undirected topology{ADVICE}{would}"
        raise ConfigError("/mixing", rule, reason)
    if rule == "topology" and graph.weight_E is None:
        theirs = "base_graph, or file with topology.weight"
        reason = f"needs a topology with weights of its own ({theirs}){ADVICE}auto would do"
        raise ConfigError("/mixing", rule, reason)
    matrix = rules[rule](graph)
    return Mixing(matrix, _conserved(matrix), _is_mean(matrix))


def _own(graph: Graph) -> csr_array:
    assert graph.weight_E is not None
    return _assemble(graph, graph.weight_E, _rest(graph, graph.weight_E))


def _uniform(graph: Graph) -> csr_array:
    share_N = 1.0 / (1.0 + graph.degree_in)
    return _assemble(graph, share_N[graph.dst_E], share_N)


def _column(graph: Graph) -> csr_array:
    share_N = 1.0 / (1.0 + graph.degree_out)
    return _assemble(graph, share_N[graph.src_E], share_N)


def _metropolis(graph: Graph) -> csr_array:
    degree_N = graph.degree_in
    weight_E = 1.0 / (1.0 + np.maximum(degree_N[graph.src_E], degree_N[graph.dst_E]))
    return _assemble(graph, weight_E, _rest(graph, weight_E))


def _lazy(graph: Graph) -> csr_array:
    matrix = _metropolis(graph)
    matrix.data *= 0.5
    matrix.setdiag(matrix.diagonal() + 0.5)
    return matrix


def _max_degree(graph: Graph) -> csr_array:
    weight_E = np.full(len(graph.src_E), 1.0 / (1.0 + graph.degree_in.max()))
    return _assemble(graph, weight_E, _rest(graph, weight_E))


def _rest(graph: Graph, weight_E: Floats) -> Floats:
    return np.asarray(1.0 - np.bincount(graph.dst_E, weights=weight_E, minlength=graph.n))


def _assemble(graph: Graph, weight_E: npt.NDArray[Any], own_N: npt.NDArray[Any]) -> csr_array:
    index = np.int32 if graph.n + len(graph.src_E) < 2**31 else np.int64
    id_N = np.arange(graph.n, dtype=index)
    row, col = (np.concatenate([ends.astype(index), id_N]) for ends in (graph.dst_E, graph.src_E))
    matrix = coo_array(
        (np.concatenate([weight_E, own_N]), (row, col)), shape=(graph.n, graph.n)
    ).tocsr()
    matrix.sort_indices()
    return matrix


def _conserved(matrix: csr_array) -> Conserves:
    n = matrix.shape[0]
    row = np.repeat(np.arange(n), np.diff(matrix.indptr))
    rows, columns = (
        _equal(np.bincount(place, weights=matrix.data, minlength=n), 1.0)
        for place in (row, matrix.indices)
    )
    if rows and columns:
        return "both"
    return "row" if rows else "column"


def _is_mean(matrix: csr_array) -> bool:
    n = matrix.shape[0]
    return bool(matrix.nnz == n * n and _equal(matrix.data, 1.0 / n))


def _equal(found: npt.NDArray[Any], expected: float) -> bool:
    return bool(np.abs(found - expected).max(initial=0.0) <= EXACT)


def as_sparse(mixing: Matrix) -> csr_array:
    """Return the weights as a sparse matrix, whatever form they have."""
    matrix = mixing.matrix if isinstance(mixing, Mixing) else mixing
    return matrix if issparse(matrix) else csr_array(np.asarray(matrix, dtype=np.float64))


def is_symmetric(mixing: Matrix) -> bool:
    """Whether W = Wᵀ."""
    matrix = as_sparse(mixing)
    return bool(np.abs((matrix - matrix.T).data).max(initial=0.0) <= EXACT)
