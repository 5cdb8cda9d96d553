"""The graphs of later rounds of a topology that changes; they are made again from the config."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import Protocol
from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Graph
from swarm.config.build import build
from swarm.results.load import Run
from swarm.results.report.html.histories.device_history import packed, subsample
from swarm.results.report.layout import EDGES

# links of all rounds together, and the time for making the graphs, at most
LINKS, SECONDS = 150_000, 2.0


def graph_history(run: Run, rounds: list[int], nodes: list[int]) -> dict[str, Any] | None:
    """The links among ``nodes`` in each of ``rounds``; None where the graph never changes, or
    cannot be had cheaply.

    Nothing is shown that was not so: the graph made for round 1 must be the one that the run has
    written down. A config with plug-ins is not followed, since that would run code that comes with
    a folder.

    Returns:
        ``start``: where each round's links begin, one more than there are rounds; ``links``: pairs
        of positions in ``nodes``, 16 bits each, in base64; ``places``: where the devices are in
        each round (x of all, then y, 0 to 65535), or None where they stay; ``whole``: whether every
        link is there.
    """
    graph, end = run.graph, time.perf_counter() + SECONDS
    if (
        graph is None
        or run.config.get("plugins")
        or not rounds
        or run.config.get("devices") != graph["n"]
    ):
        return None
    try:
        topology, protocol = _built(run)
        if topology.period == 1 or not _same(_graph_in(1, topology, protocol), graph):
            return None
        return _history(topology, protocol, int(graph["n"]), rounds, nodes, end)
    except (ConfigError, KeyError, TypeError, ValueError, OSError):
        # a file that is gone, a config that was changed by hand: the links of round 1 are still
        # right
        return None


def _history(
    topology: Topology,
    protocol: Protocol,
    devices: int,
    rounds: list[int],
    nodes: list[int],
    end: float,
) -> dict[str, Any] | None:
    """What :func:`graph_history` returns; None where the clock passes ``end`` before it is done."""
    place_N = np.full(devices, -1)
    place_N[nodes] = np.arange(len(nodes))
    most = min(EDGES, LINKS // len(rounds))
    links, places, whole = [], [], True
    for round in rounds:
        now = _graph_in(max(round, 1), topology, protocol)
        inside_E2 = place_N[now.links_E2]
        inside_E2 = inside_E2[(inside_E2 >= 0).all(axis=1)]
        whole &= len(inside_E2) <= most
        links.append(inside_E2[subsample(np.arange(len(inside_E2)), most)])
        if now.pos_N2 is not None:
            places.append(now.pos_N2[nodes])
        if time.perf_counter() > end:
            return None
    return {
        "start": np.cumsum([0, *map(len, links)]).tolist(),
        "links": packed(np.concatenate(links).astype(np.uint16)),
        "places": _moving(places) if len(places) == len(rounds) else None,
        "whole": bool(whole),
    }


def _graph_in(round: int, topology: Topology, protocol: Protocol) -> Graph:
    return protocol.graph(topology.graph(topology.phase(round)))


def _built(run: Run) -> tuple[Topology, Protocol]:
    context: dict[str, Any] = {
        "devices": int(run.config["devices"]),
        "seed": int(run.config["seed"]),
    }
    # a gap is left by a graph's own names only, which it finds by itself
    if run.names and None not in run.names:
        context["owner_names"] = tuple(run.names)
    topology: Topology = build(run.config["topology"], Topology, "topology", **context)
    return topology, build(run.config["protocol"], Protocol, "protocol")


def _same(made: Graph, written: dict[str, Any]) -> bool:
    links_E2 = made.links_E2[: len(written["edges"])]
    return made.n == written["n"] and np.array_equal(
        links_E2, np.array(written["edges"]).reshape(-1, 2)
    )


def _moving(places: list[NDArray[np.float64]]) -> str:
    """On one scale for all rounds, so that who moves is seen to move."""
    place_R2N = np.stack(places).transpose(0, 2, 1)
    low_2, high_2 = place_R2N.min(axis=(0, 2)), place_R2N.max(axis=(0, 2))
    size = float((high_2 - low_2).max()) or 1.0
    unit_R2N = (place_R2N - ((low_2 + high_2) / 2)[None, :, None]) / size + 0.5
    return packed(np.rint(65535 * unit_R2N).astype(np.uint16))
