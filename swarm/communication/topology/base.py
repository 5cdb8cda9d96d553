"""The interface of topologies, checks that they share, and the repair of random graphs that are not
connected.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from swarm.common.errors import ConfigError, meant
from swarm.common.names import Maybe, Names, listed
from swarm.common.plugin import returned, shape_of
from swarm.common.rng import Keys
from swarm.communication.topology.graph import Floats, Graph, Ints

MAX_LINKS = 5_000_000
"""The largest number of links of a graph that is drawn; drawing it takes about 0.5 GiB."""
WHOLE, RECENT = 64, 8
"""If graphs repeat with a period of at most ``WHOLE`` rounds, all of them are cached; else those of
the latest ``RECENT`` rounds are.
"""


class Topology(ABC):
    """Says which device sends to which in each round.

    The graphs are a function of the topology's options, ``devices``, ``seed`` and the round.
    Constructors check their options and raise a :class:`~swarm.common.errors.ConfigError` that
    names the parameter.
    """

    file_options: ClassVar[tuple[str, ...]] = ("path",)
    """The parameters that name a file: a run goes on only while each holds what it did."""
    node_names: Maybe | None = None
    """The names of the nodes at which devices 0, 1, … sit, if nodes have names; else None. A
    constructor that takes ``owner_names`` is given the owner of each device's samples (or None for
    all), and can put each device at the node of its owner (:func:`seats`)."""
    period: int | None = 1
    """``graph(p)`` equals ``graph(p + period)``: 1 if the graph never changes, None if graphs never
    repeat.
    """
    window: float | None = None
    """The virtual seconds for which a graph stands, of a topology that knows them, as its devices
    move or meet; else None. A run whose rounds last longer or shorter is warned.
    """

    weight_option: str | None = None
    """The option that was set and has given the edges weights of their own; None if none was. A run
    in which they have no effect is warned.
    """
    length_option: str | None = None
    """The option that was set and has given the edges lengths, likewise; a built-in delay may need
    them, or code of the user's.
    """

    def phase(self, round: int) -> int:
        """Return the number of the graph of ``round`` (counted from 1): it is ``graph(phase)``, and
        rounds of the same phase have the same graph.
        """
        return round - 1 if self.period is None else (round - 1) % self.period

    @property
    def recurs(self) -> bool:
        """Whether the graphs repeat after at most ``WHOLE`` rounds, so that all are cached."""
        return self.period is not None and self.period <= WHOLE

    @property
    def possible(self) -> Topology:
        """The topology of all links that can occur, by which a run is checked before the start:
        this one, unless it draws the links of a round out of those of another one.
        """
        return self

    @abstractmethod
    def graph(self, phase: int) -> Graph:
        """Return the graph number ``phase``, counted from 0: see :meth:`phase`."""


class Static(Topology):
    """A topology whose graph never changes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def graph(self, phase: int) -> Graph:
        return self._graph


def check_period(topology: Topology) -> None:
    """Refuse a period that is not a number of rounds, with a :class:`ConfigError`."""
    period = topology.period
    if period is not None and (not isinstance(period, int) or period < 1):
        raise returned(
            "topology",
            topology,
            "period",
            f"is {period!r}",
            "it must be a number of rounds ≥ 1, or None",
        )


def graph_of(topology: Topology, phase: int, devices: int) -> Graph:
    """Return ``topology.graph(phase)``.

    Raises :class:`ConfigError` if that is not a valid graph of ``devices`` devices.
    """
    call, found = f"graph({phase})", topology.graph(phase)
    if not isinstance(found, Graph):
        needed = "a swarm.communication.topology.graph.Graph is needed"
        if hasattr(found, "number_of_edges"):
            needed += ", and Graph.from_networkx(…) makes one of it"
        raise returned("topology", topology, call, f"returns {shape_of(found)}", needed)
    wrong = found.defect(devices)
    if wrong:
        needed = "Graph.from_edges(devices, pairs) makes one that is right"
        raise returned("topology", topology, call, f"returns a graph {wrong}", needed)
    return found


