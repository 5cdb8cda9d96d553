"""Graph files: three formats read alike, and hostile ones refused with a message."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.common.errors import ConfigError
from swarm.communication.topology.file import File
from swarm.communication.topology.graph import Graph


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def links(path: str, devices: int, **options: Any) -> list[list[int]]:
    found: list[list[int]] = File(devices, path, **options).graph(0).links_E2.tolist()
    return found


@pytest.mark.parametrize(
    "theirs", [nx.karate_club_graph(), nx.circulant_graph(7, [1, 2], create_using=nx.DiGraph)]
)
def test_what_networkx_writes(tmp_path: Path, theirs: Any) -> None:
    nx.write_graphml(theirs, tmp_path / "a.graphml")
    nx.write_edgelist(theirs, tmp_path / "b.txt", data=False)
    nx.write_weighted_edgelist(theirs, str(tmp_path / "c.edges"))
    (tmp_path / "d.json").write_text(json.dumps(nx.node_link_data(theirs, edges="links")))
    (tmp_path / "e.json").write_text(json.dumps(nx.node_link_data(theirs, edges="edges")))
    expected = Graph.from_networkx(theirs)
    for path in sorted(tmp_path.iterdir()):
        with _quiet():
            graph = File(expected.n, str(path), directed=expected.directed).graph(0)
        assert graph.directed == expected.directed
        np.testing.assert_array_equal(graph.src_E, expected.src_E)
        np.testing.assert_array_equal(graph.dst_E, expected.dst_E)


def _quiet() -> Any:
    return warnings.catch_warnings(action="ignore")


def test_edge_list_details(tmp_path: Path) -> None:
    text = "\ufeff# a comment\n% another\n\nsource,target\n10, 9\n9 8 # why\n 8\t10\r\n8 8\n9 10\n"
    assert links(write(tmp_path, "g.csv", text), 3) == [[0, 1], [0, 2], [1, 2]]
    assert links(write(tmp_path, "g", "b a\na c\n"), 3) == [[0, 1], [0, 2]]  # alphabetical
    assert links(write(tmp_path, "g", "2 10\n10 -1\n"), 3) == [[0, 2], [1, 2]]  # by value
    assert links(write(tmp_path, "g", "a b\nb a\n"), 2, directed=True) == [[1, 0], [0, 1]]
    assert links(write(tmp_path, "g.txt", "<a <b\n"), 2, format="edgelist") == [[0, 1]]


def test_format_is_found_by_content_and_forced_by_option(tmp_path: Path) -> None:
    document = '{"nodes": [{"id": "x"}, {"id": "y"}], "links": [{"source": "y", "target": "x"}]}'
    assert links(write(tmp_path, "graph.txt", "\n " + document), 2) == [[0, 1]]
    assert links(write(tmp_path, "graph.json", "x y"), 2, format="edgelist") == [[0, 1]]
    xml = graphml('<node id="a"/><node id="b"/><edge source="b" target="a"/>')
    assert links(write(tmp_path, "graph.txt", xml), 2) == [[0, 1]]
    assert links(write(tmp_path, "graph.xml", xml.encode("utf-16")), 2) == [[0, 1]]


def test_weights_are_said_not_to_be_used(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="weights are not used"):
        links(write(tmp_path, "g.txt", "0 1 0.5\n1 2 7\n"), 3)
    document = (
        '{"nodes": [{"id": 0}, {"id": 1}], "links": [{"source": 0, "target": 1, "weight": 2}]}'
    )
    path = write(tmp_path, "g.json", document)
    with pytest.warns(UserWarning, match="weights are not used"):
        links(path, 2)
    key = '<key id="d0" for="edge" attr.name="weight" attr.type="double"/>'
    xml = graphml(
        '<node id="a"/><node id="b"/><edge source="b" target="a"><data key="d0">2</data></edge>'
    )
    path = write(tmp_path, "g.graphml", xml.replace("<graph id", key + "<graph id"))
    with pytest.warns(UserWarning, match="weights are not used"):
        links(path, 2)


def test_wrong_size_and_pieces(tmp_path: Path) -> None:
    path = write(tmp_path, "g.txt", "0 1\n2 3\n")
    with pytest.raises(ConfigError, match=r"^devices=100: .* has 4 nodes; devices=4 would do"):
        File(100, path)
    with pytest.raises(
        ConfigError,
        match=r"^path=.*2 components and must have one, or set topology.allow_disconnected=true",
    ):
        File(4, path)
    with pytest.warns(UserWarning, match="2 components"):
        assert File(4, path, allow_disconnected=True).graph(0).components() == 2
    one_way = write(tmp_path, "g.txt", "0 1\n1 2\n")  # nobody hears of 2
    assert links(one_way, 3) == [[0, 1], [1, 2]]
    with pytest.raises(ConfigError, match="3 strongly connected components"):
        File(3, one_way, directed=True)


def graphml(body: str, edgedefault: str = "undirected", head: str = "") -> str:
    return (
        f'<?xml version="1.0"?>{head}<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
        f'<graph id="G" edgedefault="{edgedefault}">{body}</graph></graphml>'
    )


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
NODES = '<node id="a"/><node id="b"/>'
HOSTILE: dict[str, tuple[str, str | bytes, str]] = {
    "billion laughs": (
        "g.graphml",
        graphml(NODES, head=f'<!DOCTYPE g [<!ENTITY l0 "ha">{LAUGHS}]>'),
        "DOCTYPE",
    ),
    "external entity": (
        "g.graphml",
        graphml("&x;", head='<!DOCTYPE g [<!ENTITY x SYSTEM "other.txt">]>'),
        "DOCTYPE",
    ),
    "external dtd": (
        "g.graphml",
        graphml(NODES, head='<!DOCTYPE g SYSTEM "other.dtd">'),
        "DOCTYPE",
    ),
    "utf-16 laughs": (
        "g.graphml",
        graphml(NODES, head="<!DOCTYPE g []>").encode("utf-16"),
        "DOCTYPE",
    ),
    "undefined entity": ("g.graphml", graphml("&x;"), "line 1: not XML"),
    "truncated xml": ("g.graphml", graphml(NODES)[:-15], "line 1: not XML"),
    "html": ("g.xml", "<html></html>", "line 1: .*<html>, not <graphml>"),
    "no graph": ("g.graphml", "<graphml></graphml>", "no <graph>"),
    "empty graph": ("g.graphml", graphml(""), "no node"),
    "unknown end": (
        "g.graphml",
        graphml(NODES + '<edge source="a" target="zz"/>'),
        "'zz', which is no <node>",
    ),
    "node without id": ("g.graphml", graphml("<node/>"), "must .*have `id`"),
    "node twice": ("g.graphml", graphml(NODES + '<node id="a"/>'), "'a' stands there twice"),
    "edge without ends": ("g.graphml", graphml(NODES + '<edge source="a"/>'), "have `target`"),
    "nested graph": (
        "g.graphml",
        graphml(f'<node id="n"><graph edgedefault="directed">{NODES}</graph></node>'),
        "one <graph>",
    ),
    "deep xml": ("g.graphml", graphml("<a>" * 5000), "nested too deeply"),
    "mixed": (
        "g.graphml",
        graphml(NODES + '<edge source="a" target="b" directed="true"/>'),
        "mixed directed",
    ),
    "hyperedge": ("g.graphml", graphml("<hyperedge/>"), "<hyperedge> is not supported"),
    "edgedefault": ("g.graphml", graphml(NODES, edgedefault="maybe"), "edgedefault"),
    "encoding": ("g.graphml", '<?xml version="1.0" encoding="klingon"?><graphml/>', "line 1"),
    "binary xml": ("g.graphml", bytes(range(256)), "not XML"),
    "truncated json": ("g.json", '{"nodes": [{"id": 1},', "line 1: not JSON"),
    "json list": ("g.json", "[]", "object with `nodes`"),
    "json no links": ("g.json", '{"nodes": []}', "must be lists"),
    "json no nodes": ("g.json", '{"nodes": [], "links": []}', "no node"),
    "json deep": ("g.json", "[" * 200_000, "too deeply|not JSON"),
    "json nan": (
        "g.json",
        '{"nodes": [{"id": 0, "w": NaN}], "links": []}',
        "NaN is not a number of JSON",
    ),
    "json text weight": (
        "g.json",
        '{"nodes": [{"id": 0}, {"id": 1}], "links": [{"source": 0, "target": 1, "weight": "nan"}]}',
        r"links\[0\]: weight 'nan' must be a finite number",
    ),
    "json unknown end": (
        "g.json",
        '{"nodes": [{"id": 0}], "links": [{"source": 0, "target": 9}]}',
        r"links\[0\]: '9' is not",
    ),
    "json twice": (
        "g.json",
        '{"nodes": [{"id": 0}, {"id": 0}], "links": []}',
        r"nodes\[1\]: id '0' .* twice",
    ),
    "json float id": ("g.json", '{"nodes": [{"id": 0.5}], "links": []}', r"nodes\[0\]: needs `id`"),
    "json list id": ("g.json", '{"nodes": [{"id": [[]]}], "links": []}', r"nodes\[0\]: needs `id`"),
    "json huge id": ("g.json", '{"nodes": [{"id": 1' + "0" * 18 + '}], "links": []}', "below 10"),
    "json huger id": (
        "g.json",
        '{"nodes": [{"id": 1' + "0" * 5000 + '}], "links": []}',
        "the number 10+… is too long",
    ),
    "json directed": ("g.json", '{"directed": 3, "nodes": [], "links": []}', "true or false"),
    "one field": ("g.txt", "0 1\n# fine\n2\n", "line 3: needs `source target .*1 fields"),
    "four fields": ("g.txt", "0 1 2 3\n", "line 1: .*4 fields"),
    "nan weight": ("g.txt", "0 1 1.0\n1 2 nan\n", "line 2: weight 'nan' must be a finite number"),
    "infinite weight": ("g.txt", "0 1 1e999\n", "line 1: weight '1e999'"),
    "text weight": ("g.txt", "0 1 heavy\n", "line 1: weight 'heavy'"),
    "long id": ("g.txt", f"0 {'x' * 300}\n", "line 1: a node id must have 1 to 256"),
    "empty": ("g.txt", "", "no node"),
    "only comments": ("g.txt", "# nothing\n", "no node"),
    "binary": ("g.txt", b"\x89PNG\r\n\x1a\n\xff\xfe", "byte 0: not UTF-8"),
    "zero bytes": ("g.txt", b"0 1\n\0\0", "byte 4: .*zero bytes"),
}


@pytest.mark.filterwarnings("ignore:.*weights are not used")
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(tmp_path: Path, case: str) -> None:
    name, content, message = HOSTILE[case]
    with pytest.raises(ConfigError, match=f"^path=.*cannot be read as a graph: .*({message})"):
        File(2, write(tmp_path, name, content))


def test_no_external_file_is_opened(tmp_path: Path) -> None:
    secret = write(tmp_path, "secret.txt", "hunter2")
    text = graphml("<node id='a'>&x;</node>", head=f'<!DOCTYPE g [<!ENTITY x SYSTEM "{secret}">]>')
    with pytest.raises(ConfigError) as caught:
        File(1, write(tmp_path, "g.graphml", text))
    assert "hunter2" not in str(caught.value)


def test_caps(tmp_path: Path) -> None:
    path = write(tmp_path, "g.txt", "\n".join(f"{i} {i + 1}" for i in range(9)))
    assert len(links(path, 10, max_nodes=10, max_edges=9)) == 9
    with pytest.raises(ConfigError, match="line 9: more than max_nodes=9 nodes"):
        File(10, path, max_nodes=9)
    with pytest.raises(ConfigError, match="line 9: more than max_edges=8 edges"):
        File(10, path, max_edges=8)
    with pytest.raises(ConfigError, match=r"larger than max_mib=1e-05; raise max_mib"):
        File(10, path, max_mib=1e-5)
    document = {"nodes": [{"id": i} for i in range(10)], "links": []}
    with pytest.raises(ConfigError, match="more than max_nodes=3"):
        File(10, write(tmp_path, "g.json", json.dumps(document)), max_nodes=3)
    many = graphml("".join(f'<node id="{i}"/>' for i in range(10)))
    with pytest.raises(ConfigError, match="more than max_nodes=3"):
        File(10, write(tmp_path, "g.graphml", many), max_nodes=3)
    for key in ("max_mib", "max_nodes", "max_edges"):
        with pytest.raises(ConfigError, match=f"^{key}=0: must be a finite number above 0"):
            File(10, path, **{key: 0})  # type: ignore[arg-type]


def test_paths(tmp_path: Path) -> None:
    for path, message in [
        (None, "path=null: must name a graph file"),
        (str(tmp_path / "absent.txt"), "path=.*absent.txt: must be an existing regular file"),
        (str(tmp_path), "path=.*: must be an existing regular file"),
        ("/dev/zero", "path=/dev/zero: must be an existing regular file"),
        ("a\0b", "path=.*: (must be|cannot be opened)"),
        ("x" * 5000, "path=.*: (must be|cannot be opened)"),
    ]:
        with pytest.raises(ConfigError, match=f"^{message}"):
            File(2, path)
    with pytest.raises(ConfigError, match=r"format=gmk: must be one of auto, edgelist.* mean gml"):
        File(2, "g.gml", format="gmk")  # type: ignore[arg-type]


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200), st.sampled_from(["graphml", "json", "txt"]))
def test_junk_is_refused_or_read_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"junk.{kind}"
    path.write_bytes(junk)
    with _quiet(), contextlib.suppress(ConfigError):
        File(2, str(path))


# --- lengths


def test_lengths_of_every_format(tmp_path: Path) -> None:
    """Read alike, both ways where undirected, the shortest of parallel edges, and not among the
    weights.
    """
    theirs = nx.Graph()
    theirs.add_edge("b", "a", dist=2.5, weight=7)
    theirs.add_edge("b", "c", dist=0, weight=7)
    nx.write_graphml(theirs, tmp_path / "a.graphml")
    (tmp_path / "b.json").write_text(json.dumps(nx.node_link_data(theirs, edges="edges")))
    (tmp_path / "c.txt").write_text("b a 2.5\na b 9\nb c 0.0\n")
    for path in sorted(tmp_path.iterdir()):
        with _quiet():
            graph = File(3, str(path), length="dist").graph(0)
            assert File(3, str(path)).graph(0).length_E is None
        assert graph.links_E2.tolist() == [[0, 1], [1, 2]], path
        assert graph.length_E is not None
        found = dict(
            zip(
                zip(graph.src_E.tolist(), graph.dst_E.tolist(), strict=True),
                graph.length_E,
                strict=True,
            )
        )
        assert found == {(0, 1): 2.5, (1, 0): 2.5, (1, 2): 0.0, (2, 1): 0.0}, path
    with warnings.catch_warnings():
        # the third column is a length, not a weight that goes unused
        warnings.simplefilter("error")
        File(3, str(tmp_path / "c.txt"), length="dist")


def test_lengths_of_directed_edges_are_their_own(tmp_path: Path) -> None:
    graph = File(2, write(tmp_path, "g", "x y 1\ny x 4\n"), directed=True, length="m").graph(0)
    assert graph.length_E is not None
    assert list(zip(graph.src_E, graph.dst_E, graph.length_E, strict=True)) == [
        (1, 0, 4.0),
        (0, 1, 1.0),
    ]


KEY = '<key id="d" for="edge" attr.name="dist"/>'
WITHOUT_LENGTH: dict[str, tuple[str, str, str]] = {
    "edge list": ("g.txt", "0 1 3\n1 2\n", "line 2: the edge needs `dist`, its length"),
    "edge list, nan": ("g.txt", "0 1 nan\n", "line 1: dist 'nan' must be a finite number"),
    "edge list, negative": ("g.txt", "0 1 -1\n", "line 1: dist '-1' must be at least 0"),
    "json": (
        "g.json",
        '{"nodes": [{"id": 0}], "links": [{"source": 0, "target": 0}]}',
        r"links\[0\]: the edge needs `dist`",
    ),
    "json, text": (
        "g.json",
        '{"nodes": [{"id": 0}], "links": [{"source": 0, "target": 0, "dist": [1]}]}',
        r"links\[0\]: dist '\[1\]' must be a finite number",
    ),
    "graphml": ("g.graphml", KEY + '<edge source="a" target="b"/>', "the edge needs `dist`"),
    "graphml, other key": (
        "g.graphml",
        KEY + '<edge source="a" target="b"><data key="x">1</data></edge>',
        "the edge needs `dist`",
    ),
    "graphml, text": (
        "g.graphml",
        KEY + '<edge source="a" target="b"><data key="d">far</data></edge>',
        "dist 'far' must be",
    ),
    "graphml, long": (
        "g.graphml",
        KEY + f'<edge source="a" target="b"><data key="d">{"1&#10;" * 5000}</data></edge>',
        "`dist` is too long for a number",
    ),
}


@pytest.mark.parametrize("name", WITHOUT_LENGTH)
def test_edges_without_a_usable_length(tmp_path: Path, name: str) -> None:
    file, content, message = WITHOUT_LENGTH[name]
    if file.endswith("graphml"):
        key, body = content[: len(KEY)], content[len(KEY) :]
        content = graphml(NODES + body).replace("<graph id", key + "<graph id")
    with (
        pytest.raises(ConfigError, match="^path=.*cannot be read as a graph: .*" + message),
        _quiet(),
    ):
        File(2, write(tmp_path, file, content), length="dist")
