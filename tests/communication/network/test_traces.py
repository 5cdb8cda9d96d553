"""Fleets and churn from published measurements: small files that follow the published columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.network.traces import (
    Behaviour,
    CapacityFleet,
    SpeedtestDelay,
    SpeedtestFleet,
)
from swarm.communication.topology.graph import Graph
from tests.support import prepared, require_same_bits

TILES = pd.DataFrame(
    {
        "quadkey": ["0231113112003202", "0231113112003203", "0231113112003210"],
        "tile": ["POLYGON((1 2, 3 4, 5 6, 1 2))"] * 3,
        "avg_d_kbps": [100_000, 20_000, 5_000],
        "avg_u_kbps": [10_000, 4_000, 1_000],
        "avg_lat_ms": [10, 20, 60],
        "tests": [60, 30, 10],
        "devices": [20, 10, 5],
    }
)
FIGURES = {
    "flops": 1e9, "memory": 1e9, "active": 1.0, "idle": 0.5, "radio_send": 0.0, "radio_receive": 0.0
}  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_devices_have_the_lines_of_measured_rows(tmp_path: Path, kind: str) -> None:
    """Both lines are of one row, in bit/s, and rows come as often as their tests say."""
    file = tmp_path / f"tiles.{kind}"
    getattr(TILES, f"to_{kind}")(file, index=False)
    found = SpeedtestFleet(4000, 0, **FIGURES, path=str(file)).hardware
    rows = np.stack([found.downlink, found.uplink], 1)
    each, count = np.unique(rows, axis=0, return_counts=True)
    assert each.tolist() == [[5e6, 1e6], [2e7, 4e6], [1e8, 1e7]]
    np.testing.assert_allclose(count / 4000, [0.1, 0.3, 0.6], atol=0.03)
    again = SpeedtestFleet(4000, 0, **FIGURES, path=str(file)).hardware
    np.testing.assert_array_equal(again.uplink, found.uplink)


def test_a_message_takes_half_the_round_trips_of_its_ends(tmp_path: Path) -> None:
    """And the latency of a device is of the row that its lines are of."""
    file = tmp_path / "tiles.csv"
    TILES.to_csv(file, index=False)
    delay = SpeedtestDelay(40, 3, str(file))
    lines = SpeedtestFleet(40, 3, **FIGURES, path=str(file)).hardware
    latency_N = np.array([{5e6: 0.06, 2e7: 0.02, 1e8: 0.01}[line] for line in lines.downlink])
    graph = Graph.from_edges(40, [(i, (i + 1) % 40) for i in range(40)])
    edges = np.array([0, 7, 39])
    found = delay.seconds(graph, edges, np.full(3, 0.5))
    ends = latency_N[graph.src_E[edges]] + latency_N[graph.dst_E[edges]]
    np.testing.assert_allclose(found, ends / 2)
    assert delay.longest == pytest.approx(latency_N.max())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"avg_u_kbps": [10, 0, 1]}, r"has avg_u_kbps=0.0 in row 2; it must be a number above 0"),
        ({"avg_d_kbps": [10, 5, None]}, r"has avg_d_kbps=nan in row 3; it must be"),
        ({"avg_d_kbps": ["fast", "slow", "5"]}, r"has a column avg_d_kbps that is not of numbers"),
        ({"tests": [1, -1, 1]}, r"has tests=-1.0 in row 2"),
    ],
)
def test_impossible_rows_are_named(tmp_path: Path, changed: dict[str, list], said: str) -> None:  # type: ignore[type-arg]
    file = tmp_path / "tiles.csv"
    TILES.assign(**changed).to_csv(file, index=False)
    with pytest.raises(ConfigError, match=said):
        prepared("fleet=speedtest", f"fleet.path={file}")


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tiles.csv"
    TILES.drop(columns="avg_u_kbps").to_csv(file, index=False)
    with pytest.raises(ConfigError, match=r"fleet.path.*has no column avg_u_kbps"):
        prepared("fleet=speedtest", f"fleet.path={file}")
    with pytest.raises(ConfigError, match=r"fleet.path=null: must name a table"):
        prepared("fleet=speedtest")
    with pytest.raises(ConfigError, match=r"fleet.path=nowhere.csv: is not a file"):
        prepared("fleet=speedtest", "fleet.path=nowhere.csv")


CAPACITIES = {
    "432802": {"computation": 162.0, "communication": 5648.0},
    "7": {"computation": 20, "communication": 900},
    "8": {"computation": 50.0, "communication": 30000.0},
}


def test_devices_compute_and_send_as_recorded_clients(tmp_path: Path) -> None:
    """FedScale's time of a batch, 3 · samples · computation / 1000 seconds for the reference model,
    is ours, and every client is used before one is used again."""
    file = _file(tmp_path, CAPACITIES)
    figures = {key: value for key, value in FIGURES.items() if key != "flops"}
    found = CapacityFleet(6, 1, **figures, path=str(file), reference_flop=6e8).hardware
    batch_s = 3 * 32 * 6e8 / found.flops
    expected = sorted(3 * 32 * client["computation"] / 1000 for client in CAPACITIES.values())
    np.testing.assert_allclose(sorted(batch_s), np.repeat(expected, 2))
    assert sorted(set(found.uplink)) == [9e5, 5.648e6, 3e7]
    np.testing.assert_array_equal(found.uplink, found.downlink)
    np.testing.assert_array_equal(found.flops[:3], found.flops[3:])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"communication": 5.0}, "whose computation is null; a number above 0 is needed"),
        ({"computation": 5.0, "communication": 0}, "whose communication is 0; a number above 0"),
        ({"computation": "5", "communication": 1}, 'whose computation is "5"; a number above 0'),
        (
            {"computation": 1e-320, "communication": 1},
            r"whose computation is \S+, in which no device does 6e\+08",
        ),
        ([1, 2], "that is no object with computation"),
    ],
)
def test_impossible_capacities_are_named(tmp_path: Path, entry: Any, said: str) -> None:
    file = _file(tmp_path, {**CAPACITIES, "5": entry})
    with pytest.raises(ConfigError, match=f"fleet.path.*has a client '5' {said}"):
        prepared("fleet=capacity", f"fleet.path={file}")
    with pytest.raises(ConfigError, match=r"fleet.reference_flop=0: must be"):
        prepared("fleet=capacity", f"fleet.path={file}", "fleet.reference_flop=0")
    with pytest.raises(ConfigError, match=r"fleet.path=null: must name a JSON file of clients"):
        prepared("fleet=capacity")


def test_shards_and_resume_do_not_change_a_bit_of_capacities_and_latencies(tmp_path: Path) -> None:
    TILES.to_csv(tmp_path / "tiles.csv", index=False)
    of_devices = ("fleet=capacity", f"fleet.path={_file(tmp_path, CAPACITIES)}")
    of_messages = ("delay=speedtest", f"delay.path={tmp_path / 'tiles.csv'}")
    options = (*of_devices, *of_messages, "network.round_seconds=0.02", "devices=11")
    require_same_bits(tmp_path, *options, "engine.block=2", rounds=6, cut=3)


CLIENTS = {
    "681": {"duration": 9, "inactive": [4, 9], "finish_time": 10, "active": [2, 7], "model": "A"},
    "17": {"duration": 6, "inactive": [6], "finish_time": 8, "active": [0], "model": "B"},
}


def _file(folder: Path, clients: Any) -> Path:
    file = folder / "behaviour.json"
    file.write_text(json.dumps(clients))
    return file


def test_devices_come_and_go_as_the_clients_did(tmp_path: Path) -> None:
    """Second by second, and again from the start after finish_time; half a second of the file in a
    tick of half a second.
    """
    churn = Behaviour(2, 0, 0.5, str(_file(tmp_path, CLIENTS)))
    found = np.stack([churn.online(round) for round in range(1, 41)])[::2]
    first = [t in (2, 3, 4, 7, 8, 9) for t in range(10)] * 2
    second = ([t <= 6 for t in range(8)] * 3)[:20]
    assert sorted(found.T.tolist()) == sorted([first, second])
    many = Behaviour(8, 0, 1.0, str(_file(tmp_path, CLIENTS)))
    assert sorted(many.online(2).tolist()) == [False] * 4 + [True] * 4
    fast = Behaviour(2, 0, 1.0, str(_file(tmp_path, CLIENTS)), speed=7.0)
    assert fast.online(2).tolist() == [True, False] or fast.online(2).tolist() == [False, True]


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    options = (f"churn.path={_file(tmp_path, CLIENTS)}", "devices=11", "engine.block=2")
    require_same_bits(tmp_path, "churn=behaviour", *options, rounds=6, cut=3)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"active": [0, 9], "inactive": [5], "finish_time": 10}, "came 2 times and went 1 times"),
        ({"active": [7], "inactive": [5], "finish_time": 10}, "does not come and go in turn"),
        (
            {"active": ["x"], "inactive": [5], "finish_time": 10},
            r"whose active is \['x'\]; seconds",
        ),
        ({"active": [0], "inactive": [5]}, "whose finish_time is None; seconds of at least 0"),
        ({"active": [0], "inactive": [5], "finish_time": 0}, "whose finish_time is 0"),
        ([1, 2], "that is no object with active"),
    ],
)
def test_impossible_clients_are_named(tmp_path: Path, entry: Any, said: str) -> None:
    file = _file(tmp_path, {**CLIENTS, "5": entry})
    with pytest.raises(ConfigError, match=f"has a client '5' .*{said}"):
        prepared("churn=behaviour", f"churn.path={file}")


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    file.write_bytes(b"\x80\x04}\x94.")
    with pytest.raises(ConfigError, match=r"churn.path.*is no JSON .*a pickle is not read"):
        prepared("churn=behaviour", f"churn.path={file}")
