"""Regular topologies: none, ring, torus and grid, star, complete, hypercube."""

from __future__ import annotations

import numpy as np

from swarm.common.errors import ConfigError
from swarm.communication.topology.base import Static, check_devices
from swarm.communication.topology.graph import Floats, Graph, Ints

MAX_COMPLETE = 5000
"""The largest number of devices of a complete graph (25 million directed edges)."""


def circle(n: int) -> Floats:
    """Return n points spread evenly on the unit circle, ``[n, 2]``."""
    angle_N = 2.0 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)


def ring_links(n: int) -> Ints:
    """Return the links of a ring of n devices, ``[n, 2]``: each device and the next."""
    return np.stack([np.arange(n), np.roll(np.arange(n), -1)], axis=1)


class Isolated(Static):
    """A graph without links, in which every device learns alone."""

    def __init__(self, devices: int) -> None:
        check_devices(devices)
        super().__init__(Graph.empty(devices))


class Ring(Static):
    """A ring: each device is linked to the next, and the last to the first. The degree is 2; two
    devices share one link.

    With weights 1/3, ρ = (1 + 2 cos(2π/n)) / 3.
    """

    def __init__(self, devices: int) -> None:
        check_devices(devices)
        super().__init__(Graph.from_edges(devices, ring_links(devices), pos_N2=circle(devices)))


class Torus(Static):
    """A grid of ``rows`` × ``cols`` devices; with ``periodic`` it is wrapped around in both
    directions, which makes it a torus.

    A wrapped side needs at least 3 devices, as two of its links would else be the same. Without
    ``rows`` and ``cols`` the grid is as square as the number of devices allows. On an s × s torus
    with weights 1/5, ρ = (3 + 2 cos(2π/s)) / 5. Raises ``ConfigError`` if no sides fit.
    """

    def __init__(
        self, devices: int, rows: int | None = None, cols: int | None = None, periodic: bool = True
    ) -> None:
        check_devices(devices)
        rows, cols = _sides(devices, rows, cols, periodic)
        id_RC = np.arange(devices).reshape(rows, cols)
        pairs = [np.stack([id_RC, np.roll(id_RC, -1, axis)], axis=2) for axis in (0, 1)]
        if not periodic:
            pairs = [pairs[0][:-1], pairs[1][:, :-1]]
        row_N, col_N = np.divmod(np.arange(devices), cols)
        pos_N2 = np.stack([col_N, -row_N], axis=1).astype(np.float64)
        links_E2 = np.concatenate([each.reshape(-1, 2) for each in pairs])
        super().__init__(Graph.from_edges(devices, links_E2, pos_N2=pos_N2))


def _sides(devices: int, rows: int | None, cols: int | None, periodic: bool) -> tuple[int, int]:
    least = 3 if periodic else 1
    if devices == 1 and rows in (None, 1) and cols in (None, 1):
        return 1, 1
    for key, side in (("rows", rows), ("cols", cols)):
        if side is not None and side < least:
            raise ConfigError(
                key,
                side,
                f"must be at least {least}" + (" on a torus (periodic)" if periodic else ""),
            )
    if rows is None and cols is None:
        return _most_square(devices, periodic)
    key, side = ("rows", rows) if rows is not None else ("cols", cols)
    assert side is not None
    other = devices // side if rows is None or cols is None else cols
    if side * other != devices or other < least:
        _most_square(devices, periodic)  # raises an error if no sides fit
        fit = [d for d in range(least, devices // least + 1) if devices % d == 0]
        raise ConfigError(
            key, side, f"rows × cols must equal devices={devices}; sides that fit: {fit}"
        )
    return (side, other) if key == "rows" else (other, side)


def _most_square(devices: int, periodic: bool) -> tuple[int, int]:
    # a grid of one row is a path, which is only made when asked for
    least, name = (3, "torus") if periodic else (2, "grid")

    def short(n: int) -> int:
        return next((side for side in range(int(n**0.5), least - 1, -1) if n % side == 0), 0)

    if side := short(devices):
        return side, devices // side
    below = next((n for n in range(devices - 1, 0, -1) if short(n)), None)
    above = next(n for n in range(devices + 1, 2 * devices + least**2 + 1) if short(n))
    would = f"{below} or {above}" if below else str(above)
    raise ConfigError(
        "/devices",
        devices,
        f"a {name} is rows × cols with sides of at least {least}; {would} would do",
    )


class Star(Static):
    """A star: device 0 is linked to all others, like a server that is also a device."""

    def __init__(self, devices: int) -> None:
        check_devices(devices)
        id_N = np.arange(devices)
        pos_N2 = np.concatenate([np.zeros((1, 2)), circle(max(devices - 1, 1))])[:devices]
        links_N2 = np.stack([np.zeros_like(id_N), id_N], axis=1)
        super().__init__(Graph.from_edges(devices, links_N2, pos_N2=pos_N2))


class Complete(Static):
    """A complete graph: all devices are linked, one round of averaging is the exact mean, and ρ =
    0.

    Raises ``ConfigError`` for more than 5,000 devices.
    """

    def __init__(self, devices: int) -> None:
        check_devices(devices)
        if devices > MAX_COMPLETE:
            reason = (
                f"the complete graph links every pair, at most {MAX_COMPLETE} devices fit;"
                " exponential would do"
            )
            raise ConfigError("/devices", devices, reason)
        dst_E = np.repeat(np.arange(devices), devices - 1)
        rank_E = np.tile(np.arange(devices - 1), devices)
        super().__init__(
            Graph(
                devices, rank_E + (rank_E >= dst_E), dst_E, directed=False, pos_N2=circle(devices)
            )
        )


class Hypercube(Static):
    """A hypercube: n = 2^d devices, linked if their binary ids differ in one bit. The degree is d,
    and ρ = (d - 1) / (d + 1). Raises ``ConfigError`` unless n is a power of two.
    """

    def __init__(self, devices: int) -> None:
        check_devices(devices)
        bits = devices.bit_length() - 1
        if devices != 1 << bits:
            would = f"{1 << bits} or {2 << bits} would do"
            raise ConfigError("/devices", devices, f"a hypercube needs a power of two; {would}")
        id_N = np.arange(devices)
        pairs = [np.stack([id_N, id_N ^ (1 << k)], axis=1) for k in range(bits)]
        super().__init__(
            Graph.from_edges(
                devices, np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
            )
        )
