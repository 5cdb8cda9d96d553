"""Files of graphs that are damaged, hostile, large or arrays."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

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
from tests.communication.topology.graph_texts import file_of

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
    "multiline, too few": ("g.multiline_adjlist", "a 2\nb {}\n", "line 2: below it, 'a' lacks 1 of its neighbours"),
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
    "matrix, too few": ("g.mtx", MTX + "2 2 400000\n1 2 1\n", "it states 400,000 entries but is shorter"),
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
