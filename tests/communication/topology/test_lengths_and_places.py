"""Lengths of links, and places and names of nodes, in files of graphs."""

from __future__ import annotations

import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.topology.file import File
from swarm.communication.topology.readers.arrays import LARGE
from tests.communication.topology.graph_texts import as_json, file_of, named_edges, written

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
    said = r"(line [0-9]+|edge . – .): the edge needs `far`"
    if name == "f.csv":
        said = r"^length=far: is no column of the heading in line 1; its columns are dist, Target, "
    with pytest.raises(ConfigError, match=said):
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


@pytest.mark.parametrize("name", ["g.csv", "large.csv", "g.parquet", "g.npz"])
@pytest.mark.parametrize("option", ["weight", "length"])
def test_a_number_of_edges_that_a_heading_lacks_is_refused(
    tmp_path: Path, name: str, option: str
) -> None:
    """A third column counts whatever its name only where columns have no names."""
    frame = pd.DataFrame({"source": [0, 1], "target": [1, 2], "strength": [0.4, 0.3]})
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    elif name.endswith(".npz"):
        np.savez(path, **{str(key): frame[key].to_numpy() for key in frame})
    else:
        times = LARGE // 8 if name == "large.csv" else 1
        path.write_text("source,target,strength\n" + "0,1,0.4\n1,2,0.3\n" * times)
    for word, hint in (("foo", ""), ("strenght", r" \(did you mean strength\?\)")):
        said = f"^{option}={word}: is no column of the (table|heading in line 1){hint}; its columns"
        with pytest.raises(ConfigError, match=f"{said} are source, target, strength$"):
            File(3, str(path), **{option: word})  # type: ignore[arg-type]
    assert File(3, str(path), **{option: "Strength"}).graph(0).n == 3  # type: ignore[arg-type]


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
