"""Whose device sits at which node: matched by name, refused where the names do not fit, and shown
wherever a device is.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import swarm
from swarm.common.errors import ConfigError, DivergedError
from swarm.common.names import Names
from swarm.communication.network.churn import Trace
from swarm.communication.topology.contacts import Contacts
from swarm.communication.topology.file import File
from swarm.communication.topology.social import Social
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results.report.html.page import page
from tests.support import prepared, run

PEOPLE = ("zoe", "adam", "mia", "liu")


def star(folder: Path, hub: str, others: list[str], kind: str = "txt") -> str:
    """A star around ``hub``, in one of the formats."""
    graph = nx.Graph([(hub, other) for other in others])
    path = folder / f"star.{kind}"
    if kind == "graphml":
        nx.write_graphml(graph, path)
    elif kind == "json":
        path.write_text(json.dumps(nx.node_link_data(graph, edges="links")))
    else:
        nx.write_edgelist(graph, path, data=False)
    return str(path)


def table(folder: Path, people: tuple[Any, ...] = PEOPLE, name: str = "t.parquet") -> list[str]:
    """Options for a small table in which each of the people has 12 rows."""
    who = np.repeat(np.array(people, object), 12)
    draw = np.random.default_rng(0).normal(size=(len(who), 2))
    frame = pd.DataFrame(draw, columns=["a", "b"]).assign(
        label=np.array(["sit", "run", "walk"])[np.arange(len(who)) % 3], who=who
    )
    frame.to_parquet(folder / name)
    return ["data=table", f"data.path={folder / name}", "data.device=who", f"devices={len(people)}", "model=softmax",
            "train.batch=4", "rounds=2"]  # fmt: skip


def hub_of(ready: PreparedRun) -> int:
    return int(
        ready.experiment(ready.arms[0], ready.arms[0].variants[0])
        .communication.graph(1)
        .degree_in.argmax()
    )


@pytest.mark.parametrize("kind", ["txt", "graphml", "json"])
def test_every_owner_sits_at_the_node_of_the_same_name(tmp_path: Path, kind: str) -> None:
    for hub in PEOPLE:
        path = star(tmp_path, hub, [name for name in PEOPLE if name != hub], kind)
        ready = prepared(
            *table(tmp_path), "partition=natural", "topology=file", f"topology.path={path}"
        )
        data, device = ready.dataset, hub_of(ready)
        assert data.owner is not None
        assert data.owner_names is not None
        assert {data.owner_names[owner] for owner in data.owner[ready.split.of(device)]} == {hub}
        assert (ready.split.names or ())[device] == hub


@pytest.mark.parametrize("spelt", [str, "{:02d}".format, "{}.0".format, " {} ".format])
def test_a_number_is_the_same_name_however_it_is_spelt(tmp_path: Path, spelt: Any) -> None:
    path = star(tmp_path, "2", [str(i) for i in range(1, 13) if i != 2])
    ready = prepared(
        *table(tmp_path, tuple(map(spelt, range(1, 13)))),
        "partition=natural",
        "topology=file",
        f"topology.path={path}",
    )
    assert (ready.split.names or ())[hub_of(ready)] == "2"


def test_a_graph_of_other_people_is_refused_with_both_lists(tmp_path: Path) -> None:
    path = star(tmp_path, "zoe", ["adam", "tom", "kim"])
    given = *table(tmp_path), "partition=natural", "topology=file", f"topology.path={path}"
    with pytest.raises(ConfigError) as refused:
        prepared(*given)
    assert (
        str(refused.value)
        == f"topology.path={path}: its nodes are not the owners of the data: 2 of 4 nodes have no"
        " owner (kim, tom) and 2 of 4 owners have no node (liu, mia); give both the same names,"
        " or set topology.match=order to put the owners on the nodes in their order"
    )
    by_order = prepared(*given, "topology.match=order")
    assert by_order.split.names == ("adam", "liu", "mia", "zoe")
    assert hub_of(by_order) == 3  # of adam, kim, tom, zoe


def test_where_only_one_side_has_names_devices_have_these(tmp_path: Path) -> None:
    path = star(tmp_path, "zoe", ["adam", "tom", "kim"])
    of_graph = prepared(*table(tmp_path), "partition=iid", "topology=file", f"topology.path={path}")
    assert of_graph.split.names == ("adam", "kim", "tom", "zoe")
    of_data = prepared(*table(tmp_path), "partition=natural", "topology=ring")
    assert of_data.split.names == ("adam", "liu", "mia", "zoe")
    assert prepared(*table(tmp_path), "partition=iid", "topology=ring").split.names is None
    numbers = star(tmp_path, "0", ["1", "2", "3"])  # a device's number says as much
    assert (
        prepared(
            *table(tmp_path), "partition=iid", "topology=file", f"topology.path={numbers}"
        ).split.names
        is None
    )


def test_a_name_is_one_node_however_the_file_spells_it(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text("1 02\n2.0 3\n")
    assert File(3, str(tmp_path / "g.txt")).graph(0).links_E2.tolist() == [[0, 1], [1, 2]]
    document = {
        "nodes": [{"id": 1}, {"id": "2"}, {"id": 3.0}],
        "links": [{"source": "1", "target": 2}, {"source": 2, "target": "3"}],
    }
    (tmp_path / "g.json").write_text(json.dumps(document))
    assert File(3, str(tmp_path / "g.json")).node_names == ("1", "2", "3")
    document["nodes"].append({"id": "02"})
    (tmp_path / "g.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"nodes\[3\]: id '02' stands there twice"):
        File(3, str(tmp_path / "g.json"))


def contacts(
    folder: Path, text: str, devices: int, owners: Names | None = None, **options: Any
) -> Contacts:
    (folder / "c.csv").write_text("time,a,b\n" + text)
    return Contacts(devices, str(folder / "c.csv"), owner_names=owners, **options)


def test_who_met_is_who_has_the_data(tmp_path: Path) -> None:
    owners = ("adam", "liu", "mia", "zoe")
    with pytest.warns(
        UserWarning, match="1 of 4 owners of data are not in it and meet nobody: liu"
    ):
        topology = contacts(tmp_path, "0,zoe,adam\n0,mia,zoe\n", 4, owners)
    assert topology.graph(0).links_E2.tolist() == [[0, 3], [2, 3]]
    with pytest.raises(ConfigError, match=r"1 of 2 nodes have no owner \(tom\)"):
        contacts(tmp_path, "0,zoe,tom\n", 4, owners)
    by_order = contacts(tmp_path, "0,zoe,tom\n", 4, owners, match="order")
    assert by_order.graph(0).links_E2.tolist() == [[0, 1]]
    alone = contacts(tmp_path, "0,zoe,tom\n", 3)
    assert alone.node_names == ("tom", "zoe", None)


def test_people_of_a_recorded_network_are_where_they_were() -> None:
    graph = nx.florentine_families_graph()
    owners = tuple(sorted(graph))
    topology = Social(15, "florentine_families", owner_names=owners)
    assert {frozenset(owners[i] for i in link) for link in topology.graph(0).links_E2} == set(
        map(frozenset, graph.edges)
    )
    assert Social(15, "florentine_families").node_names == tuple(graph)
    with pytest.raises(
        ConfigError,
        match=r"^graph=florentine_families: its nodes are not the owners of the data: 15 of 15",
    ):
        Social(15, "florentine_families", owner_names=tuple(map(str, range(15))))


def test_a_trace_of_who_is_there_may_say_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time,device,online\n0,zoe,0\n1,zoe,1\n1,1,0\n")
    trace = Trace(3, 1.0, str(tmp_path / "t.csv"), device_names=("adam", "mia", "zoe"))
    assert [trace.online(round).tolist() for round in (1, 2)] == [
        [True, True, False],
        [True, False, True],
    ]
    with pytest.raises(ConfigError, match="unknown device 'zoe'; the devices are 0 to 2"):
        Trace(3, 1.0, str(tmp_path / "t.csv"))
    with pytest.raises(ConfigError, match="unknown device 'zoe'; the devices are 1, 2, 3"):
        Trace(3, 1.0, str(tmp_path / "t.csv"), device_names=("1", "2", "3"))


# --- where they are shown -------------------------------------------------------------------------


def test_a_run_says_whose_device_is_which(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    summary = run(folder, *table(tmp_path), "partition=natural", "topology=ring", "scenario.arms=[swarm,isolated,centralised]",
                  "optimizer.lr=0.1", "engine.block=1")  # fmt: skip
    names = ["adam", "liu", "mia", "zoe"]
    assert summary["device_names"] == names
    assert summary["data"]["class_names"] == ["run", "sit", "walk"]
    assert json.loads((folder / "graph.json").read_text())["names"] == names
    made = swarm.load(folder)
    for arm in ("swarm", "isolated"):
        assert made.final_devices(arm)["name"].tolist() == names
    assert made.final_devices("centralised")["name"].isna().all()
    assert made.device("zoe") == made.device("3") == 3
    for name, values in made.state_dict("swarm", "zoe").items():
        assert values.equal(made.state_dict("swarm", 3)[name])
    with pytest.raises(
        ConfigError,
        match=r"^/?device=bob: no device is called so; they are adam, liu, mia, zoe, or 0 to 3$",
    ):
        made.state_dict("swarm", "bob")
    with pytest.raises(ConfigError, match="device=zoe: the arm centralised has the devices 0 to 0"):
        made.state_dict("centralised", "zoe")
    assert '"names":["adam","liu","mia","zoe"]' in page(made)


def test_names_from_the_graph_are_those_of_all_arms(tmp_path: Path) -> None:
    path = star(tmp_path, "zoe", ["adam", "tom", "kim"])
    run(
        tmp_path / "r",
        *table(tmp_path),
        "partition=iid",
        "topology=file",
        f"topology.path={path}",
        "scenario.arms=[swarm,isolated]",
    )
    made = swarm.load(tmp_path / "r")
    for arm in ("swarm", "isolated"):
        assert made.final_devices(arm)["name"].tolist() == ["adam", "kim", "tom", "zoe"]


def test_without_names_nothing_is_added(tmp_path: Path) -> None:
    summary = run(tmp_path / "r", "devices=9", "rounds=1")
    made = swarm.load(tmp_path / "r")
    assert made.names is None
    assert "name" not in made.devices
    assert "device_names" not in summary
    assert "class_names" not in summary["data"]
    assert made.device("8") == 8
    with pytest.raises(ConfigError, match="they are 0 to 8"):
        made.device("zoe")


def test_a_summary_of_many_devices_has_no_list_of_them(tmp_path: Path) -> None:
    people = tuple(f"p{i}" for i in range(1001))
    rows = pd.DataFrame(
        {"a": np.arange(4004) / 4004, "label": np.arange(4004) % 2, "who": np.tile(people, 4)}
    )
    rows.to_parquet(tmp_path / "t.parquet")
    summary = run(tmp_path / "r", "data=table", f"data.path={tmp_path / 't.parquet'}", "data.device=who", "partition=natural",
                  "devices=1001", "topology=ring", "model=softmax", "rounds=0")  # fmt: skip
    assert "device_names" not in summary
    assert swarm.load(tmp_path / "r").device("p1000") == sorted(people).index("p1000")


def test_who_diverges_is_named(tmp_path: Path) -> None:
    summary = run(tmp_path / "r", *table(tmp_path), "partition=natural", "topology=ring", "optimizer.lr=1.0e+18", "rounds=9",
                  "evaluate.accuracy=false")  # fmt: skip
    found = summary["arms"]["swarm"]["diverged"]
    assert found["name"] == ["adam", "liu", "mia", "zoe"][found["device"]]
    assert f"device {found['device']} ({found['name']}), round {found['round']}" in page(
        swarm.load(tmp_path / "r")
    )
    assert (
        str(DivergedError(3, 5, "zoe"))
        == "device 3 (zoe) diverged (not finite, or a loss beyond all measure) in round 5"
    )


@pytest.mark.parametrize("people", [tuple(range(1, 13)), PEOPLE])
def test_a_run_begun_before_names_were_kept_is_warned_of_another_order(
    tmp_path: Path, people: tuple[Any, ...]
) -> None:
    """Only where the order is another one: of numbers, which such a version took as text where they
    were written as text.
    """
    folder = tmp_path / "r"
    run(folder, *table(tmp_path, people), "partition=natural", "topology=ring", "rounds=1")
    graph = json.loads((folder / "graph.json").read_text())
    del graph["names"]
    (folder / "graph.json").write_text(json.dumps(graph))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        swarm.resume(folder, {"rounds": 2})
    found = [str(each.message) for each in said if "begun by a version" in str(each.message)]
    assert len(found) == (people != PEOPLE)
    assert swarm.load(folder).names == list(map(str, sorted(people)))
