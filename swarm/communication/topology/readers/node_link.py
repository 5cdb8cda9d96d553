"""Reads graphs in JSON: networkx's node-link data in all its dialects, what d3 draws, what
Cytoscape writes, and the ``graph.json`` of a run folder.
"""

from __future__ import annotations

import json
from typing import Any

from swarm.communication.topology.readers.labelled import Labelled
from swarm.communication.topology.readers.parsed import Name, Parsed, finite, text_of

_EDGES = ("links", "edges")


def read_node_link(data: bytes, parsed: Parsed) -> None:
    """Read networkx's node-link JSON: ``{"directed": …, "nodes": [{"id": …}], "links": [{"source":
    …, "target": …}]}``.

    The links may be called ``edges``. Where the nodes have no ``id`` but a ``name`` (d3), or the
    ends of links are numbers and no id is one (networkx 1), the ends are positions in ``nodes``,
    counted from 0. What has ``elements`` is Cytoscape's JSON (:func:`_read_cytoscape`), and what
    has ``n`` and ``truncated`` is the ``graph.json`` of a run folder (:func:`_of_a_run`).
    """
    document = _document(data)
    if "nodes" not in document and {"n", "edges", "truncated"} <= document.keys():
        document = _of_a_run(document, parsed)
    if "elements" in document:
        _read_cytoscape(document, parsed)
        return
    nodes = document.get("nodes")
    key = next((key for key in _EDGES if isinstance(document.get(key), list)), _EDGES[0])
    links = document.get(key)
    if not isinstance(nodes, list) or not isinstance(links, list):
        raise ValueError(
            "`nodes` and `links` (or `edges`) must be lists, as networkx.node_link_data writes them"
        )
    parsed.directed = _directed(document, False)
    named = nodes and all(isinstance(node, dict) and "id" not in node for node in nodes)
    called = "name" if named and "name" in nodes[0] else "id"
    names: list[Name] = []
    for i, entry in enumerate(nodes):
        name = _field(entry, called, f"nodes[{i}]")
        if parsed.knows(name):
            raise ValueError(f"nodes[{i}]: {called} {str(name)[:40]!r} stands there twice")
        names.append(name)
        parsed.node(name)
        if (place := _place(entry)) is not None:
            parsed.place(name, place)
    counted = called == "name" or _counts(links, names)
    for i, entry in enumerate(links):
        _link(entry, f"{key}[{i}]", parsed, names if counted else None)


def _of_a_run(document: dict[str, Any], parsed: Parsed) -> dict[str, Any]:
    """Return ``graph.json`` of a run folder as node-link data: ``{"n": …, "directed": …, "edges":
    [[source, target], …], "pos": [[x, y], …], "names": […]}``."""
    n, edges = document["n"], document["edges"]
    names, pos = document.get("names"), document.get("pos")
    if document["truncated"]:
        raise ValueError("it has only some of the edges, as it was written for the page of a run")
    if isinstance(n, bool) or not isinstance(n, int) or n < 0 or not isinstance(edges, list):
        raise ValueError("`n` must be the number of nodes, and `edges` a list of pairs of numbers")
    parsed.require_nodes(n)
    for i, edge in enumerate(edges):
        pair = isinstance(edge, list) and len(edge) == 2
        if not pair or not all(type(end) is int and 0 <= end < n for end in edge):
            raise ValueError(f"edges[{i}]: needs two numbers from 0 to {n - 1}")
    for key, each in (("names", names), ("pos", pos)):
        if each is not None and not (isinstance(each, list) and len(each) == n):
            raise ValueError(f"`{key}` must be null, or a list with an entry for each node")
    ids = [i if names is None or names[i] is None else names[i] for i in range(n)]
    return {
        "directed": document.get("directed", False),
        "nodes": [{"id": ids[i], "pos": None if pos is None else pos[i]} for i in range(n)],
        "links": [{"source": ids[a], "target": ids[b]} for a, b in edges],
    }


