"""Reads GML."""

from __future__ import annotations

import re
from typing import Any

from swarm.communication.topology.readers.labelled import Labelled
from swarm.communication.topology.readers.parsed import Parsed, finite, text_of

_GRAPH = re.compile(r"^(\s*graph\s*\[)", re.MULTILINE)
_DIRECTED = re.compile(r'"[^"]*"|\bdirected\s+("[^"]*"|[^\s\]]+)')  # or a text, which is skipped
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
    head = re.split(r"\b(?:node|edge)\s*\[", text, maxsplit=1)[0]
    mark = next((each[1] for each in _DIRECTED.finditer(head) if each[1]), "0")
    if mark not in ("0", "1"):  # networkx takes every word for yes
        raise ValueError(f"`directed` must be 0 or 1, not {mark[:40]}")
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
