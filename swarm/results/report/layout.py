"""Where to draw the devices of a graph, and which of them when there are many."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

ON = 0.0005  # of the picture's side: no further than this from a line is on it
# drawn at most: beyond this a picture is a blot, and the page grows heavy
NODES, EDGES = 1000, 6000


def layout_graph(graph: dict[str, Any]) -> dict[str, Any]:
    """What the page draws of ``graph.json``.

    Returns:
        ``nodes``: device ids; ``x``, ``y``: their places in [0, 1]; ``edges``: pairs of positions
        in ``nodes``, flat; ``degree``: in the whole graph; ``note``: what is left out, or an empty
        string; ``left``: the part of it that is about devices; ``bent``: of each edge that would
        lie on another, its number and the point that draws it aside (the control point of a
        quadratic Bézier curve), as [number, x, y].
    """
    n, edges = int(graph["n"]), [(int(a), int(b)) for a, b in graph["edges"] if a != b]
    nodes = _neighbourhood(n, edges) if n > NODES else list(range(n))
    place = {node: i for i, node in enumerate(nodes)}
    inside = [(place[a], place[b]) for a, b in edges if a in place and b in place]
    drawn = (
        inside
        if len(inside) <= EDGES
        else [inside[i] for i in np.linspace(0, len(inside) - 1, EDGES, dtype=int)]
    )
    degree = np.bincount(np.array(edges, dtype=int).reshape(-1), minlength=n)
    xy_N2 = _unit(_places(graph.get("pos"), nodes, inside))
    left = (
        f"{len(nodes):,} of {n:,} devices are drawn: those nearest to the best-connected one"
        if len(nodes) < n
        else ""
    )
    notes = [left] if left else []
    if len(drawn) < len(inside) or graph.get("truncated"):
        notes.append(f"{len(drawn):,} of its edges are drawn")
    return {
        "nodes": nodes,
        "edges": [i for edge in drawn for i in edge],
        "degree": degree[nodes].tolist(),
        "x": [round(float(x), 4) for x in xy_N2[:, 0]],
        "y": [round(float(y), 4) for y in xy_N2[:, 1]],
        "note": "; ".join(notes),
        "left": left,
        "bent": _bent(xy_N2, drawn),
    }


def _neighbourhood(n: int, edges: list[tuple[int, int]]) -> list[int]:
    """The first ``NODES`` devices of a breadth-first search from the best-connected one; then the
    rest by id.
    """
    near: dict[int, list[int]] = defaultdict(list)
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    start = max(near, key=lambda node: (len(near[node]), -node), default=0)
    met, queue = {start}, deque([start])
    while queue and len(met) < NODES:
        for node in sorted(near.get(queue.popleft(), ())):
            if node not in met and len(met) < NODES:
                met.add(node)
                queue.append(node)
    met.update(node for node in range(n) if len(met) < NODES)
    return sorted(met)[:NODES]


def _places(pos: Any, nodes: list[int], edges: list[tuple[int, int]]) -> NDArray[np.float64]:
    if pos is not None:
        try:
            given_N2 = np.array([pos[node] for node in nodes], dtype=np.float64).reshape(
                len(nodes), -1
            )
        except (ValueError, TypeError, IndexError):
            given_N2 = np.empty((0, 0))
        if given_N2.shape == (len(nodes), 2) and np.isfinite(given_N2).all():
            return given_N2
    n = len(nodes)
    if not edges:
        side = max(1, math.ceil(math.sqrt(n)))
        return np.array([(i % side, -(i // side)) for i in range(n)], dtype=np.float64).reshape(
            n, 2
        )
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges)
    if graph.number_of_edges() > 10 * n:  # a dense graph has no shape to show
        layout = nx.circular_layout(graph)
    elif n <= 500 or not nx.is_connected(graph):
        layout = nx.spring_layout(graph, seed=0, iterations=50)
    else:  # the spectrum gives the outline at once; a few steps of the slow method spread it out
        layout = nx.spring_layout(graph, seed=0, iterations=12, pos=nx.spectral_layout(graph))
    return np.array([layout[i] for i in range(n)], dtype=np.float64)


def _bent(xy_N2: NDArray[np.float64], edges: list[tuple[int, int]]) -> list[list[float]]:
    """The links that would lie on others, as those around a torus do: aside by 0.35 of a usual
    link, towards the middle.
    """
    near: list[list[int]] = [[] for _ in xy_N2]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    ends_E2 = np.array(edges, dtype=int).reshape(-1, 2)
    along_E2 = xy_N2[ends_E2[:, 1]] - xy_N2[ends_E2[:, 0]]
    length_E = np.hypot(along_E2[:, 0], along_E2[:, 1])
    found: list[list[float]] = []
    for e in np.flatnonzero(length_E > ON):
        start, unit_2 = ends_E2[e, 0], along_E2[e] / length_E[e]
        normal_2 = np.array([-unit_2[1], unit_2[0]])
        there_K2 = xy_N2[near[start]] - xy_N2[start]
        ahead_K, aside_K = there_K2 @ unit_2, there_K2 @ normal_2
        if ((np.abs(aside_K) < ON) & (ahead_K > ON) & (ahead_K < length_E[e] - ON)).any():
            middle_2 = xy_N2[ends_E2[e]].mean(axis=0)
            inwards = 1.0 if normal_2 @ (0.5 - middle_2) >= -ON else -1.0
            x, y = middle_2 + 2 * 0.35 * float(np.median(length_E)) * inwards * normal_2
            found.append([int(e), round(float(x), 4), round(float(y), 4)])
    return found


def _unit(xy_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shifted and scaled into the unit square, both axes alike."""
    if not len(xy_N2):
        return xy_N2.reshape(0, 2)
    low, high = xy_N2.min(axis=0), xy_N2.max(axis=0)
    size = float((high - low).max()) or 1.0
    unit_N2: NDArray[np.float64] = (xy_N2 - (low + high) / 2) / size + 0.5
    return unit_N2
