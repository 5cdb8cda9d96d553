"""Whatever networkx, Gephi, SciPy and pandas write is the graph that was written, and a damaged
file is refused with its place.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import mmwrite

from swarm.common.errors import ConfigError
from swarm.communication.topology.file import File
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.readers import arrays
from swarm.communication.topology.readers.parsed import Parsed


def written(write: Callable[..., Any], **options: Any) -> Callable[[Any], bytes]:
    def of(graph: Any) -> bytes:
        file = io.BytesIO()
        write(graph, file, **options)
        return file.getvalue()

    return of


def as_json(make: Callable[..., Any], **options: Any) -> Callable[[Any], bytes]:
    return lambda graph: json.dumps(make(graph, **options)).encode()


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


def file_of(folder: Path, name: str, data: bytes | str, devices: int, **options: Any) -> File:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with warnings.catch_warnings(action="ignore"):
        return File(devices, str(path), **options)


def named_edges(file: File) -> set[Any]:
    graph = file.graph(0)
    names = file.node_names or tuple(map(str, range(graph.n)))
    kind = tuple if graph.directed else frozenset
    return {kind(names[i] or "" for i in edge) for edge in graph.links_E2.tolist()}


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


# --- lengths and places


FAR = nx.Graph()
FAR.add_edge("b", "a", dist=2.5, weight=7.0)
FAR.add_edge("b", "c", dist=0.0, weight=7.0)
PAJEK = '*Vertices 3\n1 "a"\n2 "b"\n3 "c"\n*Edges\n2 1 7 dist 2.5\n2 3 7 dist 0\n'
LENGTHS: dict[str, bytes] = {
    "a.txt": written(nx.write_edgelist)(FAR),
    "b.txt": written(nx.write_multiline_adjlist)(FAR),
    "c.gml": written(nx.write_gml)(FAR),
    "d.gexf": written(nx.write_gexf)(FAR),
    "e.net": PAJEK.encode(),
    "f.csv": b"dist,Target,Source,Weight\n2.5,a,b,7\n9,b,a,7\n0,c,b,7\n",
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths(tmp_path: Path, name: str) -> None:
    graph = file_of(tmp_path, name, LENGTHS[name], 3, length="dist").graph(0)
    assert graph.links_E2.tolist() == [[0, 1], [1, 2]]
    assert graph.length_E is not None
    assert graph.length_E.tolist() == [2.5, 2.5, 0.0, 0.0]
    assert file_of(tmp_path, name, LENGTHS[name], 3).graph(0).length_E is None
    if name != "f.csv":
        weights = file_of(tmp_path, name, LENGTHS[name], 3, length="weight").graph(0).length_E
        assert weights is not None
        assert set(weights) == {7.0}
    with pytest.raises(ConfigError, match=r"(line [0-9]+|edge . – .): the edge needs `far`"):
        file_of(tmp_path, name, LENGTHS[name], 3, length="far")


def test_lengths_in_arrays(tmp_path: Path) -> None:
    """Of parallel edges the shortest counts, as in text."""
    frame = pd.DataFrame({"u": [1, 0, 1, 1], "v": [0, 1, 2, 1], "dist": [2.5, 9, 0, 1]})
    frame.to_parquet(tmp_path / "a.parquet")
    np.savez(tmp_path / "b.npz", **{str(k): frame[k].to_numpy() for k in frame})
    np.save(tmp_path / "c.npy", frame.to_numpy())
    for path in sorted(tmp_path.iterdir()):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no weights that go unused
            graph = File(3, str(path), length="dist").graph(0)
        assert graph.length_E is not None, path
        assert graph.length_E.tolist() == [2.5, 2.5, 0.0, 0.0], path


def placed() -> dict[str, bytes]:
    theirs = nx.Graph([("b", "a"), ("b", "c")])
    where = {"a": (0.0, 1.0), "b": (2.0, 3.5), "c": (-4.0, 5.0)}
    nx.set_node_attributes(theirs, where, "pos")
    found = {"a.gml": written(nx.write_gml)(theirs), "b.json": as_json(nx.node_link_data)(theirs)}
    for node in theirs:
        x, y = theirs.nodes[node].pop("pos")
        theirs.nodes[node].update(x=x, y=y)
    found["c.graphml"] = written(nx.write_graphml)(theirs)
    found["d.net"] = written(nx.write_pajek)(theirs)
    found["e.json"] = as_json(nx.node_link_data)(theirs)
    for node in theirs:
        x, y = theirs.nodes[node].pop("x"), theirs.nodes[node].pop("y")
        theirs.nodes[node]["viz"] = {"position": {"x": x, "y": y, "z": 0.0}}
    found["f.gexf"] = written(nx.write_gexf)(theirs)
    nodes = "".join(
        f'node [ id {i} label "{n}" graphics [ x {x} y {y} ] ]\n' for i, (n, (x, y)) in enumerate(where.items())
    )  # fmt: skip
    found["g.gml"] = (
        f"graph [\n{nodes}edge [ source 0 target 1 ]\nedge [ source 1 target 2 ] ]".encode()
    )
    return found


@pytest.mark.filterwarnings("ignore")
def test_places_of_nodes_reach_the_graph(tmp_path: Path) -> None:
    for name, data in placed().items():
        pos_N2 = file_of(tmp_path, name, data, 3).graph(0).pos_N2
        assert pos_N2 is not None, name
        assert pos_N2.tolist() == [[0.0, 1.0], [2.0, 3.5], [-4.0, 5.0]], name
    nowhere = written(nx.write_pajek)(nx.path_graph(3))  # all of them at 0, 0
    assert file_of(tmp_path, "h.net", nowhere, 3).graph(0).pos_N2 is None
    some = placed()["c.graphml"].replace(b">-4.0<", b">west<")
    assert file_of(tmp_path, "i.graphml", some, 3).graph(0).pos_N2 is None


def test_labels_are_names_if_they_tell_nodes_apart(tmp_path: Path) -> None:
    node = 'node [ id {} label "{}" ]\n'
    ends = "edge [ source 7 target 5 ]\nedge [ source 5 target 7 ] ]"
    good = "graph [\n" + node.format(7, "Adam B") + node.format(5, "Zoe") + ends
    assert file_of(tmp_path, "g.gml", good, 2).node_names == ("Adam B", "Zoe")
    (tmp_path / "b.gml").write_text(good.replace("Zoe", "Adam B"))
    with pytest.warns(UserWarning, match="labels some nodes alike or not at all"):
        assert File(2, str(tmp_path / "b.gml")).node_names == ("5", "7")


@pytest.mark.parametrize(
    ("name", "text", "edges"),
    [
        ("g.net", "*Vertices 3\n*Arcs\n1 2\n2 3\n*Edges\n1 3 2.5\n", "12 23 13 31"),
        ("g.net", "*Vertices 3\n*Arcslist\n1 2 3\n2 3\n3 1\n", "12 13 23 31"),
        ("g.net", "*network x\n*Vertices 3\n*Edgeslist\n% why\n1 2 3\n", "12 13"),
        ("g.net", "*Vertices 3\n*Matrix\n0 1 0\n0 0 2\n.5 0 0\n", "12 23 31"),
        ("g.net", "*Vertices 3\n*Matrix\n0 1 0\n1 0 2\n0 2 0\n", "12 23"),
        (
            "g.gexf",
            '<gexf><graph defaultedgetype="directed"><nodes><node id="1"/><node id="2"/><node id="3"/>'
            '</nodes><edges><edge source="1" target="2" type="mutual"/><edge source="2" target="3"/>'
            '<edge source="3" target="1"/></edges></graph></gexf>',
            "12 21 23 31",
        ),
    ],
)
def test_one_way_and_both_ways_in_one_file(
    tmp_path: Path, name: str, text: str, edges: str
) -> None:
    own = file_of(tmp_path, name, text, 3)
    kind = tuple if own.graph(0).directed else frozenset
    assert own.graph(0).directed == (len(edges) > 5)
    assert named_edges(own) == {kind(edge) for edge in edges.split()}


# --- headings


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ("id_1,id_2\n3,1\n1,2\n", ["1-3", "1-2"]),
        ("Target;Source\n3;1\n1;2\n", ["1-3", "1-2"]),
        ('"source","target"\n"Smith, J","Doe"\n"Doe","Li Wu"\n', ["Doe-Smith, J", "Doe-Li Wu"]),
        ("u v weight\n3 1 2.5\n1 2 1\n", ["1-3", "1-2"]),
        ("u v\n3 1\n1 2\n", ["1-3", "1-2"]),
        ("u v\nv w\n", ["u-v", "v-w"]),
        ("Mr Hi\tJohn A\nZoe\tMr Hi\n", ["John A-Mr Hi", "Mr Hi-Zoe"]),
        ("0, 1,\n1, 2,\n", ["0-1", "1-2"]),
        ("FromNodeId\tToNodeId\n3\t1\n1\t2\n", ["1-3", "1-2"]),
    ],
)
def test_headings_and_names_with_blanks(tmp_path: Path, text: str, edges: list[str]) -> None:
    found = named_edges(file_of(tmp_path, "g.csv", text, 3))
    assert {"-".join(sorted(edge)) for edge in found} == set(edges)


def test_directed_columns_follow_the_heading(tmp_path: Path) -> None:
    own = file_of(tmp_path, "g.csv", "target,source\nb,a\nc,b\na,c\n", 3, directed=True)
    assert named_edges(own) == {("a", "b"), ("b", "c"), ("c", "a")}


# --- what is refused

XML = '<gexf><graph defaultedgetype="{}"><nodes>{}</nodes><edges>{}</edges></graph></gexf>'
TWO = '<node id="a"/><node id="b"/>'
MTX = "%%MatrixMarket matrix coordinate real general\n"
REFUSED: dict[str, tuple[str, str | bytes, str]] = {
    "data that is no dictionary": ("g.txt", "0 1 {}\n1 2 {1, 2}\n", "line 2: '{1, 2}' must be a dict"),
    "data that would be run": (
        "g.txt",
        "0 1 {'weight': __import__('os').getpid()}\n",
        "line 1: .* must be a dictionary of numbers",
    ),
    "deep data": ("g.txt", "0 1 {" + "[" * 5000 + "}\n", "line 1: .* must be a dictionary"),
    "long data": ("g.txt", "0 1 {'a': '" + "x" * 10_000 + "'}\n", "line 1: .*at most 10000 char"),
    "text weight in data": ("g.txt", "0 1 {'weight': 'heavy'}\n", "line 1: weight 'heavy' must be"),
    "names with blanks": ("g.txt", "Mr Hi John A {}\n", "line 1: .*4 fields .*tabs or commas"),
    "two ways to split": ("g.csv", "Anna,Agent 7\nBo,Agent 8\n", "line 1: .*at blanks or at `,`; put"),
    "a line without its separator": ("g.csv", "Mr Hi,John A\nZoe\n", "line 2: has no `,`, which"),
    "unknown heading": ("g.csv", "who,whom\n1,2\n2,3\n", "line 1: 'who,whom' seems to be a heading"),
    "heading with a column twice": ("g.csv", "source,target,source\n1,2,3\n", "'source' is there twice"),
    "short row": ("g.csv", "source,target,weight\n1,2,1\n2,3\n", "line 3: has 2 fields, the heading 3"),
    "text weight in a table": ("g.csv", "source,target,weight\n1,2,x\n", "line 2: weight 'x' must"),
    "mixed types": (
        "g.csv",
        "Source,Target,Type\n1,2,Directed\n2,1,Undirected\n",
        "line 3: mixed directed and undirected",
    ),
    "unknown type": ("g.csv", "Source,Target,Type\n1,2,Both\n", "line 2: the type 'Both' must be"),
    "adjacency list with blanks": (
        "g.adjlist",
        "# x\n# GMT today\n#\nMr Hi John A\nJohn A\n",
        "line 4: 'Hi' has no line of its own; where names have blanks",
    ),
    "multiline, too few": ("g.multiline_adjlist", "a 2\nb {}\n", "line 2: 1 neighbours of 'a' are"),
    "multiline, no number": ("g.multiline_adjlist", "a b\n", "line 1: needs `node NUMBER_OF"),
    "gml, empty": ("g.gml", "", "not GML .input contains no graph"),
    "gml, rubbish": ("g.gml", "graph [\nnode [ id 0 ]\n!!\n]", "line 3: not GML .cannot tokenize"),
    "gml, unknown end": (
        "g.gml",
        "graph [\nnode [ id 0 ]\nedge [ source 0 target 9 ]\n]",
        "not GML .edge #0 has undefined target 9",
    ),
    "gml, deep": ("g.gml", "graph [ " + "a [ " * 5000, "nested too deeply"),
    "gml, node twice": ("g.gml", "graph [\nnode [ id 0 ]\nnode [ id 0 ]\n]", "node id 0 is duplicated"),
    "gml, text weight": (
        "g.gml",
        'graph [\nnode [ id 0 ]\nedge [ source 0 target 0 weight "x" ]\n]',
        "edge 0 – 0: weight 'x' must be a finite number",
    ),
    "gml, binary": ("g.gml", b"graph [\xff\xfe", "byte 7: not UTF-8"),
    "pajek, empty": ("g.net", "", "no line `.Vertices NUMBER`"),
    "pajek, unknown end": ("g.net", "*Vertices 2\n*Edges\n1 3\n", "line 3: an edge names '3', which"),
    "pajek, one end": ("g.net", "*Vertices 2\n*Edges\n1\n", "line 3: needs two vertices, found '1'"),
    "pajek, huge": ("g.net", "*Vertices 999999999\n", "line 1: more than max_nodes=1000000"),
    "pajek, too few": ("g.net", '*Vertices 3\n1 "a"\n*Edges\n', "line 3: there are 1 vertices, and"),
    "pajek, text weight": ("g.net", "*Vertices 2\n*Edges\n1 2 x\n", "line 3: weight 'x' must be"),
    "pajek, section": ("g.net", "*Vertices 2\n*Events\n", "line 2: the section .events is not"),
    "pajek, ragged": ("g.net", "*Vertices 2\n*Matrix\n1 0\n1\n", "line 4: a row of the matrix has 2"),
    "pajek, short": ("g.net", "*Vertices 2\n*Matrix\n1 0\n", "line 3: the matrix has 1 of 2 rows"),
    "gexf, unknown end": (
        "g.gexf",
        XML.format("undirected", TWO, '\n<edge source="a" target="z"/>'),
        "line 2: an edge names 'z', which is no node of the file",
    ),
    "gexf, entities": (
        "g.gexf",
        '<!DOCTYPE g [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + XML.format("directed", TWO, "&b;"),
        "DOCTYPE and ENTITY are refused",
    ),
    "gexf, node twice": ("g.gexf", XML.format("directed", TWO + TWO, ""), "'a' stands there twice"),
    "gexf, mixed": (
        "g.gexf",
        XML.format(
            "undirected",
            TWO,
            '<edge source="a" target="b"/>\n<edge source="b" target="a" type="directed"/>',
        ),
        "line 2: mixed directed and undirected",
    ),
    "gexf, text weight": (
        "g.gexf",
        XML.format("undirected", TWO, '<edge source="a" target="b" weight="x"/>'),
        "line 1: weight 'x' must be",
    ),
    "gexf, type": (
        "g.gexf",
        XML.format("undirected", TWO, '<edge source="a" target="b" type="odd"/>'),
        "the type 'odd' of an edge must be",
    ),
    "gexf, no id": ("g.gexf", XML.format("directed", "<node/>", ""), "<node> must .* have `id`"),
    "gexf, other root": ("g.gexf", "<graphml/>", "line 1: the document is <graphml>, not <gexf>"),
    "matrix, not square": ("g.mtx", MTX + "2 3 1\n1 2 1\n", "needs a square matrix, not 2 × 3"),
    "matrix, one way": ("g.mtx", MTX + "2 2 1\n1 2 1\n", "row 0, column 1 .*topology.directed=true"),
    "matrix, too few": ("g.mtx", MTX + "2 2 400000\n1 2 1\n", "it states 400000 entries but is shorter"),
    "matrix, huge": ("g.mtx", MTX + "99999999 99999999 1\n1 2 1\n", "more than max_nodes"),
    "matrix, outside": ("g.mtx", MTX + "2 2 1\n1 9 1\n", "Line 3: .*out of bounds"),
    "matrix, nan": ("g.mtx", MTX + "2 2 2\n1 2 nan\n2 1 1\n", "entry 1 is not a finite number"),
    "matrix, empty": ("g.mtx", "", "."),
    "npy, objects": ("g.npy", b"\x93NUMPYrubbish", "not an array of numbers"),
    "parquet, rubbish": ("g.parquet", b"PAR1 rubbish", "cannot be read as .parquet"),
    "gz, rubbish": ("g.txt.gz", b"\x1f\x8brubbish", "."),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_damaged_files_are_refused_with_their_place(tmp_path: Path, case: str) -> None:
    name, content, message = REFUSED[case]
    with pytest.raises(
        ConfigError, match=rf"^path=.*(cannot be read as a graph|unpacked).*{message}"
    ):
        file_of(tmp_path, name, content, 2)


def test_arrays_that_are_no_graph(tmp_path: Path) -> None:
    for array, message in [
        (np.zeros((2, 2)), "a 2 × 2 array can hold edges or an adjacency matrix"),
        (np.zeros((5, 7)), r"\[E, 2\], \[E, 3\], \[2, E\] or \[N, N\] is needed, not \[5, 7\]"),
        (np.array([[0, 1], [1, 2.5], [2, 0]]), r"row 1 .*target 2.5 must be a whole number"),
        (np.array([["a", "b"]]), "an array of numbers .* is needed"),
        (np.array([[0, 1, 1], [1, 2, np.nan], [0, 1, 1], [0, 2, 1]]), "row 1 .*weight 'nan' must"),
        (np.triu(np.ones((4, 4))), r"has row 0, column 1 .*topology.directed=true"),
        (np.full((4, 4), np.inf), r"row 0, column 0 .*not a finite number"),
    ]:
        np.save(tmp_path / "g.npy", array)
        with pytest.raises(ConfigError, match=f"^path=.*cannot be read as a graph: .*{message}"):
            File(3, str(tmp_path / "g.npy"))
    pd.DataFrame({"who": [1], "whom": [2]}).to_parquet(tmp_path / "g.parquet")
    with pytest.raises(ConfigError, match=r"no two of its columns \(who, whom\) are called source"):
        File(2, str(tmp_path / "g.parquet"))
    pd.DataFrame({"source": ["a", None], "target": ["b", "c"]}).to_parquet(tmp_path / "g.parquet")
    with pytest.raises(ConfigError, match=r"row 1 \(counted from 0\): source is missing"):
        File(2, str(tmp_path / "g.parquet"))
    np.save(tmp_path / "o.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ConfigError, match="not an array of numbers"):
        File(2, str(tmp_path / "o.npy"))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.txt.gz").write_bytes(gzip.compress(b"0 1\n" * 1_000_000))
    with pytest.raises(ConfigError, match="unpacks to more than max_mib=1; raise max_mib"):
        File(2, str(tmp_path / "g.txt.gz"), max_mib=1)


# --- arrays


def test_arrays_and_matrices_are_the_graph_they_hold(tmp_path: Path) -> None:
    for theirs in (nx.karate_club_graph(), nx.circulant_graph(7, [1, 2], nx.DiGraph)):
        expected, one_way = Graph.from_networkx(theirs), theirs.is_directed()
        pairs, n = np.array(theirs.edges), len(theirs)
        matrix = nx.to_scipy_sparse_array(theirs, format="coo")
        np.save(tmp_path / "a.npy", pairs)
        np.save(tmp_path / "b.npy", pairs.T.astype(np.uint16))
        np.save(tmp_path / "c.npy", matrix.toarray())
        np.savez(tmp_path / "d.npz", source=pairs[:, 0], target=pairs[:, 1])
        np.savez(tmp_path / "e.npz", edge_index=pairs.T.astype(np.float32))
        pd.DataFrame(pairs, columns=["src", "dst"]).to_parquet(tmp_path / "f.parquet")
        mmwrite(tmp_path / "g.mtx", matrix)
        mmwrite(tmp_path / "h.mtx", matrix.toarray())
        for path in sorted(tmp_path.iterdir()):
            with warnings.catch_warnings(action="ignore"):
                own = File(n, str(path), directed=one_way)
            np.testing.assert_array_equal(own.graph(0).src_E, expected.src_E, str(path))
            np.testing.assert_array_equal(own.graph(0).dst_E, expected.dst_E, str(path))
            assert own.node_names is None


def test_numbers_never_become_python_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parsed, "node", lambda *_: pytest.fail("a node became an object"))
    monkeypatch.setattr(arrays, "LARGE", 0)
    ring = np.stack([np.arange(1000), (np.arange(1000) + 1) % 1000], axis=1)
    np.save(tmp_path / "a.npy", ring)
    np.savetxt(tmp_path / "b.txt", ring, "%d", header="SNAP\nFromNodeId ToNodeId")
    np.savetxt(tmp_path / "c.csv", ring, "%d", delimiter=",", header="source,target", comments="")
    pd.DataFrame(ring, columns=["u", "v"]).to_parquet(tmp_path / "d.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert File(1000, str(path)).graph(0).links_E2.shape == (1000, 2), path
    gaps = 5 + 10**12 * ring  # names that say something are kept
    np.save(tmp_path / "a.npy", gaps)
    assert File(1000, str(tmp_path / "a.npy")).node_names == tuple(
        str(5 + 10**12 * i) for i in range(1000)
    )


NAMES = st.sampled_from(
    [
        "0",
        "1",
        "2",
        "10",
        "007",
        "-3",
        "2.0",
        "a",
        "b c",
        "x",
        "NA",
        "1e3",
        "1.5",
        "+4",
        "1_0",
        "9223372036854775808",
        "",
    ]
)
SPACES = st.sampled_from([" ", "\t", ",", ", ", ";", "  "])
LINES = st.one_of(
    st.tuples(NAMES, SPACES, NAMES).map("".join),
    st.tuples(NAMES, SPACES, NAMES, SPACES, st.sampled_from(["1", "2.5", "1e-7", "0.1234567890123456789", "nan", "x", ""])).map("".join),
    st.sampled_from(["", "# c", "source,target", "u v", "0 1 {}", "source target weight"]),
)  # fmt: skip


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.lists(LINES, max_size=5),
        st.tuples(SPACES, st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=5)).map(
            lambda drawn: [drawn[0].join(pair) for pair in drawn[1]]
        ),
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_large_edge_lists_are_read_as_small_ones(lines: list[str], end: str, far: bool) -> None:
    """What pandas reads is what the slow reader would have read, or pandas leaves it to that."""
    data = (end.join(lines) + end).encode()
    fast, slow = (Parsed(100, 100, length="far" if far else None) for _ in range(2))
    with warnings.catch_warnings(action="ignore"):
        if not arrays._read_plain(data, fast):
            return
    arrays.read_edge_list(data, slow)
    assert fast.names == slow.names
    assert fast.ranked().tolist() == slow.ranked().tolist()
    assert list(fast.lengths) == list(slow.lengths)
    assert (fast.weighted, fast.directed) == (slow.weighted, slow.directed)
