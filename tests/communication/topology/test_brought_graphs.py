"""Graphs as other programs publish and write them: each is read as it is meant, or refused with what
to do instead; none is silently another graph.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from swarm.common.errors import ConfigError
from swarm.communication.topology.contacts import Contacts
from swarm.communication.topology.file import File

N = 13
RING = [(i, (i + 1) % N) for i in range(N)]


def lines(text: str, *head: str) -> str:
    return "\n".join([*head, *(text.format(a=a + 1, b=b + 1) for a, b in RING)]) + "\n"


@pytest.mark.filterwarnings("ignore:.*edge weights are not used")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("out.konect", lines("{a} {b}", "% sym unweighted", f"% {N} {N} {N}")),
        ("out.enron", lines("{a} {b}\t1\t1082008561", "% asym positive")),
        ("myciel.col", lines("e {a} {b}", "c by hand", f"p edge {N} {N}")),
        ("road.gr", lines("a {a} {b} 803\na {b} {a} 803", "c 9th DIMACS", f"p sp {N} {2 * N}")),
        ("cyto.sif", lines("{a} pp {b}")),  # numbers, so that it could be an edge with a weight
        ("cyto.txt.sif", lines("{a}\tinteracts with\t{b}")),
        ("string.txt", lines("9606.P{a} 9606.P{b} 490", "protein1 protein2 combined_score")),
        ("mail.csv", lines("ann{a},ann{b},3", "sender,receiver,count")),
        ("wiki.csv", lines("{a},{b}", "a,b")),
        ("gui.csv", lines("{a},{b},1", "From Node,To Node,Edge Weight")),
        ("pandas.csv", pd.DataFrame(RING, columns=["source", "target"]).to_csv()),
    ],
)
def test_a_ring_is_a_ring(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    graph = File(N, str(tmp_path / name)).graph(0)
    assert nx.is_isomorphic(graph.to_networkx(), nx.cycle_graph(N))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ring.graph", f"{N} {N}\n" + "2 13\n" * N, "METIS is not read"),
        ("ring.lgl", "# v1\nv2 1.0\n# v2\nv3 1.0\n", "LGL is not read"),
        ("ring.dot", "graph { 1 -- 2 }", "networkx.write_edgelist writes a file that can be"),
        ("ring.gpickle", "x", "pickles are never read"),
        ("out.wiki", lines("{a} {b}", "% bip unweighted"), "line 1: the network is bipartite"),
        ("a.col", "p edge 3 2\ne 1 2\ne 2 9\n", "line 3: its nodes must be 1 to 3"),
        ("a.gr", f"p sp {10**9} 1\na 1 2 3\n", "more than max_nodes"),
        ("a.txt", lines("{a} -> {b}"), "line 1: '->' stands where the other end"),
        ("b.txt", lines("{a} -- {b}"), "line 1: '--' stands where the other end"),
        ("c.csv", lines("{a},→,{b}"), "line 1: '→' stands where the other end"),
        ("a.sif", "1 pp 2\n3 pp\n", "line 2: needs `node relation node`, found two fields"),
        # a matrix with headings, of which two could be those of edges
        ("matrix.csv", ",h,i,j,k\n" + "".join(f"{r},0,1,1,0\n" for r in "hijk"), "cannot be read"),
    ],
)
def test_other_formats_are_refused_with_what_to_do(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        File(N, str(tmp_path / name))


def test_contacts_whose_time_comes_last_are_refused(tmp_path: Path) -> None:
    """SNAP's temporal networks: from, to, time."""
    file = tmp_path / "CollegeMsg.txt"
    file.write_text("9 2 1082040961\n3 4 1082155839\n5 2 1082414391\n")
    with pytest.raises(ConfigError, match="first field must be the time, and here the third one"):
        Contacts(99, str(file))
    file.write_text("a,b,time\n" + file.read_text().replace(" ", ","))
    assert Contacts(5, str(file), window=60).windows == (1082414391 - 1082040961) // 60 + 1


RING_N = nx.cycle_graph(N)
MATRIX = nx.to_numpy_array(RING_N)
TRUTH = MATRIX == 1  # as pandas and R write it, in words
R_NAMES = ["TRUE", *(f"V{i}" for i in range(1, N))]
NAMED = nx.relabel_nodes(RING_N, {i: f"node {i}, {'zyx'[i % 3]}" for i in range(N)})


def savetxt(**options: Any) -> Callable[[Path], None]:
    return lambda file: np.savetxt(file, options.pop("values", MATRIX), **options)


