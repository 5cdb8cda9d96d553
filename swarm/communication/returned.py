"""Checks of what a protocol's methods return, right where it arrives, so that a fault is not first
noticed far away.

Every function raises a :class:`~swarm.common.errors.ConfigError` that names the protocol, its
method and the line.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import of_the
from swarm.common.plugin import PluginError, called, returned, shape_of
from swarm.communication.protocol.base import (
    Conserves,
    Ints,
    Links,
    PhaseName,
    Protocol,
    Requirements,
    State,
)
from swarm.communication.topology.graph import Graph
from swarm.config import aliases


def check_protocol(protocol: Protocol, kinds: Sequence[str]) -> None:
    """Refuse ``phases`` that are not a tuple of ``kinds``, and ``requirements`` that are not valid.

    Names of phases from earlier versions are replaced by today's.
    """
    phases, known = _phases_of_today(protocol), kinds
    if not isinstance(phases, tuple) or not phases or any(phase not in known for phase in phases):
        needed = f"a tuple of {', '.join(known)} is needed"
        raise _wrong(protocol, "phases", f"is {phases!r}", needed)
    required = protocol.requirements
    if not isinstance(required, Requirements):
        raise _wrong(protocol, "requirements", f"is {required!r}", "Requirements(…) are needed")
    if required.conserves not in get_args(Conserves):
        sums = ", ".join(get_args(Conserves))
        found = f"has conserves={required.conserves!r}"
        raise _wrong(protocol, "requirements", found, f"it must be one of {sums}")


def _phases_of_today(protocol: Protocol) -> tuple[PhaseName, ...]:
    """``protocol.phases``, with names of earlier versions replaced by today's."""
    found: Any = protocol.phases
    if not isinstance(found, tuple) or not all(isinstance(name, str) for name in found):
        return protocol.phases
    now: Any = tuple(map(aliases.phase, found))
    if now != found:
        text = f"{called(protocol)}: phases={found} are called {now} now"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        protocol.phases = now
    return protocol.phases


def graph_used(protocol: Protocol, graph: Graph) -> Graph:
    """Return :meth:`Protocol.graph`, which must be a graph of the same devices."""
    found = protocol.graph(graph)
    if found is graph:
        return found
    if not isinstance(found, Graph):
        raise _wrong(protocol, "graph", f"returns {shape_of(found)}", "a Graph is needed")
    if wrong := found.defect(graph.n):
        raise _wrong(
            protocol,
            "graph",
            f"returns a graph {wrong}",
            "Graph.from_edges makes one that is right",
        )
    return found


def chosen(protocol: Protocol, round: int, devices: int, seed: int) -> npt.NDArray[np.bool_] | None:
    """Return :meth:`Protocol.participants`, which must be a bool for each device, or None."""
    found = protocol.participants(round, devices, seed)
    if found is None or (
        isinstance(found, np.ndarray) and found.shape == (devices,) and found.dtype == bool
    ):
        return found
    needed = f"bool numbers of shape [{devices}] are needed, or None"
    raise _wrong(protocol, f"participants({round})", f"returns {shape_of(found)}", needed)


def plays(protocol: Protocol, phase: int, round: int) -> bool:
    """Return :meth:`Protocol.plays`, which must be True or False."""
    found = protocol.plays(phase, round)
    if isinstance(found, bool | np.bool_):
        return bool(found)
    call = f"plays({phase}, {round})"
    raise _wrong(protocol, call, f"returns {shape_of(found)}", "True or False is needed")


def skips_phases(protocol: Protocol) -> bool:
    """Whether ``protocol`` may leave a phase out in some rounds."""
    return type(protocol).plays is not Protocol.plays


def width_of(protocol: Protocol, phase: int, parameters: int) -> int:
    """Return :meth:`Protocol.width`, which must be a whole number of at least 1."""
    found = protocol.width(phase, parameters)
    try:
        width = operator.index(found)
    except TypeError:
        width = 0
    if width < 1:
        raise _wrong(
            protocol, f"width({phase})", f"returns {found!r}", "a whole number ≥ 1 is needed"
        )
    return width


def slots_of(protocol: Protocol, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
    """Return :meth:`Protocol.init`, which must be tensors of the parameters' dtype with a row for
    each device.
    """
    found = protocol.init(x_NP, links)
    if not isinstance(found, dict):
        raise _wrong(protocol, "init", f"returns {shape_of(found)}", "a dict of rows is needed")
    for name, rows in found.items():
        if (
            not isinstance(rows, Tensor)
            or rows.shape[:1] != x_NP.shape[:1]
            or rows.dtype != x_NP.dtype
        ):
            kind = str(x_NP.dtype).removeprefix("torch.")
            needed = f"{kind} numbers of shape [{len(x_NP)}, …] are needed, a row for each device"
            raise _wrong(protocol, "init", f"returns {shape_of(rows)} as {name!r}", needed)
    return found


def shares_of(protocol: Protocol, sizes_N: Ints) -> npt.NDArray[np.float64]:
    """Return :meth:`Protocol.shares`, which must be weights of at least 0, not all of them 0."""
    found = protocol.shares(sizes_N)
    if not isinstance(found, np.ndarray) or found.shape != sizes_N.shape or found.dtype.kind != "f":
        needed = f"floating-point numbers of shape [{len(sizes_N)}] are needed"
        raise _wrong(protocol, "shares", f"returns {shape_of(found)}", needed)
    if not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise _wrong(
            protocol,
            "shares",
            "returns weights that are no shares",
            "finite numbers ≥ 0 are needed",
        )
    return found


def start_of(protocol: Protocol, state: State) -> Tensor:
    """Return :meth:`Protocol.start`, which must be rows of the parameters' shape and dtype."""
    found = protocol.start(state)
    _require_rows(protocol, "start", found, state.x.dtype, tuple(state.x.shape))
    return found


def sent(protocol: Protocol, phase: int, state: State) -> Tensor:
    """Return :meth:`Protocol.send`, which must have a row of the phase's width for each device, or
    in a ``per_edge`` phase for each of its links.
    """
    found = protocol.send(phase, state)
    n, width = len(state.x), width_of(protocol, phase, state.x.shape[1])
    shape: tuple[int, ...] = (n, width)
    if protocol.phases[phase] == "per_edge" and state.links is not None:
        shape = (n, state.links.ids_nd.shape[1], width)
    _require_rows(protocol, f"send({phase})", found, state.x.dtype, shape)
    return found


def require_state(
    protocol: Protocol, call: str, state: State, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    """Refuse the state after a method call if its parameters are not rows of ``shape`` and
    ``dtype``, or a slot lacks a row for each device.
    """
    _require_rows(protocol, call, state.x, dtype, shape, "leaves")
    for name, rows in state.slots.items():
        if not isinstance(rows, Tensor) or len(rows) != shape[0]:
            needed = f"a row for {of_the(shape[0], 'device')} is needed"
            raise _wrong(protocol, call, f"leaves {shape_of(rows)} as slot {name!r}", needed)


def _require_rows(
    protocol: Protocol,
    call: str,
    found: object,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    does: str = "returns",
) -> None:
    if isinstance(found, torch.Tensor) and tuple(found.shape) == shape and found.dtype == dtype:
        return
    kind = str(dtype).removeprefix("torch.")
    raise _wrong(
        protocol,
        call,
        f"{does} {shape_of(found)}",
        f"{kind} numbers of shape {list(shape)} are needed",
    )


def _wrong(protocol: Protocol, call: str, found: str, needed: str) -> PluginError:
    return returned("protocol", protocol, call, found, needed)
