"""Reads graphs in XML, GraphML and GEXF, with a parser that expands no entity and opens no file.

networkx has readers of both. They build a tree of the whole document, and they take an edge to an
unknown node for a new node, which would hide a damaged file.
"""

from __future__ import annotations

import warnings
from typing import Any
from xml.parsers import expat

from swarm.common.names import canonical
from swarm.communication.topology.readers.labelled import Labelled
from swarm.communication.topology.readers.parsed import Parsed, finite


def read_xml(data: bytes, parsed: Parsed) -> None:
    """Read GraphML or GEXF, as the root of the document says; see :func:`read_graphml` and
    :func:`read_gexf`.
    """
    _read(data, {"graphml": GraphML(parsed), "gexf": Gexf(parsed)})


def read_graphml(data: bytes, parsed: Parsed) -> None:
    """Read ``graph``, ``node`` and ``edge`` of GraphML, and places where nodes have ``x`` and
    ``y``; DOCTYPE, entities, ports and hyperedges are refused.
    """
    _read(data, {"graphml": GraphML(parsed)})


def read_gexf(data: bytes, parsed: Parsed) -> None:
    """Read ``graph``, ``node`` and ``edge`` of GEXF, and places where nodes have a ``position``;
    DOCTYPE and entities are refused. Of a graph that changes with time all edges count, with a
    warning.
    """
    _read(data, {"gexf": Gexf(parsed)})