def save_npz(kind: str) -> Callable[[Path], None]:
    return lambda file: scipy.sparse.save_npz(file, scipy.sparse.csr_array(MATRIX).asformat(kind))


def crosstab(graph: nx.Graph) -> pd.DataFrame:
    both = [*graph.edges, *((b, a) for a, b in graph.edges)]
    return pd.crosstab(
        *(
            pd.Series(end, name=name)
            for end, name in zip(zip(*both, strict=True), ("who", "whom"), strict=True)
        )
    )


def cyjs(change: Callable[[dict[str, Any]], Any] = lambda found: found) -> Callable[[Path], object]:
    return lambda file: file.write_text(json.dumps(change(nx.cytoscape_data(RING_N))))


def listed(found: dict[str, Any]) -> dict[str, Any]:
    """As cytoscape.js may have it."""
    return {"elements": [*found["elements"]["nodes"], *found["elements"]["edges"]]}


@pytest.mark.filterwarnings("ignore:.*edge weights are not used")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.txt", savetxt()),
        ("b.csv", savetxt(delimiter=",", fmt="%d")),
        ("c.tsv", savetxt(delimiter="\t", fmt="%g", values=0.5 * MATRIX)),
        ("d.txt.gz", savetxt(header="by hand")),
        ("e.csv", lambda file: nx.to_pandas_adjacency(RING_N).to_csv(file)),
        ("f.csv", lambda file: nx.to_pandas_adjacency(NAMED).to_csv(file, sep=";")),
        ("g.csv", lambda file: nx.to_pandas_adjacency(NAMED).to_csv(file, quoting=csv.QUOTE_ALL)),
        ("h.npy", lambda file: np.save(file, MATRIX)),
        ("i.npz", save_npz("csr")),
        ("j.npz", save_npz("csc")),
        ("k.npz", save_npz("coo")),
        ("l.cyjs", cyjs()),
        ("m.json", cyjs(listed)),
        ("l.csv", lambda file: crosstab(RING_N).to_csv(file)),
        ("k.csv", lambda file: crosstab(NAMED).to_csv(file, sep=";")),
        ("n.csv", lambda file: pd.DataFrame(TRUTH, list(NAMED), list(NAMED)).to_csv(file)),
        ("o.csv", lambda file: pd.DataFrame(TRUTH).to_csv(file, index=False, header=False)),
        (
            "p.csv",
            lambda file: file.write_text(pd.DataFrame(TRUTH, R_NAMES, R_NAMES).to_csv().upper()),
        ),
    ],
)
def test_matrices_and_cytoscape(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / name)
    file = File(N, str(tmp_path / name))
    assert nx.is_isomorphic(file.graph(0).to_networkx(), RING_N)
    if name in ("f.csv", "g.csv"):
        assert set(file.node_names or ()) == set(NAMED)


def test_a_sparse_matrix_of_many_devices_as_scipy_writes_it(tmp_path: Path) -> None:
    """It compresses a ring tenfold; the cap is that of the file's own option."""
    n = 100_000
    near = np.arange(n)
    ring = scipy.sparse.coo_array((np.ones(n), (near, (near + 1) % n)), (n, n))
    scipy.sparse.save_npz(tmp_path / "ring.npz", (ring + ring.T).tocsr())
    assert len(File(n, str(tmp_path / "ring.npz")).graph(0).src_E) == 2 * n
    with pytest.raises(
        ConfigError, match=r"more than 4 times max_mib=0\.5 in memory; raise max_mib"
    ):
        File(n, str(tmp_path / "ring.npz"), max_mib=0.5)


def test_what_cytoscape_writes_has_names_places_and_weights(tmp_path: Path) -> None:
    def own(found: dict[str, Any]) -> dict[str, Any]:
        for i, node in enumerate(found["elements"]["nodes"]):
            node["data"] = {"id": str(60 + i), "name": f"gene{i}", "SUID": 60 + i}
            node["position"] = {"x": i, "y": -i}
        for edge in found["elements"]["edges"]:
            edge["data"] = {end: str(60 + edge["data"][end]) for end in ("source", "target")}
            edge["data"] |= {"dist": 2.5, "weight": 3}
        return {"elements": found["elements"], "data": {"name": "mine"}}

    cyjs(own)(tmp_path / "a.cyjs")
    with pytest.warns(UserWarning, match="edge weights are not used"):
        file = File(N, str(tmp_path / "a.cyjs"), length="dist")
    assert set(file.node_names or ()) == {f"gene{i}" for i in range(N)}
    assert file.graph(0).pos_N2 is not None
    assert set(file.graph(0).length_E) == {2.5}  # type: ignore[arg-type]


