"""RelaySGD: sums of models are passed along a tree, so that all models have the same weight; those
of distant devices arrive later.

Vogels et al., *RelaySum for decentralized deep learning on heterogeneous data*, NeurIPS 2021 (arXiv
2110.04175).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import Ints, Links, Protocol, Requirements, State
from swarm.communication.topology.graph import Graph


class RelaySGD(Protocol):
    """RelaySGD: on a spanning tree of the topology, after the local steps:

        m_{i→j} = x_i + Σ_{k ∈ N_i∖j} m_{k→i},   x_i ← (x_i + Σ_{j ∈ N_i} m_{j→i}) / n_i.

    The m on the right are those of the round before. n_i is the number of models in the sum, which
    is relayed in the same way, as the last number of a payload. A model reaches a device at
    distance d after d rounds. Devices that agree do not move, so a constant learning rate leaves no
    bias if their data differ.

    Until a model has been heard, the common initial model stands for it, so that n_i = N from the
    start: x_i ← ((N − n)·x⁰ + x_i + Σ m)/N with n models heard, as in the paper's algorithm 1.
    Therefore m_{j→i} is at first x⁰ times the number of devices behind the link. If devices start
    with different models, x⁰ is the initial model of device i.
    """

    phases = ("learn", "per_edge")
    requirements = Requirements(fixed_links=True, weights=False)

    def graph(self, graph: Graph) -> Graph:
        self.tree = spanning_tree(graph)
        return self.tree

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        assert links is not None
        behind_nd1 = torch.as_tensor(self._behind(links)).to(x_NP)[:, :, None]
        return {"heard": torch.cat([behind_nd1 * x_NP[:, None], behind_nd1], 2)}

    def _behind(self, links: Links) -> Ints:
        """How many devices the tree has behind each link, ``[n, d]``; 0 in unused places."""
        ids_nd, own_n1 = links.ids_nd.cpu().numpy(), links.own_n[:, None].cpu().numpy()
        before_N, size_N = subtrees(self.tree)
        child_nd = before_N[ids_nd] == own_n1
        return np.where(
            ids_nd < 0, 0, np.where(child_nd, size_N[ids_nd], self.tree.n - size_N[own_n1])
        )

    def width(self, phase: int, parameters: int) -> int:
        return parameters + 1

    def send(self, phase: int, state: State) -> Tensor:
        heard = state.slots["heard"]
        below = torch.cat([state.x, torch.ones_like(state.x[:, :1])], 1)
        above = torch.zeros_like(below)
        sums, last = torch.empty_like(heard), heard.shape[1] - 1
        # each sum leaves out one neighbour; adding up from both ends avoids subtracting it
        for d in range(last + 1):
            sums[:, d] = below
            below = below + heard[:, d]
        for d in range(last, -1, -1):
            sums[:, d] += above
            above = above + heard[:, d]
        return sums

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.slots["heard"] = received
        state.x = self.estimate(state.x, received)

    @staticmethod
    def estimate(x_NP: Tensor, heard_NdM: Tensor) -> Tensor:
        """Return the mean of each device's own model and those in the sums ``heard_NdM``."""
        total = torch.cat([x_NP, torch.ones_like(x_NP[:, :1])], 1)
        for d in range(heard_NdM.shape[1]):
            total = total + heard_NdM[:, d]
        return total[:, :-1] / total[:, -1:]


def spanning_tree(graph: Graph) -> Graph:
    """Return the breadth-first tree from the middle of a long shortest path.

    The path begins at the device farthest from device 0, and ends at the device farthest from that
    one; on trees it is a longest path. Raises :class:`ConfigError` for a graph in pieces.
    """
    ones = np.ones(len(graph.src_E), np.int8)
    links = coo_array((ones, (graph.src_E, graph.dst_E)), shape=(graph.n, graph.n)).tocsr()
    end = breadth_first_order(links, 0, directed=False)[0][-1]
    order, before = breadth_first_order(links, end, directed=False)
    if len(order) < graph.n:
        text = "must be connected for RelaySGD, whose tree reaches every device"
        raise ConfigError("/topology", f"in {graph.components()} pieces", text)
    path = [order[-1]]
    while path[-1] != end:
        path.append(before[path[-1]])
    order, before = breadth_first_order(links, path[len(path) // 2], directed=False)
    return Graph.from_edges(
        graph.n, np.stack([before[order[1:]], order[1:]], 1).astype(np.int64), pos_N2=graph.pos_N2
    )


def subtrees(tree: Graph) -> tuple[Ints, Ints]:
    """Return each device's parent in a tree with the root 0, ``[N]`` (negative for the root), and
    the size of its subtree, itself included, ``[N]``.
    """
    ones = np.ones(len(tree.src_E), np.int8)
    links = coo_array((ones, (tree.src_E, tree.dst_E)), shape=(tree.n, tree.n)).tocsr()
    order, before_N = breadth_first_order(links, 0, directed=False)
    size_N = np.ones(tree.n, np.int64)
    for device in order[:0:-1]:  # leaves first
        size_N[before_N[device]] += size_N[device]
    return before_N.astype(np.int64), size_N
