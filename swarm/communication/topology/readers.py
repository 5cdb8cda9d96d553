"""Readers of graph files that need not be trusted: edge lists, GraphML and node-link JSON.

Each reader takes the bytes of a file and fills a :class:`Parsed`. Every fault raises a
``ValueError`` that says where it is. No reader expands entities, follows references, or reads more
than the limits allow.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from xml.parsers import expat

import numpy as np

from swarm.common.names import LONGEST, Names, canonical, ordered
from swarm.communication.topology.graph import Graph, Ints

Name = int | float | str


@dataclass
class Parsed:
    """The nodes and edges of a file by their names (:func:`swarm.common.names.canonical`), with
    limits on how many there may be.

    ``length`` names the attribute that is an edge's length; if it is given, every edge needs one.
    """

    max_nodes: int
    max_edges: int
    directed: bool = False
    weighted: bool = False  # whether the file has weights, which are not used
    index: dict[str, int] = field(default_factory=dict)
    edges: list[tuple[int, int]] = field(default_factory=list)
    length: str | None = None
    lengths: list[float] = field(default_factory=list)
    spelt: dict[Name, int] = field(default_factory=dict)  # node numbers by names as in the file

    def node(self, name: Name) -> int:
        """Return the number of the node ``name``, which is added if it is new.

        Raises ``ValueError`` for a name that is empty or too long, and for too many nodes.
        """
        known = self.spelt.get(name)
        if known is not None:
            return known
        own = canonical(name)
        if not 0 < len(own) <= LONGEST:
            raise ValueError(f"a node id must have 1 to {LONGEST} characters, not {len(own)}")
        if own not in self.index:
            if len(self.index) >= self.max_nodes:
                raise ValueError(f"more than max_nodes={self.max_nodes} nodes")
            self.index[own] = len(self.index)
        self.spelt[name] = self.index[own]
        return self.index[own]

    def knows(self, name: Name) -> bool:
        """Whether the node ``name`` was added before, in any spelling."""
        return name in self.spelt or canonical(name) in self.index

    def edge(self, source: Name, target: Name, length: Any = None) -> None:
        """Add an edge between two nodes, with its length if lengths are read.

        Raises ``ValueError`` for too many edges, and for a length that is missing or not ≥ 0.
        """
        if len(self.edges) >= self.max_edges:
            raise ValueError(f"more than max_edges={self.max_edges} edges")
        if self.length is not None:
            if length is None:
                raise ValueError(f"the edge needs `{self.length}`, its length")
            value = _finite(length, self.length)
            if value < 0:
                raise ValueError(f"{self.length} {str(length)[:40]!r} must be at least 0")
            self.lengths.append(value)
        self.edges.append((self.node(source), self.node(target)))

    def graph(self) -> Graph:
        """Return the graph with nodes in the order of their names; of parallel edges the shortest
        counts.
        """
        ends_E2 = self.ranked()
        if self.length is None:
            return Graph.from_edges(len(self.index), ends_E2, directed=self.directed)
        length_E = np.asarray(self.lengths, dtype=np.float64)
        order_E = np.argsort(length_E, kind="stable")
        return Graph.from_edges(
            len(self.index), ends_E2[order_E], directed=self.directed, length=length_E[order_E]
        )

    @cached_property
    def names(self) -> Names:
        """The nodes' names in order; to be asked for after all nodes are added."""
        return tuple(ordered(self.index))

    def ranked(self) -> Ints:
        """Return the edges ``[E, 2]``, with nodes numbered in the order of their names.

        Raises ``ValueError`` if there is no node.
        """
        if not self.index:
            raise ValueError("there is no node in it")
        rank = np.empty(len(self.names), dtype=np.int64)
        rank[[self.index[name] for name in self.names]] = np.arange(len(self.names))
        return np.asarray(rank[np.asarray(self.edges, dtype=np.int64).reshape(-1, 2)])