class _Reader:
    """What is done at the start and the end of each element."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed, self.path = parsed, list[str]()
        self.graphs, self.line = 0, 0
        self.text: list[str] | None = None  # of the element that is being read, if it matters
        self.reads = ""  # what that text is

    def start(self, tag: str, found: dict[str, str]) -> None:
        raise NotImplementedError

    def end(self, tag: str) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def start_graph(self) -> None:
        self.graphs += 1
        if self.graphs > 1:
            raise ValueError("only one <graph>, without another inside, is supported")

    def characters(self, text: str) -> None:
        if self.text is not None:
            self.text.append(text[:100])
            if len(self.text) > 100:
                raise ValueError(f"`{self.reads}` is too long for a number")


def _read(data: bytes, readers: dict[str, _Reader]) -> None:
    parser = expat.ParserCreate()
    chosen: list[_Reader] = []

    def start(tag: str, found: dict[str, str]) -> None:
        tag = tag.rsplit(":", 1)[-1]
        if not chosen:
            if tag not in readers:
                roots = " or ".join(f"<{root}>" for root in readers)
                raise ValueError(f"the document is <{tag[:40]}>, not {roots}")
            chosen.append(readers[tag])
            parser.CharacterDataHandler = chosen[0].characters
        reader = chosen[0]
        if len(reader.path) > 16:
            raise ValueError("elements are nested too deeply")
        reader.line = parser.CurrentLineNumber
        reader.start(tag, found)
        reader.path.append(tag)

    def end(_: str) -> None:
        chosen[0].end(chosen[0].path.pop())

    def forbidden(*_: Any) -> Any:
        raise ValueError("DOCTYPE and ENTITY are refused; a graph needs neither")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = forbidden
    parser.ExternalEntityRefHandler = forbidden
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(
            f"line {error.lineno}: not XML ({expat.ErrorString(error.code)})"
        ) from None
    except (ValueError, LookupError) as error:  # LookupError: an encoding that does not exist
        raise ValueError(f"line {parser.CurrentLineNumber}: {error}") from None
    if chosen[0].graphs != 1:
        raise ValueError("there is no <graph> in it")
    chosen[0].finish()


class GraphML(_Reader):
    def __init__(self, parsed: Parsed) -> None:
        super().__init__(parsed)
        self.declared: set[str] = set()  # canonical names of the <node>s
        # ids of the <key>s of the length; networkx writes one for each type
        self.length_keys: set[str] = set()
        self.axis_of: dict[str, str] = {}  # x or y, by the ids of the <key>s of nodes
        self.axis: str | None = None  # the one that is being read
        self.nodes: list[str] = []  # the <node> that is being read
        self.place: dict[str, str] = {}
        self.ends: tuple[str, str] | None = None  # of the <edge> that is being read
        self.length: str | None = None

    def start(self, tag: str, found: dict[str, str]) -> None:
        if tag == "graph":
            self.start_graph()
            default = found.get("edgedefault")
            if default not in ("directed", "undirected"):
                raise ValueError('<graph> needs edgedefault="directed" or "undirected"')
            self.parsed.directed = default == "directed"
        elif tag in ("hyperedge", "port"):
            raise ValueError(f"<{tag}> is not supported, only <node> and <edge>")
        elif tag == "key":
            self.start_key(found)
        elif tag == "node":
            self.start_node(self.need(found, "id", tag))
        elif tag == "edge":
            if found.get("directed", default := str(self.parsed.directed).lower()) != default:
                raise ValueError("mixed directed and undirected edges are not supported")
            self.ends = self.need(found, "source", tag), self.need(found, "target", tag)
            self.length = None
        elif tag == "data":
            self.start_data(found.get("key", ""))
        elif tag == "Geometry" and self.nodes:  # of yEd
            self.place.update({axis: found[axis] for axis in "xy" if axis in found})

    def start_node(self, name: str) -> None:
        if (own := canonical(name)) in self.declared:
            raise ValueError(f"node {name[:40]!r} stands there twice")
        self.declared.add(own)
        self.parsed.node(name)
        self.nodes, self.place = [name], {}

    def start_key(self, found: dict[str, str]) -> None:
        name, of, id = found.get("attr.name"), found.get("for"), found.get("id", "")
        if of in ("node", "all") and name in ("x", "y"):
            self.axis_of[id] = name
        if of == "node":
            return
        if self.parsed.length is not None and name == self.parsed.length:
            self.length_keys.add(id)
        else:
            self.parsed.weighted |= name == "weight"

    def start_data(self, key: str) -> None:
        parent = self.path[-1] if self.path else ""
        if parent == "edge" and key in self.length_keys:
            self.text, self.reads = [], str(self.parsed.length)
        elif parent == "node" and key in self.axis_of:
            self.text, self.reads = [], self.axis_of[key]
            self.axis = self.reads

    def end(self, tag: str) -> None:
        if self.text is not None:
            text, self.text = "".join(self.text), None
            if self.axis is not None:
                self.place[self.axis], self.axis = text, None
            else:
                self.length = text
        if tag == "edge" and self.ends is not None:
            self.parsed.edge(*self.ends, self.length)
            self.ends = None
        elif tag == "node" and self.nodes:
            if self.place.keys() >= {"x", "y"}:
                self.parsed.place(self.nodes[0], (self.place["x"], self.place["y"]))
            self.nodes = []

    def finish(self) -> None:
        if unknown := next((name for name in self.parsed.index if name not in self.declared), None):
            raise ValueError(f"an edge names {unknown!r}, which is no <node>")

    def need(self, found: dict[str, str], key: str, tag: str) -> str:
        if self.path != ["graphml", "graph"] or not found.get(key):
            raise ValueError(f"<{tag}> must stand inside <graph> and have `{key}`")
        return found[key]


class Gexf(_Reader):
    def __init__(self, parsed: Parsed) -> None:
        super().__init__(parsed)
        self.found = Labelled(parsed)
        self.of_edges = False  # whether <attribute>s of edges are being read
        self.length_keys: set[str] = set()  # ids of the <attribute>s of the length
        self.nodes: list[str] = []  # the <node>s that are being read, each inside the one before
        self.edge: tuple[str, str] | None = None
        self.length: Any = None
        self.default, self.kind = "undirected", ""  # of edges; of the <edge> being read
        self.kinds: set[bool] = set()  # whether edges are directed

    def start(self, tag: str, found: dict[str, str]) -> None:
        if tag == "graph":
            self.start_graph()
            self.default = found.get("defaultedgetype", "undirected")
            if found.get("mode") == "dynamic":
                warnings.warn(
                    "the GEXF file has a graph that changes with time; all its edges count in all"
                    " rounds",
                    stacklevel=6,
                )
        elif tag == "attributes":
            self.of_edges = found.get("class") == "edge"
        elif tag == "attribute" and self.of_edges:
            if self.parsed.length is not None and found.get("title") == self.parsed.length:
                self.length_keys.add(found.get("id", ""))
        elif tag == "node":
            self.nodes.append(self.found.node(self.need(found, "id", tag), found.get("label")))
        elif tag == "position" and self.nodes:
            self.found.places[self.nodes[-1]] = found.get("x"), found.get("y")
        elif tag == "edge":
            self.start_edge(found)
        elif tag == "attvalue" and self.edge is not None:
            of_length = found.get("for", found.get("id", "")) in self.length_keys
            self.length = found.get("value") if of_length else self.length

    def start_edge(self, found: dict[str, str]) -> None:
        self.edge = self.need(found, "source", "edge"), self.need(found, "target", "edge")
        self.kind = found.get("type", self.default)
        if self.kind not in ("directed", "undirected", "mutual"):
            kinds = "directed, undirected or mutual"
            raise ValueError(f"the type {self.kind[:40]!r} of an edge must be {kinds}")
        self.length = None
        if self.parsed.length == "weight":
            self.length = found.get("weight")
        elif "weight" in found:
            finite(found["weight"], "weight")
            self.parsed.weighted = True

    def end(self, tag: str) -> None:
        if tag == "node" and self.nodes:
            self.nodes.pop()
        elif tag == "edge" and self.edge is not None:
            source, target = self.edge
            if self.kind != "mutual":  # which is an edge each way
                self.kinds.add(self.kind == "directed")
            else:
                self.found.edge(target, source, self.length, self.line)
            if len(self.kinds) > 1:
                raise ValueError("mixed directed and undirected edges are not supported")
            self.found.edge(source, target, self.length, self.line)
            self.edge = None

    def finish(self) -> None:
        self.parsed.directed = self.default == "directed" if not self.kinds else True in self.kinds
        self.found.finish()

    def need(self, found: dict[str, str], key: str, tag: str) -> str:
        if "graph" not in self.path or not found.get(key):
            raise ValueError(f"<{tag}> must stand inside <graph> and have `{key}`")
        return found[key]
