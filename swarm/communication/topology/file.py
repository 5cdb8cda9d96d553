"""A topology from a file, in any format that networkx writes, or as arrays."""

from __future__ import annotations

import math
import warnings
from typing import get_args

from swarm.common.errors import ConfigError, counted
from swarm.common.names import Names
from swarm.communication.topology.base import (
    Match,
    Static,
    check_choice,
    check_devices,
    seats,
    warn_if_disconnected,
)
from swarm.communication.topology.brought_weights import graph_with_weights
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.readers.formats import Format, read_graph_file
from swarm.communication.topology.readers.parsed import Parsed


class File(Static):
    """The graph in the file at ``path``, which must have ``devices`` nodes.

    Device ids follow the node names: by value if all are whole numbers, else alphabetically. If
    each device has an owner with a name, nodes and owners must have the same names, and each owner
    sits at its node; ``match=order`` puts the owners on the nodes in their order instead. Self
    loops are dropped, and parallel edges merged. ``directed`` says whether an edge list is
    directed; the other formats say it themselves. Directed graphs must be strongly connected.

    ``length`` names an edge attribute that becomes ``Graph.length_E``, in its own unit; for an edge
    list without a heading it is the third column, whatever the name. Every edge must then have a
    length, a finite number ≥ 0; of parallel edges the shortest counts.

    ``weight`` names, in the same way, an edge attribute that becomes ``Graph.weight_E``, the mixing
    weights (:func:`~.brought_weights.graph_with_weights`). Without it, weights are not used, since
    mixing weights follow from ``mixing``, and a warning says so.

    Raises ``ConfigError`` for a missing, malformed or too large file (``max_mib``, ``max_nodes``,
    ``max_edges``), for another number of nodes, for other names than the owners', and for a graph
    in pieces unless ``allow_disconnected``.
    """

    def __init__(
        self,
        devices: int,
        path: str | None = None,
        format: Format = "auto",
        directed: bool = False,
        length: str | None = None,
        match: Match = "name",
        allow_disconnected: bool = False,
        max_mib: float = 64.0,
        max_nodes: int = 1_000_000,
        max_edges: int = 5_000_000,
        owner_names: Names | None = None,
        weight: str | None = None,
    ) -> None:
        check_devices(devices)
        check_choice("format", format, get_args(Format))
        check_choice("match", match, get_args(Match))
        for key, cap in (("max_mib", max_mib), ("max_nodes", max_nodes), ("max_edges", max_edges)):
            if not 0 < cap < math.inf:
                raise ConfigError(key, cap, "must be a finite number above 0")
        if not path:
            valid = "must name a graph file, such as an edge list, GraphML or GML"
            raise ConfigError("path", path, valid)
        if weight and length:
            valid = "needs topology.length=null beside it, as one number of an edge is read"
            raise ConfigError("weight", weight, valid)
        what = "weight" if weight else "length"
        parsed = Parsed(
            max_nodes, max_edges, directed=directed, length=weight or length or None, what=what
        )
        try:
            read_graph_file(path, format, parsed, max_mib)
            graph = graph_with_weights(parsed) if weight else parsed.graph()
        except ValueError as error:
            raise ConfigError("path", path, f"cannot be read as a graph: {error}") from None
        if graph.n != devices:
            valid = f"{path} has {counted(graph.n, 'node')}; devices={graph.n} would do"
            raise ConfigError("/devices", devices, valid)
        self.weight_option = "weight" if weight else None
        self.length_option = "length" if length else None
        self.node_names = None if parsed.numbered else parsed.names
        if owner_names is not None and match == "name":
            # nodes and owners are in the same order, so each owner is at its node already
            seats(parsed.names, owner_names, "path", path)
        if parsed.weighted:
            why = "mixing weights follow from the rule; topology.weight=NAME would take them"
            warnings.warn(f"{path}: edge weights are not used, {why}", stacklevel=2)
        whole = warn_if_disconnected(graph) if allow_disconnected else _in_one_piece(graph, path)
        super().__init__(whole)


def _in_one_piece(graph: Graph, path: str) -> Graph:
    count = graph.components(strong=graph.directed)
    if count > 1:
        kind = "strongly connected components" if graph.directed else "components"
        reason = (
            f"its graph has {count} {kind} and must have one, or set"
            " topology.allow_disconnected=true"
        )
        raise ConfigError("path", path, reason)
    return graph
