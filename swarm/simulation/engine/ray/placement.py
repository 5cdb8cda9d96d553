"""Divides the blocks into parts of equal size with few edges between them, one part for each actor.

Results do not depend on the placement.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy import sparse

from swarm.common.rows import Blocks
from swarm.communication.topology.graph import Graph

Ints = npt.NDArray[np.int64]
MOST_REFINED = 2000  # with more blocks the search takes longer than it saves


@dataclass(frozen=True)
class Placement:
    """The blocks of each part, ascending, and how many of the graph's directed edges run between
    two parts.
    """

    parts: list[Ints]
    cut: int
    edges: int


def place(graph: Graph, blocks: Blocks, parts: int) -> Placement:
    """Divide the blocks into ``parts`` parts: in the order of their ids, or by repeated bisection
    where that cuts fewer edges.

    The bisection is that of Kernighan and Lin (1970), as implemented by networkx with a fixed seed,
    on the graph of blocks.
    """
    tried = [blocks.spread(parts)]
    if 1 < parts < len(blocks) <= MOST_REFINED and len(graph.src_E):
        tried.append(_bisected(_between(graph, blocks), [len(part) for part in tried[0]]))
    cuts = [_cut(graph, blocks, found) for found in tried]
    best = int(np.argmin(cuts))
    return Placement(tried[best], cuts[best], len(graph.src_E))


def _between(graph: Graph, blocks: Blocks) -> nx.Graph:
    """The graph of blocks; the weight of an edge is the number of links between its two blocks."""
    src, dst = graph.src_E // blocks.size, graph.dst_E // blocks.size
    count = sparse.coo_array((np.ones(len(src)), (src, dst)), shape=(len(blocks), len(blocks)))
    count = sparse.csr_array(count + count.T)
    count.setdiag(0)
    count.eliminate_zeros()
    return nx.from_scipy_sparse_array(count)


def _bisected(graph: nx.Graph, sizes: list[int]) -> list[Ints]:
    """Parts of exactly these sizes, by bisecting the graph and then each half."""
    if len(sizes) == 1:
        return [np.sort(np.fromiter(graph, np.int64))]
    half = len(sizes) // 2
    nodes = sorted(graph)
    few = sum(sizes[:half])
    start = (set(nodes[:few]), set(nodes[few:]))
    one, other = nx.algorithms.community.kernighan_lin_bisection(
        graph, start, max_iter=10, weight="weight", seed=0
    )
    # The algorithm swaps pairs, so the two sizes stay, but either half may come first.
    if len(one) != few:
        one, other = other, one
    return _bisected(graph.subgraph(one), sizes[:half]) + _bisected(
        graph.subgraph(other), sizes[half:]
    )


def _cut(graph: Graph, blocks: Blocks, parts: list[Ints]) -> int:
    owner = np.empty(len(blocks), np.int64)
    for number, part in enumerate(parts):
        owner[part] = number
    return int((owner[graph.src_E // blocks.size] != owner[graph.dst_E // blocks.size]).sum())
