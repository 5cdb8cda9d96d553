"""Reads adjacency lists, Pajek's networks and GML, all of which networkx writes as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from swarm.common.names import canonical
from swarm.communication.topology.readers.edge_list import add_edge, data_of
from swarm.communication.topology.readers.labelled import Labelled
from swarm.communication.topology.readers.parsed import Parsed, finite, text_of

_TOKEN = re.compile(r'"([^"]*)"|(\S+)')
_BY_NETWORKX = re.compile(r"#[^\n]*\n# GMT ")  # how its adjacency lists begin


# --- adjacency lists ------------------------------------------------------------------------------


def read_adjacency_list(data: bytes, parsed: Parsed) -> None:
    """Read lines of a node and its neighbours, separated by tabs, commas or blanks; ``#`` starts a
    comment.

    networkx writes a line for every node. If the comments say that it wrote the file, a neighbour
    without a line is refused: it is a part of a name that has blanks.
    """
    text = text_of(data)
    split = _split(text)
    for number, line in _plain_lines(text):
        row = split(line)
        try:
            parsed.node(row[0])
            for neighbour in row[1:]:
                parsed.edge(row[0], neighbour)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if _BY_NETWORKX.match(text):
        first = {canonical(split(line)[0]) for _, line in _plain_lines(text)}
        for number, line in _plain_lines(text):
            lost = next((name for name in split(line) if canonical(name) not in first), None)
            if lost is not None:
                raise ValueError(
                    f"line {number}: {lost[:40]!r} has no line of its own; where names have blanks,"
                    " a comma has to separate them (delimiter=',')"
                )


def read_multiline_adjacency_list(data: bytes, parsed: Parsed) -> None:
    """Read a line of a node and its number of neighbours, below it a line for each neighbour with
    the data of the edge, and so on; ``#`` starts a comment.
    """
    text = text_of(data)
    split = _split(text)
    node, left, number = "", 0, 0
    for number, line in _plain_lines(text):
        try:
            start = line.find("{") if left else -1
            row = split(line if start < 0 else line[:start].strip(" \t,"))
            if left:
                if len(row) != 1:
                    raise ValueError(f"needs `neighbour {{…}}`, found {len(row)} names")
                found = {} if start < 0 else data_of(line[start:].strip())
                add_edge(node, row[0], found, parsed)
                left -= 1
            else:
                if len(row) != 2 or not row[1].isdecimal() or len(row[1]) > 9:
                    raise ValueError(f"needs `node NUMBER_OF_NEIGHBOURS`, found {line[:40]!r}")
                node, left = row[0], int(row[1])
                parsed.node(node)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if left:
        raise ValueError(f"line {number}: {left} neighbours of {node[:40]!r} are missing below it")


def is_multiline(text: str) -> bool | None:
    """Whether the adjacency list that ``text`` begins with is a multiline one; None if it is no
    adjacency list of networkx.
    """
    if not _BY_NETWORKX.match(text):
        return None
    lines = _plain_lines(text)
    return "{" in text or all(line.split()[-1:] == ["0"] for _, line in lines)


def _split(text: str) -> Any:
    """What splits a line: at tabs or commas if the first line of a node has one, else at blanks."""
    lines = [line for _, line in _plain_lines(text)]
    for separator in "\t,":
        if any(separator in line.partition("{")[0] for line in lines):
            return lambda line: [name.strip() for name in line.split(separator)]
    return str.split


def _plain_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip() if line.rstrip().endswith("}") else line.partition("#")[0].strip()
        if line and not line.startswith("#"):
            yield number, line


# --- Pajek ----------------------------------------------------------------------------------------


def read_pajek(data: bytes, parsed: Parsed) -> None:
    """Read ``*Vertices`` of Pajek with labels and places, and ``*Arcs``, ``*Edges``, ``*Arcslist``,
    ``*Edgeslist`` or ``*Matrix``.

    The graph is directed if there are arcs. A length is the third field of a line if it is called
    ``weight``, else what stands behind its name.
    """
    _Pajek(parsed).read(text_of(data))


class _Pajek:
    def __init__(self, parsed: Parsed) -> None:
        self.parsed, self.found = parsed, Labelled(parsed)
        self.vertices: int | None = None
        self.section = ""
        self.one_way: list[bool] = []  # for each edge
        self.matrix: list[list[float]] = []

    def read(self, text: str) -> None:
        number = 0
        for number, line in enumerate(text.splitlines(), 1):
            row = [quoted or plain for quoted, plain in _TOKEN.findall(line)]
            if not row or line.lstrip().startswith("%"):
                continue
            try:
                if row[0].startswith("*"):
                    self.start(row)
                elif self.section == "vertices":
                    self.vertex(row)
                else:
                    self.edges(row, number)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
        if self.vertices is None:
            raise ValueError("there is no line `*Vertices NUMBER` in it")
        self.all_vertices()
        self.finish(number)

    def start(self, row: list[str]) -> None:
        section = row[0][1:].lower()
        if section == "network":
            return
        if section == "vertices":
            if self.vertices is not None or len(row) < 2 or not row[1].isdecimal():
                raise ValueError("needs one line `*Vertices NUMBER`")
            if len(row[1]) > 12:
                raise ValueError(f"more than max_nodes={self.parsed.max_nodes} nodes")
            self.vertices = int(row[1])
            self.parsed.require_nodes(self.vertices)
        elif section in ("arcs", "edges", "arcslist", "edgeslist", "matrix"):
            if self.vertices is None:
                raise ValueError("needs a line `*Vertices NUMBER` before it")
            self.all_vertices()
        else:
            raise ValueError(f"the section *{section[:40]} is not supported")
        self.section = section

    def vertex(self, row: list[str]) -> None:
        id = self.found.node(row[0], row[1] if len(row) > 1 else None)
        if len(row) > 3:
            self.found.places[id] = row[2], row[3]

    def all_vertices(self) -> None:
        """Add the vertices 1, 2, … that have no line of their own."""
        if not self.found.labels:
            for id in range(1, (self.vertices or 0) + 1):
                self.found.node(id)
        elif len(self.found.labels) != self.vertices:
            raise ValueError(
                f"there are {len(self.found.labels)} vertices, and *Vertices says {self.vertices}"
            )

    def edges(self, row: list[str], number: int) -> None:
        if self.section == "matrix":
            if len(row) != self.vertices:
                raise ValueError(f"a row of the matrix has {self.vertices} numbers, not {len(row)}")
            self.matrix.append([finite(value, "an entry") for value in row])
            return
        if not self.section:
            raise ValueError("needs a line `*Vertices NUMBER` before it")
        if len(row) < 2:
            raise ValueError(f"needs two vertices, found {row[0][:40]!r}")
        if self.section.endswith("list"):
            pairs = [(row[0], other, None) for other in row[1:]]
        else:
            pairs = [(row[0], row[1], self.length(row))]
        for source, target, length in pairs:
            self.found.edge(source, target, length, number)
            self.one_way.append(self.section.startswith("arcs"))

    def length(self, row: list[str]) -> Any:
        weight = finite(row[2], "weight") if len(row) > 2 else None
        if self.parsed.length == "weight":
            return weight
        self.parsed.weighted |= weight not in (None, 1.0)  # which networkx writes where none is
        return dict(zip(row[3::2], row[4::2], strict=False)).get(str(self.parsed.length))

    def finish(self, number: int) -> None:
        if self.section == "matrix":
            if len(self.matrix) != self.vertices:
                raise ValueError(
                    f"line {number}: the matrix has {len(self.matrix)} of {self.vertices} rows"
                )
            value_NN = np.array(self.matrix).reshape(self.vertices, self.vertices)
            ids = list(self.found.labels)
            for i, j in np.argwhere(value_NN).tolist():
                self.found.edge(ids[i], ids[j], float(value_NN[i, j]), i + 1)
            self.found.counted = "row of the matrix"
            self.one_way = [not np.array_equal(value_NN, value_NN.T)]
        self.parsed.directed = any(self.one_way)
        if self.parsed.directed and self.section != "matrix":
            both = zip(list(self.found.edges), self.one_way, strict=True)
            for (source, target, length, line), one_way in both:
                if not one_way:
                    self.found.edge(target, source, length, line)
        self.found.finish()


# --- GML ------------------------------------------------------------------------------------------

_GRAPH = re.compile(r"^(\s*graph\s*\[)", re.MULTILINE)
_SCALAR = re.compile(r"\bNP\.[A-Z]+\d*_?\(([^()\s]*)\)")  # as networkx writes NumPy's numbers
_WHERE = re.compile(r" at \((\d+), \d+\)$")


def read_gml(data: bytes, parsed: Parsed) -> None:
    """Read GML with networkx's parser; parallel edges are merged, and places are read from
    ``graphics`` or ``pos``.
    """
    import networkx as nx  # most runs need none, and it takes a quarter of a second

    text = text_of(data)
    parsed.require_nodes(len(re.findall(r"\bnode\s*\[", text)))
    parsed.require_edges(len(re.findall(r"\bedge\s*\[", text)))
    # without this the parser refuses parallel edges
    text = _GRAPH.sub(r"\1 multigraph 1", _SCALAR.sub(r"\1", text), count=1)
    try:
        graph = nx.parse_gml(text, label="id")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (nx.NetworkXError, ValueError, TypeError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())
        said = _WHERE.search(reason)
        line = f"line {said[1]}: " if said else ""
        raise ValueError(f"{line}not GML ({_WHERE.sub('', reason)[:160]})") from None
    found = Labelled(parsed, "edge")
    for node, of in graph.nodes(data=True):
        id = found.node(node if isinstance(node, int | float) else str(node), of.get("label"))
        place = _place_in_gml(of)
        if place is not None:
            found.places[id] = place
    for source, target, of in graph.edges(data=True):
        where = f"{str(source)[:40]} – {str(target)[:40]}"
        if "weight" in of and parsed.length != "weight":
            _weight(of["weight"], where)
            parsed.weighted = True
        found.edge(source, target, None if parsed.length is None else of.get(parsed.length), where)
    parsed.directed = graph.is_directed()
    found.finish()


def _weight(value: Any, where: str) -> None:
    try:
        finite(value, "weight")
    except ValueError as error:
        raise ValueError(f"edge {where}: {error}") from None


def _place_in_gml(of: dict[str, Any]) -> tuple[Any, Any] | None:
    pos, graphics = of.get("pos"), of.get("graphics", of)
    if isinstance(pos, list) and len(pos) == 2:
        return pos[0], pos[1]
    if isinstance(graphics, dict) and "x" in graphics and "y" in graphics:
        return graphics["x"], graphics["y"]
    return None


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