def _read_cytoscape(document: dict[str, Any], parsed: Parsed) -> None:
    """Read ``{"elements": {"nodes": [{"data": {"id": …, "name": …}, "position": {"x": …, "y": …}}],
    "edges": [{"data": {"source": …, "target": …}}]}}``. ``elements`` may also be one list of both.
    """
    elements = document["elements"]
    if isinstance(elements, list):
        of_edge = ["source" in _data(one, "elements") for one in elements]
        edges: Any = [one for one, is_edge in zip(elements, of_edge, strict=True) if is_edge]
        nodes: Any = [one for one, is_edge in zip(elements, of_edge, strict=True) if not is_edge]
    elif isinstance(elements, dict):
        nodes, edges = elements.get("nodes"), elements.get("edges", [])
    else:
        nodes = edges = None
    if not isinstance(nodes, list) or not isinstance(edges, list):
        raise ValueError("`elements` must have lists `nodes` and `edges`, or be one list of both")
    found = Labelled(parsed, "edge")
    for i, node in enumerate(nodes):
        own, position = _data(node, f"nodes[{i}]"), node.get("position")
        id = found.node(_field(own, "id", f"nodes[{i}]"), own.get("name"))
        if isinstance(position, dict) and (place := _place(position)) is not None:
            found.places[id] = place
    for i, edge in enumerate(edges):
        own, where = _data(edge, f"edges[{i}]"), f"edges[{i}]"
        source, target = (_field(own, end, where) for end in ("source", "target"))
        if own.get("weight") is not None and parsed.length != "weight":
            _require_weight(own["weight"], where)
            parsed.weighted = True
        found.edge(source, target, own.get(str(parsed.length)), i + 1)
    parsed.directed = _directed(document, parsed.directed)
    found.finish()


def _directed(document: dict[str, Any], default: bool) -> bool:
    found = document.get("directed", default)
    if not isinstance(found, bool):
        raise ValueError("`directed` must be true or false")
    return found


def _data(element: Any, where: str) -> dict[str, Any]:
    own = element.get("data") if isinstance(element, dict) else None
    if not isinstance(own, dict):
        raise ValueError(f"{where}: needs an object `data`")
    return own


def _require_weight(value: Any, where: str) -> None:
    try:
        finite(value, "weight")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _document(data: bytes) -> dict[str, Any]:
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
    return document


def _place(entry: dict[str, Any]) -> tuple[Any, Any] | None:
    """Where a node is: ``pos`` as networkx has it, or ``x`` and ``y``."""
    pos = entry.get("pos")
    if isinstance(pos, list) and len(pos) == 2:
        return pos[0], pos[1]
    return (entry["x"], entry["y"]) if "x" in entry and "y" in entry else None


def _counts(links: list[Any], names: list[Name]) -> bool:
    """Whether the ends of links are positions in ``nodes``: all are numbers, and no id is one."""
    ends = (
        entry.get(end) for entry in links if isinstance(entry, dict) for end in ("source", "target")
    )
    return (
        bool(links)
        and all(isinstance(name, str) and not name.strip().isdigit() for name in names)
        and all(isinstance(end, int) for end in ends)
    )


def _link(entry: Any, where: str, parsed: Parsed, names: list[Name] | None) -> None:
    ends = [_field(entry, end, where) for end in ("source", "target")]
    if names is not None:
        ends = [_counted(end, where, names) for end in ends]
    for name in ends:
        if not parsed.knows(name):
            raise ValueError(f"{where}: {str(name)[:40]!r} is not among `nodes`")
    try:
        if "weight" in entry and parsed.length != "weight":
            finite(entry["weight"], "weight")
            parsed.weighted = True
        parsed.edge(ends[0], ends[1], entry.get(parsed.length))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _counted(end: Name, where: str, names: list[Name]) -> Name:
    if not isinstance(end, int) or not 0 <= end < len(names):
        count = len(names)
        raise ValueError(
            f"{where}: {str(end)[:40]!r} must be the position of one of the {count} `nodes`"
        )
    return names[end]


def _field(entry: Any, key: str, where: str) -> Name:
    value: Any = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, list) and value and all(isinstance(part, int | str) for part in value):
        return str(tuple(value))  # a node of networkx that is a tuple
    whole = isinstance(value, int | str) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise ValueError(f"{where}: needs `{key}`, a whole number or text")
    if not isinstance(value, str) and abs(value) >= 10**18:
        raise ValueError(f"{where}: `{key}` must be below 10^18")
    name: Name = value
    return name