def check_devices(devices: int) -> None:
    """Refuse a swarm without devices, with a :class:`ConfigError`."""
    if devices < 1:
        raise ConfigError("/devices", devices, "must be at least 1")


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a ``value`` that is not among ``choices``, with a :class:`ConfigError` on ``key``."""
    if value not in choices:
        raise ConfigError(key, value, f"must be one of {', '.join(choices)}{meant(value, choices)}")


def check_links(key: str, value: float, links: float) -> None:
    """Refuse an option that makes more than ``MAX_LINKS`` links, with a :class:`ConfigError` on
    ``key``.
    """
    if links > MAX_LINKS:
        raise ConfigError(
            key,
            value,
            f"would make about {links:.3g} links; choose it so that at most {MAX_LINKS} come out",
        )


def check_mean_degree(mean_degree: float, devices: int) -> None:
    """Refuse a mean degree that no graph of this size can have, or that makes too many links, with
    a :class:`ConfigError`.
    """
    if not 0.0 <= mean_degree <= devices - 1:
        raise ConfigError(
            "mean_degree", mean_degree, f"must lie between 0 and devices - 1 = {devices - 1}"
        )
    check_links("mean_degree", mean_degree, mean_degree * devices / 2)


Match = Literal["name", "order"]


def seats(nodes: Names, owners: Names, key: str, value: str, spare: bool = False) -> Ints:
    """Return for each node the device whose owner has the node's name, ``[nodes]``.

    Raises ``ConfigError`` on ``key`` unless nodes and owners have the same names; with ``spare``
    there may be owners without a node.
    """
    device = {name: number for number, name in enumerate(owners)}
    strangers = [name for name in nodes if name not in device]
    away = sorted(device.keys() - set(nodes), key=device.__getitem__)
    if strangers or (away and not spare):
        parts = [(strangers, nodes, "nodes have no owner"), (away, owners, "owners have no node")]
        found = [
            f"{len(some)} of {len(all)} {what} ({listed(some)})"
            for some, all, what in parts
            if some
        ]
        valid = (
            f"its nodes are not the owners of the data: {' and '.join(found)}; give both the same"
            " names, or set "
        )
        raise ConfigError(
            key, value, valid + "topology.match=order to put the owners on the nodes in their order"
        )
    return np.array([device[name] for name in nodes], dtype=np.int64)


DrawGraph = Callable[[np.random.Generator], Graph]
Repair = Callable[[Graph, np.random.Generator], Graph]


def connected(draw: DrawGraph, repair: Repair, seed: int, allow_disconnected: bool) -> Graph:
    """Draw a graph until it is connected; if no draw is, repair the last one.

    There are up to 20 draws, fewer for more than 10,000 devices, where a draw takes seconds. With
    ``allow_disconnected`` the first draw is returned, and a warning counts its components.
    """
    keys = Keys(seed, "topology")
    graph = draw(keys.generator(0))
    if allow_disconnected:
        return warn_if_disconnected(graph)
    tries = min(20, max(1, 200_000 // graph.n))
    for attempt in range(1, tries):
        if graph.components() == 1:
            return graph
        graph = draw(keys.generator(attempt))
    return graph if graph.components() == 1 else repair(graph, keys.generator(tries))


def warn_if_disconnected(graph: Graph) -> Graph:
    """Return the same graph, with a warning if it is not connected (a directed one, strongly)."""
    count = graph.components(strong=graph.directed)
    if count > 1:
        warnings.warn(
            f"the topology is not connected: {count} components learn apart", stacklevel=2
        )
    return graph


def with_links(graph: Graph, links_E2: Ints) -> Graph:
    """Return ``graph`` with further undirected links ``[links, 2]``."""
    return Graph.from_edges(
        graph.n, np.concatenate([graph.links_E2, links_E2]), pos_N2=graph.pos_N2
    )


def link_at_random(graph: Graph, rng: np.random.Generator) -> Graph:
    """Join c components with c - 1 links: in the order of their sizes, a random device of each is
    linked to a random device of the larger ones.
    """
    label_N = graph.labels()
    size_C = np.bincount(label_N)
    rank_C = np.empty(len(size_C), dtype=np.int64)
    rank_C[np.argsort(-size_C, kind="stable")] = np.arange(len(size_C))
    order_N = np.argsort(rank_C[label_N], kind="stable")
    start_C = np.concatenate([[0], np.cumsum(np.bincount(rank_C[label_N]))])
    member = rng.integers(start_C[1:-1], start_C[2:])
    earlier = rng.integers(0, start_C[1:-1])
    return with_links(graph, np.stack([order_N[member], order_N[earlier]], axis=1))


def link_nearest(graph: Graph, rng: np.random.Generator) -> Graph:
    """Join c components of a graph with positions by the c - 1 links of least total length.

    They are the Euclidean minimum spanning tree of the components, which is a part of the Delaunay
    triangulation. Raises ``ValueError`` for a graph without positions.
    """
    if graph.pos_N2 is None:
        raise ValueError("link_nearest needs positions")
    pos_N2, label_N = graph.pos_N2, graph.labels()
    pair_K2 = _near_pairs(pos_N2)
    pair_K2 = pair_K2[label_N[pair_K2[:, 0]] != label_N[pair_K2[:, 1]]]
    length_K = np.linalg.norm(pos_N2[pair_K2[:, 0]] - pos_N2[pair_K2[:, 1]], axis=1)
    pair_K2 = pair_K2[np.argsort(length_K, kind="stable")]
    ends_K2 = np.sort(label_N[pair_K2], axis=1)
    # the shortest link between every two components
    ends_C2, first_C = np.unique(ends_K2, axis=0, return_index=True)
    # a stored zero would mean "no link"
    cost_C = np.sort(length_K)[first_C] + np.finfo(np.float64).tiny
    count = int(label_N.max()) + 1
    tree = minimum_spanning_tree(
        coo_array((cost_C, ends_C2.T), shape=(count, count)).tocsr()
    ).tocoo()
    low, high = np.minimum(tree.row, tree.col), np.maximum(tree.row, tree.col)
    # pairs of components are sorted, as np.unique found them
    chosen = np.searchsorted(ends_C2 @ [count, 1], low.astype(np.int64) * count + high)
    return with_links(graph, pair_K2[first_C[chosen]])


def _near_pairs(pos_N2: Floats) -> Ints:
    """``[K, 2]`` pairs of points that include the Euclidean minimum spanning tree."""
    # a triangulation needs points in general position; with so few, all pairs are taken
    if len(pos_N2) < 5:
        return np.stack(np.triu_indices(len(pos_N2), 1), axis=1)
    from scipy.spatial import Delaunay  # few graphs need it, and it takes a tenth of a second

    corners = Delaunay(pos_N2).simplices.astype(np.int64)
    return np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]])
