"""RelaySGD: exact uniform means with a delay, and no bias on devices that differ (Vogels et al.,
arXiv 2110.04175).
"""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.communication.protocol.relay_sgd import spanning_tree
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.regular import Ring, Torus
from swarm.simulation.experiment import Experiment
from tests.communication.protocol import setting
from tests.communication.protocol.swarms import Rows, curves, planned, quadratics
from tests.support import final_rows, prepared, simulation, trajectory

TOPOLOGIES = ["ring", "star", "torus", "small_world", "barabasi_albert"]
N = 16


def _estimates(topology: str, kind: str) -> tuple[Experiment, Rows]:
    """What the devices make of the relayed sums in each round, if they start as the rows of the
    identity matrix: ``[rounds, N, N]``, device · whose model."""
    ready = planned(
        f"devices={N}",
        f"topology={topology}",
        "model=softmax",
        protocol={"_target_": f"still.{kind}"},
    )
    found = []
    with simulation(ready) as running:
        start = running.engine.snapshot()
        width = start["x"].shape[1]
        for name in {"x", "protocol.first"} & set(start):
            start[name] = torch.eye(N, width, dtype=torch.float64)
        behind = start["protocol.heard"][:, :, -1:]
        start["protocol.heard"] = torch.cat([behind * start["x"][:, None], behind], 2)
        running.engine.restore(start, 0)
        for round in range(1, N + 1):
            for _ in running.engine.advance(round):
                pass
            found.append(running.engine.snapshot()["protocol.estimate"][:, :N].numpy().copy())
        return running.experiment, np.stack(found)


def _distances(e: Experiment) -> Rows:
    return np.asarray(
        nx.floyd_warshall_numpy(e.communication.graph(1).to_networkx(), nodelist=range(N))
    )


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_exact_mean_after_diameter_rounds(topology: str) -> None:
    e, found_TNN = _estimates(topology, "StillRelay")
    distance = _distances(e)
    for round, found in enumerate(found_TNN, 1):
        # whoever is not heard yet counts with the first model of the last device heard on the way
        # there
        # from, by way of, to
        on_the_way = distance[:, :, None] + distance[None] == distance[:, None, :]
        last = on_the_way & (distance[:, :, None] == np.minimum(distance, round)[:, None, :])
        np.testing.assert_allclose(found, last.sum(2) / N, rtol=0, atol=1e-15)
    diameter = int(distance.max())
    assert np.abs(found_TNN[diameter - 1] - 1 / N).max() < 1e-15
    assert diameter == 1 or np.abs(found_TNN[diameter - 2] - 1 / N).max() > 1e-3


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_everybody_counts_the_same_with_a_delay_of_the_distance(topology: str) -> None:
    """Device j's model is t times its first one when round t begins, and reaches distance d in
    round t + d − 1.
    """
    e, found_TNN = _estimates(topology, "GrowingRelay")
    distance = _distances(e)
    rounds = np.arange(1, N + 1)
    sent_TNN = rounds[:, None, None] - np.maximum(distance - 1, 0)
    expected = np.where(distance > 0, sent_TNN, rounds[:, None, None]) / N
    late = int(distance.max())
    np.testing.assert_allclose(found_TNN[late:], expected[late:], rtol=1e-14)


@pytest.mark.parametrize("topology", ["ring", "star"])
def test_no_bias_on_devices_that_differ(topology: str) -> None:
    """D-PSGD at this rate ends elsewhere (test_heterogeneity); x = mean of x − γg(x) means Σg(x) =
    0.
    """
    ready = quadratics(
        "train.local_steps=1", "rounds=500", f"topology={topology}", protocol="relay_sgd"
    )
    a, b = curves(ready)
    assert np.abs(final_rows(ready)[:, 0] - (a * b).sum() / a.sum()).max() < 1e-11


@pytest.mark.parametrize("topology", ["ring", "star", "small_world"])
def test_rounds_are_the_published_algorithm(topology: str) -> None:
    """Algorithm 1 as printed, from a common x⁰ ≠ 0: x_i ← ((N − n̄_i)·x⁰ + x_i + Σ_j m_{j→i})/N."""
    start = {"model": {"_target_": "parts.Anywhere"}}
    ready = setting.halved_quadratics(
        "relay_sgd", 12, f"topology={topology}", "init=common", **start
    )
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    links, n = e.communication.graph(1).to_networkx(), ready.settings.devices
    a, b, _ = setting.coefficients(ready)
    x_TN = trajectory(ready)[:, :, 0]
    x, first = x_TN[0].copy(), x_TN[0, 0]
    assert abs(first) > 1e-3
    assert (x == first).all()
    message, count = ({(i, j): 0.0 for i in links for j in links[i]} for _ in range(2))
    for found in x_TN[1:]:
        x = x - setting.GAMMA * a * (x - b)
        own = {
            (i, j): (x[i] + sum(message[k, i] for k in links[i] if k != j),
                     1 + sum(count[k, i] for k in links[i] if k != j))
            for i, j in message
        }  # fmt: skip
        message, count = ({link: both[part] for link, both in own.items()} for part in (0, 1))
        heard = np.array([1 + sum(count[j, i] for j in links[i]) for i in range(n)])
        x = (
            (n - heard) * first
            + x
            + np.array([sum(message[j, i] for j in links[i]) for i in range(n)])
        ) / n
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-13)


# --- the tree -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "graph",
    [Ring(17).graph(0), Torus(36).graph(0), Graph.from_edges(1, [])],
    ids=["ring", "torus", "one"],
)
def test_the_tree_spans_and_is_flat(graph: Graph) -> None:
    tree = spanning_tree(graph)
    assert nx.is_tree(tree.to_networkx())
    assert {tuple(e) for e in tree.links_E2} <= {tuple(e) for e in graph.links_E2}
    if graph.n > 1:
        assert nx.radius(tree.to_networkx()) <= nx.radius(graph.to_networkx()) + 1


def test_the_tree_of_a_path_hangs_from_its_middle() -> None:
    path = Graph.from_networkx(nx.path_graph(9))
    tree = spanning_tree(path)
    np.testing.assert_array_equal(tree.links_E2, path.links_E2)


@pytest.mark.parametrize(
    ("topology", "says"),
    [
        ("none", "in 12 pieces"),
        ("exponential", "undirected"),
        ("one_peer_exponential", "must not change"),
    ],
)
def test_what_cannot_be_spanned_is_refused(topology: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        prepared("protocol=relay_sgd", f"topology={topology}")
