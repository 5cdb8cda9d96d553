"""Every table that a run writes, and that another run can take, is taken as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.communication.topology.readers.node_link import read_node_link
from swarm.communication.topology.readers.parsed import Parsed
from swarm.simulation.experiment.cohorts.cohorts import Cohorts
from tests.support import experiment, prepared, run

SHARES = "{small: {devices: 0.3, model: {hidden: [16]}}, tiny: {devices: 2, model: {hidden: [3]}}}"
TABLE = (
    "{small: {devices: table, model: {hidden: [16]}}, tiny: {devices: table, model: {hidden: [3]}}}"
)
GRAPHS = [
    ("topology=ring", "devices=9"),
    ("topology=star",),
    ("topology=exponential",),
    ("topology=geometric",),
    ("topology=none", "protocol=none"),
    ("topology=social", "devices=34", "partition=iid"),
]


def cohorts_of(*words: str) -> Cohorts:
    ready = prepared(*words)
    found = ready.experiment(ready.arms[0], ready.arms[0].first).model.cohorts
    assert found is not None
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_the_cohorts_of_a_run_are_those_of_a_table_made_of_it(tmp_path: Path, seed: int) -> None:
    words = (f"seed={seed}", "scenario.arms=[swarm]")
    run(tmp_path / "run", *words, f"cohorts={SHARES}", "rounds=0")
    devices = swarm.load(tmp_path / "run").devices
    assert set(devices["cohort"]) == {"own", "small", "tiny"}
    path = tmp_path / "devices.csv"
    devices[["device", "cohort"]].to_csv(path, index=False)
    by_share = cohorts_of(*words, f"cohorts={SHARES}")
    by_table = cohorts_of(*words, f"cohorts={TABLE}", f"train.devices={path}")
    assert by_table.cohort_N.tolist() == by_share.cohort_N.tolist()
    # who has the run's own model keeps it, whatever share another cohort takes
    half = TABLE.replace("{small", "{half: {devices: 2, model: {hidden: [5]}}, small", 1)
    some = devices[["device", "cohort"]].iloc[2:]
    some.to_csv(path, index=False)
    more = cohorts_of(*words, f"cohorts={half}", f"train.devices={path}")
    names = np.array(more.names)[more.cohort_N]
    assert names[2:].tolist() == some["cohort"].tolist()
    assert names[:2].tolist() == ["half", "half"]


@pytest.mark.parametrize("words", GRAPHS, ids=[words[0] for words in GRAPHS])
def test_the_graph_of_a_run_is_one_that_a_run_can_take(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    run(tmp_path / "run", *words, "rounds=0", "evaluate.accuracy=false", "scenario.arms=[swarm]")
    first = experiment(*words).communication
    parsed = Parsed(10**6, 10**6)
    read_node_link((tmp_path / "run/graph.json").read_bytes(), parsed)
    graph, own = parsed.graph(), first.graph(1)
    assert graph.directed == own.directed
    np.testing.assert_array_equal(graph.src_E, own.src_E)
    np.testing.assert_array_equal(graph.dst_E, own.dst_E)
    if own.pos_N2 is not None:
        assert graph.pos_N2 is not None
        np.testing.assert_allclose(graph.pos_N2, own.pos_N2, atol=1e-5)
    if first.names is not None:
        assert list(parsed.names) == list(first.names)


def test_a_graph_with_names_is_taken_by_another_run(tmp_path: Path) -> None:
    (tmp_path / "links.csv").write_text("source,target\nzoe,ann\nann,bob\nbob,cy\ncy,zoe\n")
    words = ("topology=file", "devices=4", "partition=iid", "scenario.arms=[swarm]")
    run(tmp_path / "run", *words, f"topology.path={tmp_path / 'links.csv'}", "rounds=0")
    again = experiment(*words, f"topology.path={tmp_path / 'run/graph.json'}")
    assert again.names == ("ann", "bob", "cy", "zoe")
    assert again.communication.graph(1).links_E2.tolist() == [[0, 1], [1, 2], [0, 3], [2, 3]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"truncated": True}, "it has only some of the edges"),
        ({"n": "4"}, "`n` must be the number of nodes"),
        ({"edges": [[0, 4]]}, r"edges\[0\]: needs two numbers from 0 to 3"),
        ({"edges": [[0, 1], [True, 2]]}, r"edges\[1\]: needs two numbers"),
        ({"names": ["a"]}, "`names` must be null, or a list with an entry for each node"),
        ({"n": 10**9}, "more than max_nodes=1000000"),
    ],
)
def test_a_damaged_graph_of_a_run_is_one_sentence(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    value = {"n": 4, "directed": False, "edges": [[0, 1], [1, 2], [2, 3]], "truncated": False}
    (tmp_path / "graph.json").write_text(json.dumps(value | change))
    path = f"topology.path={tmp_path / 'graph.json'}"
    with pytest.raises(ConfigError, match=said):
        experiment("topology=file", path, "devices=4", "partition=iid")
