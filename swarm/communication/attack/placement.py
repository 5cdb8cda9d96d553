"""Where hostile devices sit: at random, at the hubs of a graph, or on a cut of it."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from swarm.common.errors import ConfigError
from swarm.common.ranges import share_of
from swarm.common.rng import Keys
from swarm.communication.attack.base import Attack, Bools, Ints, Placement
from swarm.communication.topology.graph import Graph


def hostile_devices(attack: Attack, graph: Graph, seed: int) -> Bools | None:
    """Return which devices of ``graph`` are hostile, ``[N]``; None if nobody is.

    Raises :class:`ConfigError` for devices that do not exist, if no device is left that is honest,
    and for a placement that a graph without links does not have.
    """
    chosen = _listed(attack, graph.n) if isinstance(attack.devices, list) else None
    if chosen is None:
        count = _count(attack, graph.n)
        if not count:
            return None
        random = Keys(seed, "attack").generator().permutation(graph.n)
        chosen = placed(attack.placement, "attack.placement", graph, random)[:count]
    if not len(chosen):
        return None
    hostile_N = np.zeros(graph.n, bool)
    hostile_N[chosen] = True
    if hostile_N.all():
        valid = f"leaves no honest device; at most {graph.n - 1} of {graph.n} may be hostile"
        raise ConfigError("attack.devices", attack.devices, valid)
    return hostile_N


def _listed(attack: Attack, n: int) -> Ints:
    ids = np.asarray(attack.devices, np.int64).reshape(-1)
    if attack.placement != "random":
        valid = "must be random beside a list of devices, which says itself who is hostile"
        raise ConfigError("attack.placement", attack.placement, valid)
    if len(set(ids.tolist())) < len(ids) or ((ids < 0) | (ids >= n)).any():
        valid = f"must list different devices out of 0 to {n - 1}"
        raise ConfigError("attack.devices", attack.devices, valid)
    return ids


def _count(attack: Attack, n: int) -> int:
    """The number of hostile devices: a share is rounded, and is one device at least."""
    asked = attack.devices
    assert not isinstance(asked, list)
    valid = f"must be a share of the devices below 1, a number of at most {n - 1}, or a list of ids"
    if asked < 0 or asked > n or (isinstance(asked, float) and asked >= 1):
        raise ConfigError("attack.devices", asked, valid)
    if 0 < asked < 1:
        return share_of(asked, n)
    return int(asked)


def placed(placement: Placement, key: str, graph: Graph, random: Ints) -> Ints:
    """Return all devices in the order in which they are chosen. Ties are broken by their order in
    ``random``, so that a larger number adds devices and keeps the others.

    Raises :class:`ConfigError` on ``key`` for a placement that a graph without links does not
    have.
    """
    if placement == "random":
        return random
    if not len(graph.src_E):
        valid = "must be random on a graph without links"
        raise ConfigError(key, placement, valid)
    degree_N = graph.degree_in + graph.degree_out
    if placement == "hubs":
        return random[np.argsort(-degree_N[random], kind="stable")]
    level_N, order = _cuts(graph)
    rank_N = np.empty(graph.n, np.int64)
    rank_N[order] = np.arange(len(order))
    by = np.lexsort((-degree_N[random], rank_N[level_N[random]]))
    return random[by]


def _cuts(graph: Graph) -> tuple[Ints, Ints]:
    """The level of each device, ``[N]``, and all levels, the best cut first.

    A level has the devices that are equally far from one end of the graph. All paths from the
    levels before it to those behind it lead through it, so that hostile devices on all of a level
    cut the graph in two. The best one has the fewest devices for each device of the smaller part
    that it cuts off. The end is the device that is farthest from the one that is farthest from
    the first device of the largest component. Devices of other components come last.
    """
    n = graph.n
    ends = np.concatenate([graph.src_E, graph.dst_E]), np.concatenate([graph.dst_E, graph.src_E])
    links = coo_array((np.ones(2 * len(graph.src_E)), ends), shape=(n, n)).tocsr()
    _, part_N = connected_components(links, directed=False)
    first = int(np.flatnonzero(part_N == np.bincount(part_N).argmax())[0])
    for _ in range(2):
        level_N = _levels(links, first, n)
        first = int(level_N.argmax())
    level_N = _levels(links, first, n)
    last = int(level_N.max())
    size = np.bincount(level_N[level_N >= 0], minlength=last + 1)
    before = np.cumsum(size) - size
    smaller = np.minimum(before, size.sum() - before - size)
    order = np.argsort(size / np.maximum(smaller, 1e-9), kind="stable")
    level_N = np.where(level_N < 0, last + 1, level_N)
    return level_N, np.append(order, last + 1)


def _levels(links: coo_array, start: int, n: int) -> Ints:
    """How many links each device is away from ``start``; −1 where no path leads."""
    order, before_N = breadth_first_order(links, start, directed=False)
    level_N = np.full(n, -1)
    level_N[start] = 0
    for device in order[1:].tolist():
        level_N[device] = level_N[before_N[device]] + 1
    return level_N
