"""Mixing weights that a file of a graph brings along, as numbers of its edges."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from swarm.communication.topology.graph import Floats, Graph, Ints
from swarm.communication.topology.readers.parsed import Parsed

ROUNDED = 1e-6  # sums that should be equal may differ by as much, as files round their numbers


def graph_with_weights(parsed: Parsed) -> Graph:
    """Return the graph of ``parsed``, whose numbers of edges are mixing weights: the number of the
    edge j → i is w_ij, what device i gives to what device j sends.

    A self loop is the weight of a device on itself; without any in the file, that is the rest of 1.
    Zeros of a matrix are no edges. Raises ``ValueError``, with the names of the nodes, for a weight
    that is not above 0, for two of one edge that differ, and for weights into a node that sum to
    more than 1, or with its own to something else than 1. Warns of columns that do not sum to 1.
    """
    ends_E2, weight_E = parsed.ranked(), np.asarray(parsed.lengths, dtype=np.float64)
    graph = replace(parsed, length=None).graph()
    names, own_E = parsed.names, ends_E2[:, 0] == ends_E2[:, 1]
    if (weight_E[~own_E] <= 0).any():
        src, dst = ends_E2[~own_E][np.flatnonzero(weight_E[~own_E] <= 0)[0]]
        raise ValueError(
            f"the edge {names[src]} – {names[dst]} has the weight 0, and weights must be above 0"
        )
    code_E = ends_E2[:, 1] * graph.n + ends_E2[:, 0]
    if not graph.directed:
        code_E = np.maximum(code_E, ends_E2[:, 0] * graph.n + ends_E2[:, 1])
    code_U, first_U, which_E = np.unique(code_E, return_index=True, return_inverse=True)
    _require_equal(weight_E, weight_E[first_U][which_E], ends_E2, names, graph.directed)
    src_G, dst_G = graph.src_E, graph.dst_E
    code_G = dst_G * graph.n + src_G
    if not graph.directed:
        code_G = np.maximum(code_G, src_G * graph.n + dst_G)
    weight_G = weight_E[first_U][np.searchsorted(code_U, code_G)]
    own_N = np.zeros(graph.n)
    own_N[ends_E2[own_E, 0]] = weight_E[own_E]
    into_N = _summed(dst_G, weight_G, graph.n)
    _require_sums(into_N, own_N if own_E.any() else None, graph, weight_G, names)
    weight_G = weight_G / max(1.0, float(into_N.max(initial=0.0)))
    _warn_of_columns(graph, weight_G, names)
    return replace(graph, weight_E=weight_G)


def _require_equal(
    weight_E: Floats, first_E: Floats, ends_E2: Ints, names: Sequence[str], directed: bool
) -> None:
    """Refuse an edge that stands in the file more than once, with several weights."""
    differ = np.flatnonzero(weight_E != first_E)
    if not differ.size:
        return
    edge = int(differ[0])
    src, dst = ends_E2[edge]
    hint = "" if directed else "; topology.directed=true takes each direction for itself"
    raise ValueError(
        f"the edge {names[src]} – {names[dst]} has the weights {first_E[edge]:g} and"
        f" {weight_E[edge]:g}, and must have one{hint}"
    )


def _require_sums(
    into_N: Floats,
    own_N: Floats | None,
    graph: Graph,
    weight_E: Floats,
    names: Sequence[str],
) -> None:
    """Refuse rows of W that do not sum to 1; ``own_N`` is its diagonal if the file has one."""
    sum_N = into_N if own_N is None else into_N + own_N
    wrong_N = sum_N > 1.0 + ROUNDED
    if own_N is not None:
        wrong_N |= sum_N < 1.0 - ROUNDED
    if not wrong_N.any():
        return
    row = int(np.abs(np.where(wrong_N, sum_N - 1.0, 0.0)).argmax())
    needed = "at most 1" if own_N is None else "1 with its weight on itself"
    out_N = _summed(graph.src_E, weight_E, graph.n)
    out_N = out_N if own_N is None else out_N + own_N
    turned = graph.directed and bool((np.abs(out_N - 1.0) <= ROUNDED).all())
    hint = "; those out of each node do, so that the file has W transposed" if turned else ""
    raise ValueError(
        f"the weights into node {names[row]} sum to {sum_N[row]:.6g}, and must sum to"
        f" {needed}{hint}"
    )


def _warn_of_columns(graph: Graph, weight_E: Floats, names: Sequence[str]) -> None:
    """Say that the mean over devices does not stay where columns of W do not sum to 1."""
    n = graph.n
    sum_N = 1.0 - _summed(graph.dst_E, weight_E, n) + _summed(graph.src_E, weight_E, n)
    if (np.abs(sum_N - 1.0) <= ROUNDED).all():
        return
    node = int(np.abs(sum_N - 1.0).argmax())
    warnings.warn(
        f"topology.weight: what node {names[node]} sends has weights that sum to"
        f" {sum_N[node]:.6g} with its own and not to 1, so that averaging moves the mean over"
        " devices",
        stacklevel=2,
    )


def _summed(device_E: Ints, weight_E: Floats, n: int) -> Floats:
    return np.asarray(np.bincount(device_E, weights=weight_E, minlength=n), dtype=np.float64)