def without(found: dict[str, Any]) -> dict[str, Any]:
    del found["elements"]["nodes"][3]
    return found


ONE_WAY = np.roll(np.eye(N), 1, 1)
NOT_A_NUMBER = np.where(MATRIX == 0, np.nan, 1)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.txt", savetxt(values=MATRIX[:-1]), f"needs a square matrix, not {N - 1} × {N}"),
        ("b.txt", savetxt(values=NOT_A_NUMBER), r"row 0, column 0 \(counted from 0\) is not a fin"),
        ("c.txt", savetxt(values=ONE_WAY), "and not the opposite; topology.directed=true would"),
        ("d.npy", lambda file: np.save(file, MATRIX[:-1]), r"\[E, 3\], \[2, E\] or \[N, N\] is needed"),
        ("e.npy", lambda file: np.save(file, MATRIX.astype(str)), "an array of numbers"),
        ("f.npz", lambda file: scipy.sparse.save_npz(file, scipy.sparse.dia_array(MATRIX)), r"\.tocsr\(\)"),
        ("g.npz", lambda file: np.savez(file, format="csr", shape=[10**9] * 2), "data is not a file in the archive"),
        ("h.npz", lambda file: np.savez(file, format="csr", shape=[2, 2], data=[1.0], indices=[10**6],
                                        indptr=[0, 1, 1]), "indices must be < 2|must be less"),
        ("i.npz", lambda file: np.savez(file, format="csr", shape=[2, 2], data=[1.0], indices=[0],
                                        indptr=[0, 10**9, 1]), "non-decreasing"),
        ("j.npz", lambda file: np.savez(file, format="coo", shape=[10**9] * 2, data=[1.0], row=[1],
                                        col=[2]), "more than max_nodes"),
        ("k.npz", lambda file: np.savez(file, format="csr", shape=[2, 2], data=np.array([{}])), "Python objects"),
        ("l.cyjs", cyjs(without), "edge 4: an edge names '3', which is no node"),
        ("m.cyjs", cyjs(lambda found: {"elements": 3}), "`elements` must have lists"),
        *((f"u{i}.cyjs", cyjs(lambda found, word=word: found | {"directed": word}), "`directed` must be true")
          for i, word in enumerate(("yes", "true", 1, None))),
        *((f"v{i}.gml", lambda file, word=word: file.write_text(f'graph [ directed {word} node [ id 1 ] ]'),
           f"`directed` must be 0 or 1, not {word}") for i, word in enumerate(('"yes"', '"0"', "2"))),
        ("n.cyjs", cyjs(lambda found: {"elements": [{}]}), "elements: needs an object `data`"),
        ("o.json", lambda file: file.write_text(json.dumps(nx.adjacency_data(RING_N))), "node_link_data writes"),
        ("p.csv", lambda file: file.write_text(",a,b,c,d\n" + "a,1,1,1,1\n" * 4), "row 'a' and column 'b'"),
        ("q.csv", lambda file: file.write_text(",a,a,c,d\n" + "".join(f"{r},1,1,1,1\n" for r in "aacd")), "two rows"),
        ("r.txt", lambda file: file.write_text("0 1 0 1\n1 0 1 0\n0 1 0 x\n1 0 1 0\n"), "not a matrix of numbers .*'x'"),
        ("s.txt", lambda file: file.write_text("0 1 0 1\n1 0 1 0\n0 1 0\n1 0 1 0\n"), "not a matrix of numbers .*4 to 3"),
        # a node and its neighbours, of which each line has as many as there are lines
        ("t.txt", lambda file: file.write_text("0 1 2 3\n1 0 2 3\n2 0 1 3\n3 0 1 2\n"), "topology.format=adjlist reads"),
    ],
)  # fmt: skip
def test_matrices_that_are_no_graph(
    tmp_path: Path, name: str, write: Callable[[Path], object], said: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(ConfigError, match=said):
        File(N, str(tmp_path / name))


def test_a_small_matrix_is_read_where_it_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 1 1\n1 0 1\n1 1 0\n")
    assert File(3, str(tmp_path / "a.txt"), format="matrix").graph(0).links_E2.shape == (3, 2)
    with pytest.raises(ConfigError, match="more than max_nodes=2 nodes"):
        File(3, str(tmp_path / "a.txt"), format="matrix", max_nodes=2)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ConfigError, match="cannot be read as a graph: there is no"):
        File(3, str(tmp_path / "a.txt"), format="matrix")
