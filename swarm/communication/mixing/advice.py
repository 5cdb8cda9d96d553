"""Which mixing weights would do where those that were asked for do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from swarm.common.errors import ConfigError
from swarm.communication.mixing.matrix import Conserves, Mixing, weights
from swarm.communication.topology.graph import Graph

_TRIED = ("auto", "lazy", "uniform", "column")


def advice(graph: Graph, needed: Conserves, check: Callable[[Mixing], None]) -> str:
    """How a sentence ends that refuses the weights of ``graph``: with a rule that was tried and
    does, or with another topology.

    Args:
        needed: The sums that the protocol needs.
        check: The protocol's own check, which raises :class:`ConfigError`.
    """
    own = _own_sums(graph, needed)
    for rule in _TRIED:
        try:
            found = weights(graph, rule)
            check(found)
        except ConfigError:
            continue
        if found.conserves in ("both", needed):
            return f"{own}; use mixing={rule}"
    if graph.directed:
        text = "on this directed topology no rule does: use an undirected one with mixing=lazy"
        return f"{own}; {text}"
    return f"{own}; use another topology"


def _own_sums(graph: Graph, needed: Conserves) -> str:
    """Which column of the weights that ``graph`` brings along is furthest from a sum of 1; empty
    if it brings none, or if columns are not asked for.
    """
    if graph.weight_E is None or needed == "row":
        return ""
    sum_N = np.asarray(weights(graph, "topology").matrix.sum(axis=0))
    device = int(np.abs(sum_N - 1.0).argmax())
    return (
        f"; the weights on what device {device} sends, its own included, sum to"
        f" {sum_N[device]:.9g} and not to 1"
    )
