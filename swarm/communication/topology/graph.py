"""The graph over which devices communicate, as flat, sorted arrays of edges that can be converted
from and to networkx.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from swarm.common.errors import counted

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Graph:
    """``n`` devices and the directed edges (src → dst) along which one sends to another.

    Edges are sorted by (dst, src), unique and without self loops, so that the edges into a device
    are one contiguous slice. An undirected graph (``directed=False``) holds every link in both
    directions. :meth:`from_edges` and :meth:`from_networkx` build graphs with these properties.

    Attributes:
        n: The number of devices.
        src_E: The sender of each edge.
        dst_E: The receiver of each edge.
        directed: Whether the graph is directed.
        pos_N2: The devices' positions in the topology's own unit of length; None without.
        weight_E: The mixing weight, above 0, that dst gives to what src sends, for topologies that
            define weights; the rest of 1 is the weight of dst on itself. ``mixing=auto`` and
            ``mixing=topology`` use them.
        length_E: The length of each edge, ≥ 0, in the unit of the positions or of the file; None
            without. In an undirected graph both directions of a link have the same length.

    Raises ``ValueError`` for arrays of the wrong shape, and for weights or lengths out of range.
    """

    n: int
    src_E: Ints
    dst_E: Ints
    directed: bool
    pos_N2: Floats | None = None
    weight_E: Floats | None = None
    length_E: Floats | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"a graph needs at least one device, not {self.n}")
        if self.src_E.ndim != 1 or self.src_E.shape != self.dst_E.shape:
            raise ValueError(
                f"src_E {self.src_E.shape} and dst_E {self.dst_E.shape} must be equally long"
                " vectors"
            )
        if self.pos_N2 is not None and self.pos_N2.shape != (self.n, 2):
            raise ValueError(f"pos_N2 is {self.pos_N2.shape}, must be ({self.n}, 2)")
        for name, value_E in (("weight_E", self.weight_E), ("length_E", self.length_E)):
            if value_E is not None and value_E.shape != self.src_E.shape:
                raise ValueError(
                    f"{name} is {value_E.shape}, must be {self.src_E.shape}, one for each edge"
                )
        if self.weight_E is not None:
            into_N = np.bincount(self.dst_E, weights=self.weight_E, minlength=self.n)
            if not ((self.weight_E > 0).all() and (into_N < 1 + 1e-12).all()):
                raise ValueError("weight_E must be above 0, and at most 1 in sum at each device")
        if (
            self.length_E is not None
            and not (np.isfinite(self.length_E) & (self.length_E >= 0)).all()
        ):
            raise ValueError("length_E must be finite numbers of at least 0")

    def defect(self, devices: int) -> str | None:
        """Say which property of this class the graph lacks, or that it does not have ``devices``
        devices; None if nothing is wrong.

        Graphs by :meth:`from_edges` and :meth:`from_networkx` have all properties; a graph that a
        plug-in makes from arrays may not.
        """
        if self.n != devices:
            return f"of {counted(self.n, 'device')}, and there are {devices}"
        if self.src_E.dtype != np.int64 or self.dst_E.dtype != np.int64:
            return (
                f"whose edges are {self.src_E.dtype} and {self.dst_E.dtype} numbers, which must be"
                " int64"
            )
        if not len(self.src_E):
            return None
        ends_2E = np.stack([self.src_E, self.dst_E])
        if ends_2E.min() < 0 or ends_2E.max() >= devices:
            return (
                f"with edges between devices {ends_2E.min()} and {ends_2E.max()}; they are 0 to"
                f" {devices - 1}"
            )
        if (self.src_E == self.dst_E).any():
            loop = int(self.src_E[self.src_E == self.dst_E][0])
            return f"with an edge from device {loop} to itself"
        code = self.dst_E * devices + self.src_E
        if (np.diff(code) <= 0).any():
            return "whose edges are not sorted by (dst, src), each once"
        if not self.directed and not np.array_equal(
            np.sort(self.src_E * devices + self.dst_E), code
        ):
            return "that is undirected and has an edge without its opposite"
        return None

    @classmethod
    def from_edges(
        cls,
        n: int,
        edges: npt.ArrayLike | Iterable[tuple[int, int]],
        directed: bool = False,
        pos_N2: Floats | None = None,
        weight: Floats | None = None,
        length: Floats | None = None,
    ) -> Graph:
        """Make a graph of ``n`` devices from ``edges``, pairs (src, dst) ``[E, 2]``.

        Self loops are dropped, and duplicates merged. Undirected edges may be given in one or both
        directions. ``weight`` and ``length`` have one value for each pair, which holds for both
        directions of an undirected edge; of duplicates, the values of the first pair count. Raises
        ``ValueError`` for an id outside ``0..n-1``, and for values that :class:`Graph` does not
        allow.
        """
        pairs = edges if isinstance(edges, np.ndarray) else list(edges)  # type: ignore[arg-type]
        pairs_E2 = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        if pairs_E2.size and (pairs_E2.min() < 0 or pairs_E2.max() >= n):
            raise ValueError(
                f"edge ends must lie in 0..{n - 1}, found {pairs_E2.min()}..{pairs_E2.max()}"
            )
        src, dst = pairs_E2[:, 0], pairs_E2[:, 1]
        if not directed:
            src, dst = np.minimum(src, dst), np.maximum(src, dst)
        link = np.flatnonzero(src != dst)
        code = dst[link] * n + src[link]  # one sort orders by (dst, src) and finds duplicates
        if weight is None and length is None:
            code = np.sort(code if directed else np.concatenate([code, src[link] * n + dst[link]]))
            # np.unique takes ten times as long, as it makes a hash table
            code = code[np.diff(code, prepend=-1) > 0]
            return cls(n, code % n, code // n, directed, pos_N2)
        code, row = np.unique(code, return_index=True)
        row = link[row]
        if not directed:
            code = np.concatenate([code, code % n * n + code // n])
            order = np.argsort(code)
            code, row = code[order], np.concatenate([row, row])[order]
        values = (
            None if value is None else np.asarray(value, np.float64)[row]
            for value in (weight, length)
        )
        return cls(n, code % n, code // n, directed, pos_N2, *values)

    @classmethod
    def empty(cls, n: int) -> Graph:
        """Return the graph of ``n`` devices without links."""
        return cls.from_edges(n, np.empty((0, 2), dtype=np.int64))

    @classmethod
    def from_networkx(cls, g: Any) -> Graph:
        """Make a graph from any networkx graph.

        Nodes become 0, 1, … in the graph's own order, and parallel edges are merged. A ``pos``
        attribute on every node becomes ``pos_N2``. Weights are not read, since mixing weights
        follow from a rule. Lengths are not read either: ``topology=file`` reads those of a file,
        and :meth:`measured` computes those of positions.
        """
        index = {node: i for i, node in enumerate(g)}
        ends = np.fromiter(
            (index[v] for edge in g.edges() for v in edge), np.int64, count=2 * g.number_of_edges()
        )
        places = [place for _, place in g.nodes(data="pos")]
        placed = bool(places) and all(place is not None and len(place) == 2 for place in places)
        pos_N2 = np.asarray(places, dtype=np.float64) if placed else None
        return cls.from_edges(
            len(index), ends.reshape(-1, 2), directed=g.is_directed(), pos_N2=pos_N2
        )

    def to_networkx(self) -> Any:
        """Return an ``nx.DiGraph`` if directed, else an ``nx.Graph``, with the nodes 0..n-1 and
        ``pos`` attributes if there are positions.
        """
        import networkx as nx  # most runs need none, and it takes a quarter of a second

        g = nx.DiGraph() if self.directed else nx.Graph()
        g.add_nodes_from(range(self.n))
        if self.pos_N2 is not None:
            nx.set_node_attributes(g, dict(enumerate(map(tuple, self.pos_N2.tolist()))), "pos")
        g.add_edges_from(self.links_E2.tolist())
        return g

    def measured(self) -> Graph:
        """Return the same graph with lengths, the distance between the positions of each edge's
        ends.

        Raises ``ValueError`` for a graph without positions.
        """
        if self.pos_N2 is None:
            raise ValueError("lengths need positions")
        return replace(
            self, length_E=np.linalg.norm(self.pos_N2[self.src_E] - self.pos_N2[self.dst_E], axis=1)
        )

    @property
    def links_E2(self) -> Ints:
        """``[links, 2]``: every directed edge, or every undirected link once with the smaller id
        first.
        """
        keep = slice(None) if self.directed else self.src_E < self.dst_E
        return np.stack([self.src_E[keep], self.dst_E[keep]], axis=1)

    @property
    def degree_in(self) -> Ints:
        """``[N]``: from how many others each device receives."""
        return np.bincount(self.dst_E, minlength=self.n)

    @property
    def degree_out(self) -> Ints:
        """``[N]``: to how many others each device sends."""
        return np.bincount(self.src_E, minlength=self.n)

    @property
    def mean_degree(self) -> float:
        """Directed edges per device, which is the mean number of messages that a device sends a
        round, and the mean degree of an undirected graph.
        """
        return len(self.src_E) / self.n

    @property
    def is_complete(self) -> bool:
        """Whether every device sends to every other device."""
        return len(self.src_E) == self.n * (self.n - 1)

    def labels(self, strong: bool = False) -> Ints:
        """Return each device's connected component, counted from 0, ``[N]``; of a directed graph
        the weakly connected ones, or the strongly connected ones if ``strong``.
        """
        ones = np.ones(len(self.src_E), dtype=np.int8)
        adjacency = coo_array((ones, (self.src_E, self.dst_E)), shape=(self.n, self.n)).tocsr()
        _, label_N = connected_components(
            adjacency, directed=True, connection="strong" if strong else "weak"
        )
        return np.asarray(label_N, dtype=np.int64)

    def components(self, strong: bool = False) -> int:
        """Return the number of connected components, as :meth:`labels` counts them."""
        return 1 if self.is_complete else int(self.labels(strong).max()) + 1
