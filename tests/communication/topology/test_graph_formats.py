"""Whatever networkx, Gephi, SciPy and pandas write is the graph that was written, and a damaged
file is refused with its place.
"""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from swarm.common.errors import ConfigError
from tests.communication.topology.graph_texts import as_json, file_of, named_edges, written


def gephi(separator: str) -> Callable[[Any], bytes]:
    """Gephi's table of edges, with columns in its order and all texts in quotes."""

    def of(graph: Any) -> bytes:
        kind = "Directed" if graph.is_directed() else "Undirected"
        rows = [f'"{u}"{separator}"{v}"{separator}{kind}{separator}{i}{separator}{separator}1.0'
                for i, (u, v) in enumerate(graph.edges)]  # fmt: skip
        return "\n".join(
            [separator.join(["Source", "Target", "Type", "Id", "Label", "Weight"]), *rows]
        ).encode()

    return of


def positions(graph: Any) -> bytes:
    """The node-link data of networkx 1, whose links are positions."""
    place = {node: i for i, node in enumerate(graph)}
    return json.dumps({
        "directed": graph.is_directed(),
        "nodes": [{"id": str(node)} for node in graph],
        "links": [{"source": place[u], "target": place[v]} for u, v in graph.edges],
    }).encode()  # fmt: skip


KINDS: dict[str, Callable[[Any], bytes]] = {
    "a.edgelist": written(nx.write_edgelist, delimiter="\t"),
    "b.csv": written(nx.write_edgelist, delimiter=","),
    "c.csv": written(nx.write_edgelist, delimiter=";", data=False),
    "d.txt": written(nx.write_adjlist, delimiter="\t"),
    "e.adjlist": written(nx.write_adjlist, delimiter=","),
    "f.txt": written(nx.write_multiline_adjlist, delimiter="\t"),
    "g.gml": written(nx.write_gml, stringizer=str),
    "h.net": written(nx.write_pajek),
    "i.gexf": written(nx.write_gexf),
    "j.xml": written(nx.write_gexf),
    "k.graphml": written(nx.write_graphml),
    "l.json": as_json(nx.node_link_data, edges="links"),
    "m.json": as_json(nx.node_link_data, edges="edges"),
    "n.csv": gephi(","),
    "o.csv": gephi(";"),
    "p.txt": written(nx.write_pajek),
    "q.txt": written(nx.write_gml, stringizer=str),
    "r.edgelist.gz": lambda g: gzip.compress(KINDS["a.edgelist"](g)),
    "s.gml.bz2": lambda g: bz2.compress(KINDS["g.gml"](g)),
}


UNDIRECTED = nx.relabel_nodes(
    nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)]),
    {0: "Mr Hi", 1: "John A", 2: "Zoë", 3: "O'Neil 7"},
)


DIRECTED = nx.DiGraph([(10, 2), (2, 33), (33, 10), (10, 33)])
for one in (UNDIRECTED, DIRECTED):
    nx.set_edge_attributes(one, {edge: 1 + i for i, edge in enumerate(one.edges)}, "weight")


TUPLES = nx.grid_2d_graph(2, 3)


def edges_of(graph: Any) -> set[Any]:
    kind = tuple if graph.is_directed() else frozenset
    return {kind(map(str, edge)) for edge in graph.edges}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("theirs", [UNDIRECTED, DIRECTED, TUPLES], ids=["names", "one way", "grid"])
def test_what_is_written_is_read(tmp_path: Path, name: str, theirs: Any) -> None:
    if theirs is TUPLES and name in ("b.csv", "e.adjlist", "g.gml", "q.txt", "s.gml.bz2"):
        pytest.skip("the separator is a part of the names, or the names lose their blanks")
    own = file_of(tmp_path, name, KINDS[name](theirs), len(theirs), directed=theirs.is_directed())
    assert own.graph(0).directed == theirs.is_directed()
    assert named_edges(own) == edges_of(theirs)


def test_nodes_that_are_tuples_are_read_from_networkx_own_edge_list(tmp_path: Path) -> None:
    own = file_of(tmp_path, "g.edgelist", written(nx.write_edgelist)(TUPLES), 6)
    assert named_edges(own) == edges_of(TUPLES)


@pytest.mark.parametrize("graph", [UNDIRECTED, DIRECTED])
def test_older_json_counts_positions(tmp_path: Path, graph: Any) -> None:
    if graph is UNDIRECTED:
        assert named_edges(file_of(tmp_path, "g.json", positions(graph), 4)) == edges_of(graph)
    else:  # ids that are numbers are never positions
        with pytest.raises(ConfigError, match=r"links\[0\]: '0' is not among `nodes`"):
            file_of(tmp_path, "g.json", positions(graph), 3)
    d3 = '{"nodes": [{"name": "Myriel"}, {"name": "Napoleon"}], "links": [{"source": 1, "target": 0, "value": 1}]}'
    assert file_of(tmp_path, "d3.json", d3, 2).node_names == ("Myriel", "Napoleon")
    with pytest.raises(ConfigError, match=r"links\[0\]: '2' must be the position of one of the 2"):
        file_of(tmp_path, "d3.json", d3.replace('"source": 1', '"source": 2'), 2)


def test_data_as_numpy_2_writes_them_are_numbers(tmp_path: Path) -> None:
    """Today a weight that was computed is written as ``np.float64(2.5)``."""
    theirs = nx.Graph([(0, 1, {"dist": np.float64(2.5)})])
    data = written(nx.write_edgelist)(theirs)
    assert b"np.float64" in data
    length = file_of(tmp_path, "g.txt", data, 2, length="dist").graph(0).length_E
    assert length is not None
    assert length.tolist() == [2.5, 2.5]
    gml = written(nx.write_gml)(theirs)
    assert b"NP.FLOAT64" in gml
    length = file_of(tmp_path, "g.gml", gml, 2, length="dist").graph(0).length_E
    assert length is not None
    assert length.tolist() == [2.5, 2.5]


def test_data_may_say_that_a_number_is_missing(tmp_path: Path) -> None:
    data = written(nx.write_edgelist)(nx.Graph([(0, 1, {"score": float("nan"), "why": "no nan"})]))
    assert named_edges(file_of(tmp_path, "g.txt", data, 2)) == {frozenset("01")}
    with pytest.raises(ConfigError, match="line 1: score 'nan' must be a finite number"):
        file_of(tmp_path, "g.txt", data, 2, length="score")
