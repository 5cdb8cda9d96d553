"""Graphs as other programs publish and write them: each is read as it is meant, or refused with what
to do instead; none is silently another graph.
"""

from __future__ import annotations

from pathlib import Path

import networkx as nx
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


def test_a_sparse_matrix_of_scipy_is_refused_with_what_to_do(tmp_path: Path) -> None:
    scipy.sparse.save_npz(tmp_path / "a.npz", nx.to_scipy_sparse_array(nx.cycle_graph(N)))
    with pytest.raises(ConfigError, match=r"mmwrite writes it as \.mtx"):
        File(N, str(tmp_path / "a.npz"))
