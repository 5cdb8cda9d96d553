"""Which mixing weights would do where those that were asked for do not."""

from __future__ import annotations

from collections.abc import Callable

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
    for rule in _TRIED:
        try:
            found = weights(graph, rule)
            check(found)
        except ConfigError:
            continue
        if found.conserves in ("both", needed):
            return f"; use mixing={rule}"
    if graph.directed:
        return "; on this directed topology no rule does: use an undirected one with mixing=lazy"
    return "; use another topology"
