"""Small devices that ask large ones: the numbers against a loop over devices and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.communication.topology.graph import Graph
from swarm.simulation.metrics.asking import nearest, suffix
from tests.support import module_of, prepared, records, require_same_bits, simulation

THRESHOLDS = (0.0, 0.125, 0.2, 0.9, 1.0)
MEASURED = f"metrics=[standard,{{asking: {{thresholds: {list(THRESHOLDS)}}}}}]"
SMALL = "small: {devices: [0, 1, 2, 4, 5, 7, 8, 9], model: softmax}"
WORDS = (
    "devices=11", "model.hidden=[48]", "protocol=fedmd", "data.public=40", "protocol.steps=2",
    "optimizer.lr=0.3", "engine.block=3", "topology=ring", f"cohorts={{{SMALL}}}", MEASURED,
)  # fmt: skip


def plain(words: tuple[str, ...], rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """The numbers of each threshold by loops, and the last record."""
    ready = prepared(*words, f"rounds={rounds}")
    with simulation(ready) as running:
        last = list(running.records(rounds))[-1].values
        e, x_NP = running.experiment, running.engine.snapshot()["x"]
    data, n = e.data.dataset, e.settings.devices
    x_T, y_T = torch.as_tensor(data.x[data.test]).to(e.dtype), data.y[data.test]
    flops = [e.model.of_device(i).step_flops * e.model.of_device(i).prediction_share / 8
             for i in range(n)]  # fmt: skip
    large = [i for i in range(n) if flops[i] == max(flops)]
    outputs = [
        module_of(e.model.own_row(x_NP[i], i), e.model.of_device(i).module())(x_T)
        .detach()
        .softmax(1)
        for i in range(n)
    ]
    graph = e.communication.graph(1)
    links = nx.Graph()
    links.add_nodes_from(range(n))
    links.add_edges_from(zip(graph.src_E.tolist(), graph.dst_E.tolist(), strict=True))
    found: dict[str, float] = {}
    for threshold in THRESHOLDS:
        rows = []
        for i in sorted(set(range(n)) - set(large)):
            hops = nx.single_source_shortest_path_length(links, i)
            near = sorted((hops[j], j) for j in large if j in hops)
            right, calls = 0, 0
            for at in range(len(y_T)):
                p_C = outputs[i][at]
                if float(p_C.max()) < threshold and near:
                    calls, p_C = calls + 1, outputs[near[0][1]][at]
                right += int(p_C.argmax()) == int(y_T[at])
            share = calls / len(y_T)
            way = near[0][0] * (64 + 10) * 4 if near else 0
            rows.append((right / len(y_T), share, flops[i] + share * max(flops), share * way))
        means = np.mean(rows, 0)
        for name, mean in zip(("accuracy", "calls", "flops", "bytes"), means, strict=True):
            found[f"asking_{name}_{suffix(threshold)}"] = mean
    return found, last


@pytest.mark.parametrize(
    "more", [(), ("topology=none", "protocol.server=true"), ("init=independent",)]
)
def test_the_numbers_are_those_of_a_loop_over_devices_and_samples(more: tuple[str, ...]) -> None:
    expected, last = plain((*WORDS, *more), 3)
    assert {key: last[key] for key in expected} == pytest.approx(expected, rel=1e-6, abs=1e-6)
    calls = [last[f"asking_calls_{suffix(t)}"] for t in THRESHOLDS]
    assert calls == sorted(calls)
    if "topology=none" in more:
        assert last["asking_reach"] == 0
        assert calls[-1] == 0, "who reaches nobody answers by itself"
        return
    assert last["asking_reach"] == 1
    assert last["asking_accuracy_0"] == pytest.approx(last["accuracy_cohort_small"], abs=1e-9)
    assert (calls[0], calls[-1]) == (0, pytest.approx(1, abs=0.02))
    assert last["asking_accuracy_100"] == pytest.approx(last["asking_asked_accuracy"], abs=0.02)
    assert any(0.05 < share < 0.95 for share in calls)


def test_the_nearest_is_asked_and_of_several_the_one_with_the_smallest_id() -> None:
    random = nx.gnm_random_graph(40, 55, seed=1)
    src, dst = np.array([pair for a, b in random.edges for pair in ((a, b), (b, a))]).T
    order = np.lexsort((src, dst))
    graph = Graph(40, src[order], dst[order], directed=False)
    large_N = np.random.default_rng(0).random(40) < 0.15
    asked_N, hops_N = nearest(graph, large_N)
    reached = 0
    for i in range(40):
        hops = nx.single_source_shortest_path_length(random, i)
        near = min(((hops[j], j) for j in np.flatnonzero(large_N) if j in hops), default=(-1, -1))
        assert (hops_N[i], asked_N[i]) == near
        reached += near[0] > 1
    assert reached > 5
    assert (hops_N < 0).any()


def test_who_is_not_there_is_not_asked() -> None:
    words = (*WORDS, "churn=crash", "churn.at=1")
    values = [each.values for each in records(prepared(*words, "rounds=3"))]
    assert all(0 <= v["asking_accuracy_90"] <= 1 for v in values if "asking_accuracy_90" in v)


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    words = (*WORDS, "scenario.arms=[swarm]", "evaluate.every=1", "engine.block=2")
    summary = require_same_bits(tmp_path, *words, rounds=3, cut=1)
    assert 0 < summary["arms"]["swarm"]["asking_accuracy_12_5"] < 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cohorts={}",), r"metrics=asking: must be left out of metrics where all devices have"),
        (("cohorts={same: {devices: 4, model: {hidden: [48]}}}",), "a model of one size"),
        (("topology=one_peer_exponential",), "with a directed topology"),
        (("metrics=[{asking: {thresholds: [0.5, 1.5]}}]",), "thresholds=1.5: must be between 0 and 1"),
        (("metrics=[{asking: {thresholds: [-0.1]}}]",), "thresholds=-0.1: must be between 0 and 1"),
        (("metrics=[{asking: {thresholds: []}}]",), "must be one or more numbers from 0 to 1"),
        (("metrics=[{asking: {thresholds: [0.9, 0.5]}}]",), "that ascend"),
        (("metrics=[asking]", "data=linear_regression", "partition=iid",
          "cohorts={a: {devices: 4, model: {hidden: [3]}}}"), "measures classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*WORDS, *words)
