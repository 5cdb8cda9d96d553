"""Reads the formats of KONECT, DIMACS and Cytoscape, lists of edges with marks of their own."""

from __future__ import annotations

from swarm.communication.topology.readers.parsed import Parsed, text_of


def read_konect(data: bytes, parsed: Parsed) -> None:
    """Read a network of KONECT: lines ``from to [weight [time]]`` below one that says its kind.

    Raises ``ValueError`` for a bipartite network, whose two sides have nodes of the same numbers.
    """
    for number, line in enumerate(text_of(data).splitlines(), 1):
        if number == 1 and "bip" in line.split():
            raise ValueError("line 1: the network is bipartite, and both sides count from 1")
        row = line.split()
        if not row or row[0].startswith("%"):
            continue
        if not 2 <= len(row) <= 4:
            raise ValueError(f"line {number}: needs `from to [weight [time]]`")
        parsed.weighted |= len(row) > 2 and parsed.length is None
        _added(number, row[0], row[1], row[2] if len(row) > 2 else None, parsed)


def read_dimacs(data: bytes, parsed: Parsed) -> None:
    """Read a graph of DIMACS: lines ``e from to`` or ``a from to length``, and in front of them a
    line ``p … nodes edges``.
    """
    nodes = 0
    for number, line in enumerate(text_of(data).splitlines(), 1):
        row = line.split()
        if not row or row[0] == "c":
            continue
        if row[0] == "p" and len(row) == 4 and row[2].isdigit() and len(row[2]) < 12:
            nodes = int(row[2])
            parsed.require_nodes(nodes)
            for name in range(1, nodes + 1):
                parsed.node(name)
        elif row[0] in ("e", "a") and len(row) in (3, 4) and nodes:
            if not all(parsed.knows(name) for name in row[1:3]):
                raise ValueError(f"line {number}: its nodes must be 1 to {nodes}")
            parsed.weighted |= len(row) > 3 and parsed.length is None
            _added(number, row[1], row[2], row[3] if len(row) > 3 else None, parsed)
        else:
            raise ValueError(f"line {number}: needs `e from to` or `a from to length` below `p`")


def read_sif(data: bytes, parsed: Parsed) -> None:
    """Read Cytoscape's simple interactions: lines ``node relation node …``, divided by tabs if
    there are any, else by blanks; a node alone has no neighbour.
    """
    text = text_of(data)
    separator = "\t" if "\t" in text else None
    for number, line in enumerate(text.splitlines(), 1):
        row = [field.strip() for field in line.split(separator) if field.strip()]
        if len(row) == 2:
            raise ValueError(f"line {number}: needs `node relation node`, found two fields")
        if len(row) == 1:
            parsed.node(row[0])
        for other in row[2:]:
            _added(number, row[0], other, None, parsed)


def _added(number: int, source: str, target: str, length: str | None, parsed: Parsed) -> None:
    try:
        parsed.edge(source, target, length)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
