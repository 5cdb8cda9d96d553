"""Mixing weights that a file of a graph brings along: x ← W x with the user's own W."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from scipy.linalg import circulant
from scipy.sparse import csr_array, save_npz

from swarm.common.errors import ConfigError
from swarm.communication.mixing import weights
from swarm.communication.topology.file import File
from tests.communication.topology.graph_texts import as_json, file_of, written
from tests.support import prepared, require_same_bits, trajectory

# doubly stochastic; no rule of ours makes it
W = np.array([[0.5, 0.3, 0.2, 0], [0.3, 0.1, 0, 0.6], [0.2, 0, 0.7, 0.1], [0, 0.6, 0.1, 0.3]])
# doubly stochastic and not symmetric: row i is what i gives
ROUND = np.array([[0.5, 0, 0.1, 0.4], [0.4, 0.5, 0, 0.1], [0.1, 0.4, 0.5, 0], [0, 0.1, 0.4, 0.5]])


def graph_of(w_NN: npt.NDArray[np.float64], loops: bool = True) -> nx.Graph:
    """The graph of W, an edge j → i for w_ij."""
    directed = not np.array_equal(w_NN, w_NN.T)
    kind = nx.DiGraph if directed else nx.Graph
    made = nx.from_numpy_array(w_NN.T, create_using=kind)
    made.remove_edges_from([] if loops else list(nx.selfloop_edges(made)))
    return made


def files_of(folder: Path, w_NN: npt.NDArray[np.float64], loops: bool) -> list[Path]:
    graph, off = graph_of(w_NN, loops), w_NN.T if loops else w_NN.T * (1 - np.eye(len(w_NN)))
    lines = [f"{u},{v},{w!r}" for u, v, w in graph.edges(data="weight")]
    texts = {
        "g.graphml": written(nx.write_graphml)(graph),
        "g.gexf": written(nx.write_gexf)(graph),
        "g.gml": written(nx.write_gml)(graph),
        "g.json": as_json(nx.node_link_data)(graph),
        "g.txt": written(nx.write_edgelist)(graph),
        "g.csv": "\n".join(["source,target,weight", *lines]).encode(),
        "plain.csv": "\n".join(lines).encode(),
    }
    for name, data in texts.items():
        (folder / name).write_bytes(data)
    np.save(folder / "g.npy", off)
    np.savetxt(folder / "matrix.txt", off)
    save_npz(folder / "g.npz", csr_array(off))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("w_NN", [W, ROUND], ids=["symmetric", "directed"])
@pytest.mark.parametrize("loops", [True, False])
def test_every_format_gives_the_same_matrix(
    tmp_path: Path, w_NN: npt.NDArray[np.float64], loops: bool
) -> None:
    directed = w_NN is ROUND
    for path in files_of(tmp_path, w_NN, loops):
        graph = File(4, str(path), weight="weight", directed=directed).graph(0)
        mixing = weights(graph)
        np.testing.assert_allclose(mixing.matrix.toarray(), w_NN, atol=1e-15, err_msg=str(path))
        assert mixing.conserves == "both", path
        assert graph.weight_E is not None
        assert weights(graph, "uniform").conserves in ("both", "row")  # other rules remain


REFUSED = {
    "row above 1": ("a,b,0.7\nb,c,0.7", False, "the weights into node b sum to 1.4, and must sum to at most 1"),
    "row and its own": ("a,b,0.5\na,a,0.5\nb,b,0.4", False, "the weights into node b sum to 0.9, and must sum to 1 with"),
    "its own is missing": ("a,b,0.5\na,a,0.5", False, "the weights into node b sum to 0.5, and must sum to 1 with"),
    "negative": ("a,b,0.5\nb,c,-0.2", False, "line 2: weight '-0.2' must be at least 0"),
    "zero": ("a,b,0.5\nb,c,0", False, "the edge b – c has the weight 0, and weights must be above 0"),
    "not finite": ("a,b,0.5\nb,c,nan", False, "line 2: weight 'nan' must be a finite number"),
    "none": ("a,b\nb,c", False, "line 1: the edge needs `weight`, its weight"),
    "two of an edge": ("a,b,0.5\nb,a,0.4", False, "the edge b – a has the weights 0.5 and 0.4, and must have one; "
                                                "topology.directed=true takes each direction for itself"),
    "two of a directed edge": ("a,b,0.5\na,b,0.4\nb,a,1", True, "the edge a – b has the weights 0.5 and 0.4, and must have one"),
    "transposed": ("a,b,0.9\nb,a,0.4\nb,c,0.2\nc,b,0.8\na,a,0.1\nb,b,0.4\nc,c,0.2", True,
                   "the weights into node b sum to 2.1, and must sum to 1 with its weight on itself; those out of each "
                   "node do, so that the file has W transposed"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_weights_that_cannot_be_are_refused_by_the_row(tmp_path: Path, name: str) -> None:
    text, directed, said = REFUSED[name]
    with pytest.raises(ConfigError, match=r"^path=") as found:
        file_of(tmp_path, "g.csv", text, 3, weight="weight", directed=directed)
    assert said in str(found.value)


def test_numbers_that_a_file_rounds_are_taken(tmp_path: Path) -> None:
    """Three thirds of six digits each; the rest stays at home, so that rows sum to 1 exactly."""
    text = "a,b,0.333333\nb,c,0.333333\na,c,0.666667\na,a,0\nb,b,0.333334\nc,c,0"
    mixing = weights(file_of(tmp_path, "g.csv", text, 3, weight="w").graph(0))
    assert mixing.conserves == "both"
    np.testing.assert_allclose(mixing.matrix.toarray()[1], [1 / 3, 1 / 3, 1 / 3], atol=1e-6)
    assert mixing.matrix.toarray().min() >= 0


def test_a_length_and_a_weight_are_not_read_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^weight=w: needs topology.length=null beside it"):
        file_of(tmp_path, "g.csv", "0,1,0.5", 2, weight="w", length="dist")


def test_columns_that_do_not_sum_to_one_are_named_with_a_rule_that_does(tmp_path: Path) -> None:
    """Rows alone would let the mean over devices wander."""
    rows = np.array([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5], [0.7, 0, 0.1, 0.2]])
    np.save(tmp_path / "g.npy", rows.T)
    words = ["devices=4", "topology=file", f"topology.path={tmp_path / 'g.npy'}"]
    words += ["topology.directed=true", "topology.weight=weight"]
    with pytest.warns(UserWarning, match="what node 3 sends has weights that sum to 0.7 with its"):
        prepared(*words)
    with pytest.raises(ConfigError, match=r"^mixing=auto: conserves the row sums here") as found:
        prepared(*words, "protocol=gradient_tracking")
    assert "the weights on what device 3 sends, its own included, sum to 0.7 and" in str(
        found.value
    )


def test_a_swarm_averages_by_the_weights_of_its_file(tmp_path: Path) -> None:
    """A round without a step of learning is x ← W x, and shards and a resume change no bit."""
    w_NN = circulant([0.4, 0.2, 0.05, 0.1, 0.05, 0.2])
    np.save(tmp_path / "g.npy", w_NN)
    words = ["devices=6", "topology=file", f"topology.path={tmp_path / 'g.npy'}"]
    words += ["topology.weight=weight", "init=independent"]
    before, after = trajectory(prepared(*words, "optimizer.lr=1.0e-12", "rounds=1"))
    np.testing.assert_allclose(after, w_NN @ before, atol=1e-6)
    assert np.abs(after - before).max() > 0.01
    by_rule = trajectory(prepared(*words, "optimizer.lr=1.0e-12", "rounds=1", "mixing=metropolis"))[
        1
    ]
    assert np.abs(after - by_rule).max() > 0.01
    require_same_bits(tmp_path, *words, "engine.block=1", rounds=4, cut=2)