def read_edge_list(data: bytes, parsed: Parsed) -> None:
    """Read lines ``source target [weight]``, split at blanks or commas; ``#`` and ``%`` start
    comments.

    A first line such as ``source,target`` is a heading. A weight must be a finite number; it is not
    used, or is the length if lengths are read.
    """
    for number, row in _rows(data):
        try:
            if len(row) not in (2, 3):
                raise ValueError(f"needs `source target [weight]`, found {len(row)} fields")
            if len(row) == 3 and parsed.length is None:
                _finite(row[2], "weight")
                parsed.weighted = True
            parsed.edge(row[0], row[1], *row[2:])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    headings = ({"source", "target"}, {"src", "dst"}, {"from", "to"})
    first = True
    for number, line in enumerate(text_of(data).splitlines(), 1):
        row = re.split(r"(?:^|\s)#|^\s*%", line, maxsplit=1)[0].replace(",", " ").split()
        if row and not (first and {name.lower() for name in row[:2]} in headings):
            yield number, row
        first = first and not row


def _finite(text: Any, what: str) -> float:
    try:
        value = math.nan if isinstance(text, bool) else float(text)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{what} {str(text)[:40]!r} must be a finite number")
    return value


def text_of(data: bytes) -> str:
    """Decode a file in UTF-8, with or without a byte order mark.

    Raises ``ValueError`` for other bytes, and for a zero byte.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start}: not UTF-8 text") from None
    if "\0" in text:
        raise ValueError(f"byte {text.index(chr(0))}: a text file has no zero bytes")
    return text


def read_node_link(data: bytes, parsed: Parsed) -> None:
    """Read networkx's node-link JSON: ``{"directed": …, "nodes": [{"id": …}], "links": [{"source":
    …, "target": …}]}``.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a number of JSON")

    def whole(digits: str) -> int:
        if len(digits) > 19:
            raise ValueError(f"the number {digits[:19]}… is too long")
        return int(digits)

    try:
        document = json.loads(text_of(data), parse_constant=refuse, parse_int=whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(document, dict):
        raise ValueError("the JSON must be an object with `nodes` and `links` (or `edges`)")
    nodes, links = document.get("nodes"), document.get("links", document.get("edges"))
    if not isinstance(nodes, list) or not isinstance(links, list):
        raise ValueError("`nodes` and `links` (or `edges`) must be lists")
    parsed.directed = document.get("directed", False)
    if not isinstance(parsed.directed, bool):
        raise ValueError("`directed` must be true or false")
    for i, entry in enumerate(nodes):
        name = _field(entry, "id", f"nodes[{i}]")
        if parsed.knows(name):
            raise ValueError(f"nodes[{i}]: id {str(name)[:40]!r} stands there twice")
        parsed.node(name)
    for i, entry in enumerate(links):
        _json_link(entry, f"links[{i}]", parsed)


def _json_link(entry: Any, where: str, parsed: Parsed) -> None:
    source, target = _field(entry, "source", where), _field(entry, "target", where)
    for name in (source, target):
        if not parsed.knows(name):
            raise ValueError(f"{where}: {str(name)[:40]!r} is not among `nodes`")
    try:
        if "weight" in entry and parsed.length != "weight":
            _finite(entry["weight"], "weight")
            parsed.weighted = True
        parsed.edge(source, target, entry.get(parsed.length))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _field(entry: Any, key: str, where: str) -> Name:
    value: Any = entry.get(key) if isinstance(entry, dict) else None
    whole = isinstance(value, int | str) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise ValueError(f"{where}: needs `{key}`, a whole number or text")
    if not isinstance(value, str) and abs(value) >= 10**18:
        raise ValueError(f"{where}: `{key}` must be below 10^18")
    name: Name = value
    return name


def read_graphml(data: bytes, parsed: Parsed) -> None:
    """Read ``graph``, ``node`` and ``edge`` of GraphML; DOCTYPE, entities, ports and hyperedges are
    refused.
    """
    _GraphML(parsed).read(data)


class _GraphML:
    def __init__(self, parsed: Parsed) -> None:
        self.parsed, self.path = parsed, list[str]()
        self.declared: set[str] = set()  # canonical names of the <node>s
        self.graphs = 0
        # ids of the <key>s of the length; networkx writes one for each type
        self.length_keys: set[str] = set()
        self.ends: tuple[str, str] | None = None  # of the <edge> that is being read
        self.found: list[str] | None = None  # the text of its length, as far as it is read
        self.inside = False  # whether the text that is being read belongs to that length

    def read(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self.start, self.end
        parser.CharacterDataHandler = self.characters
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = self.forbidden
        parser.ExternalEntityRefHandler = self.forbidden
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ValueError(
                f"line {error.lineno}: not XML ({expat.ErrorString(error.code)})"
            ) from None
        except (ValueError, LookupError) as error:  # LookupError: an encoding that does not exist
            raise ValueError(f"line {parser.CurrentLineNumber}: {error}") from None
        if self.graphs != 1:
            raise ValueError("there is no <graph> in it")
        if unknown := next((name for name in self.parsed.index if name not in self.declared), None):
            raise ValueError(f"an edge names {unknown!r}, which is no <node>")

    def forbidden(self, *_: Any) -> Any:
        raise ValueError("DOCTYPE and ENTITY are refused; GraphML needs neither")

    def start(self, tag: str, found: dict[str, str]) -> None:
        tag = tag.rsplit(":", 1)[-1]
        if not self.path and tag != "graphml":
            raise ValueError(f"the document is <{tag[:40]}>, not <graphml>")
        if len(self.path) > 16:
            raise ValueError("elements are nested too deeply")
        if tag == "graph":
            self.start_graph(found)
        elif tag in ("hyperedge", "port"):
            raise ValueError(f"<{tag}> is not supported, only <node> and <edge>")
        elif tag == "key":
            self.start_key(found)
        elif tag == "node":
            name = self.need(found, "id", tag)
            if (own := canonical(name)) in self.declared:
                raise ValueError(f"node {name[:40]!r} stands there twice")
            self.declared.add(own)
            self.parsed.node(name)
        elif tag == "edge":
            if found.get("directed", default := str(self.parsed.directed).lower()) != default:
                raise ValueError("mixed directed and undirected edges are not supported")
            self.ends, self.found = (
                (self.need(found, "source", tag), self.need(found, "target", tag)),
                None,
            )
        elif tag == "data" and self.path[-1] == "edge" and found.get("key") in self.length_keys:
            self.inside, self.found = True, []
        self.path.append(tag)

    def start_key(self, found: dict[str, str]) -> None:
        if found.get("for") == "node":
            return
        if self.parsed.length is not None and found.get("attr.name") == self.parsed.length:
            self.length_keys.add(found.get("id", ""))
        else:
            self.parsed.weighted |= found.get("attr.name") == "weight"

    def characters(self, text: str) -> None:
        if self.inside and self.found is not None:
            self.found.append(text[:100])
            if len(self.found) > 100:
                raise ValueError(f"`{self.parsed.length}` is too long for a number")

    def start_graph(self, found: dict[str, str]) -> None:
        self.graphs += 1
        if self.graphs > 1:
            raise ValueError("only one <graph>, without another inside, is supported")
        default = found.get("edgedefault")
        if default not in ("directed", "undirected"):
            raise ValueError('<graph> needs edgedefault="directed" or "undirected"')
        self.parsed.directed = default == "directed"

    def end(self, _: str) -> None:
        tag, self.inside = self.path.pop(), False
        if tag == "edge" and self.ends is not None:
            self.parsed.edge(*self.ends, None if self.found is None else "".join(self.found))
            self.ends = None

    def need(self, found: dict[str, str], key: str, tag: str) -> str:
        if self.path != ["graphml", "graph"] or not found.get(key):
            raise ValueError(f"<{tag}> must stand inside <graph> and have `{key}`")
        return found[key]
