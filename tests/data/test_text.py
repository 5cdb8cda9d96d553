"""Text with owners: windows, a split without overlap, owners in order, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.config.settings import Settings
from swarm.data.files.text import ALPHABET, Text
from swarm.data.partition import Natural
from swarm.experiments.runs.prepared import PreparedRun
from tests.support import config


def written(path: Path, texts: dict[Any, list[str]], column: str = "owner") -> str:
    rows = [{column: owner, "text": line} for owner, lines in texts.items() for line in lines]
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def numbers(count: int, start: int = 0) -> str:
    """Text in which every stretch of four characters stands once."""
    return "".join(f"{i:03d}." for i in range(start, start + count // 4))


def words(x: np.ndarray) -> list[str]:
    return ["".join((ALPHABET + "?")[int(c)] for c in row) for row in x]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_positions_are_labelled_with_the_next_character(tmp_path: Path, suffix: str) -> None:
    path = written(
        tmp_path / f"t{suffix}", {"zoe": [numbers(400)], "abe": [numbers(400, 100), "ä" * 10]}
    )
    data = Text(path, context=8, min_chars=100).load()
    assert data.classes == 97
    assert data.x.shape == data.y.shape
    assert (data.x[:, 1:] == data.y[:, :-1]).all()
    assert words(data.x)[0] == "100.101."
    assert data.owner is not None
    assert set(data.owner) == {0, 1}
    zoe = np.flatnonzero(data.owner == 1)
    assert words(data.x[zoe])[0] == "000.001."
    assert data.y.max() == 96  # what is not in the alphabet


@pytest.mark.parametrize("stride", [None, 3])
@pytest.mark.parametrize("sizes", [[400, 1000], [92, 4000]])
def test_held_out_text_is_later_and_nobody_sees_any_of_it(
    tmp_path: Path, stride: int | None, sizes: list[int]
) -> None:
    path = written(tmp_path / "t.parquet", {i: [numbers(size)] for i, size in enumerate(sizes)})
    data = Text(path, context=8, stride=stride, min_chars=92).load()
    assert data.owner is not None
    whole = np.concatenate([data.x, data.y[:, -1:]], axis=1)
    for owner, size in enumerate(sizes):
        place = []
        for ids in (data.train, data.validation, data.test):
            mine = ids[data.owner[ids] == owner]
            assert len(mine)
            begins = [numbers(size).index(text) for text in words(whole[mine])]
            place.append({b + t for b in begins for t in range(9)})
            assert set(np.diff(begins)) <= {(stride or 8) if ids is data.train else 8}
        assert max(place[0]) < min(place[1])
        assert max(place[1]) < min(place[2])
        assert max(place[2]) >= size - 9


def test_owners_are_in_order_and_the_largest_can_be_taken(tmp_path: Path) -> None:
    texts = {10: [numbers(200)], 9: [numbers(400)], 2: [numbers(800)], 1: ["too little"]}
    path = written(tmp_path / "t.parquet", texts)
    with pytest.warns(
        UserWarning,
        match="1 of 4 owners are left out, as they have less text than data.min_chars=200",
    ):
        data = Text(path, context=8, min_chars=200).load()
    holdings = Natural(3).split(data, Keys(0, "partition"))
    assert [len(holdings.of(i)) for i in range(3)] == sorted(
        [len(holdings.of(i)) for i in range(3)], reverse=True
    )
    two = Text(path, context=8, min_chars=200, owners=2, held=1, max_chars=250).load()
    assert two.owner is not None
    assert np.bincount(two.owner[two.test]).tolist() == [1, 1]
    assert np.bincount(two.owner[two.train]).tolist() == [21, 21]
    assert two.time is None
    ordered = Text(path, context=8, min_chars=200, owners=2, ordered=True).load()
    holdings = Natural(2).split(ordered, Keys(0, "partition"))
    assert holdings.ordered


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"owner": "who"}, r"^owner=who: is not a column of .*; its columns are owner, text$"),
        ({"text": "words"}, r"^text=words: is not a column of .*; its columns are owner, text$"),
        ({"text": "owner"}, r"^text=owner: row 0 \(counted from 0\) is not text"),
        (
            {"context": 64},
            (
                r"^min_chars=100: must be at least 650, so that .* each hold a sequence of"
                r" data.context=64"
            ),
        ),
        ({"max_chars": 50}, r"^max_chars=50: must be at least 90"),
        (
            {"min_chars": 5000},
            r"^min_chars=5000: is more than any of the 2 owners has in .*; the longest text has 400",
        ),
        ({"owners": 3}, r"^owners=3: must be at most 2"),
        ({"characters": "xyz"}, r"^characters=xyz: knows only 0% of the text"),
        ({"characters": "aa"}, "each once"),
        (
            {"test": 0.5, "validation": 0.5},
            "must, with data.validation=0.5, leave something to train on",
        ),
        ({"path": None}, r"^path=null: must be a .csv, .parquet, .jsonl or .arrow file"),
        (
            {"path": "fetched:shakespeare/text.parquet"},
            "`python -m swarm.data.fetch shakespeare` fetches it",
        ),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("SWARM_DATA", str(tmp_path))
    path = written(tmp_path / "t.parquet", {0: [numbers(400)], 1: [numbers(400)]})
    with pytest.raises(ConfigError, match=message):
        Text(**{"path": path, "context": 8, "min_chars": 100, **options}).load()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_damage_is_named_and_no_text_is_quoted(tmp_path: Path, suffix: str) -> None:
    path = Path(written(tmp_path / f"t{suffix}", {0: ["a secret " * 50], 1: ["a secret " * 50]}))
    content = path.read_bytes()
    for broken in (content[: len(content) // 2] + b'"{', content[:20], b"\xff" + content):
        path.write_bytes(broken)
        with pytest.raises(ConfigError) as caught:
            Text(str(path), context=8, min_chars=100, owner="owners").load()
        assert "secret" not in str(caught.value)
    pd.DataFrame({"owner": [0, 0, 1], "text": ["a secret", None, "a secret"]}).to_parquet(
        tmp_path / "t.parquet"
    )
    with pytest.raises(
        ConfigError, match=r"^text=text: row 1 \(counted from 0\) is empty; every row needs one$"
    ):
        Text(str(tmp_path / "t.parquet"), context=8).load()


def test_people_who_talk_are_neighbours_of_their_own_text(tmp_path: Path) -> None:
    """The text's owners and the graph's nodes are the same numbers, and another number of devices
    is refused.
    """
    text = written(tmp_path / "t.parquet", {i: [numbers(400 + 40 * i)] for i in range(12)})
    graph = tmp_path / "graph.json"
    links = [{"source": i, "target": (i + 1) % 12} for i in range(12)]
    graph.write_text(
        json.dumps({"directed": False, "nodes": [{"id": i} for i in range(12)], "links": links})
    )
    overrides = ["data=chitchat", f"data.path={text}", "data.context=8", "data.min_chars=400", "partition=natural", "model=gru",
                 "topology=chitchat", f"topology.path={graph}"]  # fmt: skip

    def ready(*more: str) -> PreparedRun:
        return PreparedRun.prepare(Settings.parse(config(*overrides, *more)))

    made = ready("devices=12")
    assert made.dataset.owner is not None
    for device in range(12):
        assert set(made.dataset.owner[made.split.of(device)]) == {device}
    e = made.experiment(made.arms[0], made.arms[0].variants[0])
    assert {tuple(map(int, edge)) for edge in e.communication.graph(1).to_networkx().edges} >= {
        (i, i + 1) for i in range(11)
    }
    with pytest.raises(
        ConfigError, match=r"^devices=10: the training data have 12 owners; devices=12 would do"
    ):
        ready("devices=10")
    with pytest.raises(
        ConfigError, match=r"^devices=10: .*graph.json has 12 nodes; devices=12 would do"
    ):
        ready("devices=10", "partition.largest=true")
