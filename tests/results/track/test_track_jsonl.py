"""metrics.jsonl survives kill -9, holds no NaN, and can be cut back to a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.results.track import JsonlSink, read_jsonl, truncate
from swarm.results.track.jsonl import line


def test_each_record_is_on_disk_before_record_returns(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = JsonlSink(path)
    for r in range(3):
        sink.record({"arm": "swarm", "round": r})
        # without close: a killed process loses nothing
        assert path.read_bytes().count(b"\n") == r + 1
    sink.close()
    sink.close()


def test_numbers_are_finite_or_null_and_keep_every_digit() -> None:
    value = 0.1 + 0.2
    text = line(
        {
            "round": np.int64(3),
            "a": np.float64(value),
            "b": np.nan,
            "c": float("-inf"),
            "d": np.bool_(True),
        }
    )
    assert json.loads(text) == {"round": 3, "a": value, "b": None, "c": None, "d": True}


def test_the_order_of_keys_does_not_depend_on_the_writer() -> None:
    record = {"arm": "swarm", "round": 1, "lr": 0.1, "zeta": 1, "accuracy_mean": 0.5}
    assert line(record) == line(dict(reversed(record.items())))
    assert list(json.loads(line(record))) == ["arm", "round", "lr", "accuracy_mean", "zeta"]


def test_extras_for_mirrors_stay_out_and_arrays_are_refused() -> None:
    assert json.loads(line({"round": 0, "_device_accuracy": np.zeros(3)})) == {"round": 0}
    with pytest.raises(TypeError, match="scalars"):
        line({"round": 0, "values": np.zeros(3)})


@pytest.mark.parametrize("torn", [b'{"arm": "swarm", "rou', b'{"arm": "swarm", "round": 2}'])
def test_a_torn_last_line_is_ignored_and_cut_before_appending(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"arm": "swarm", "round": 0}\n{"arm": "swarm", "round": 1}\n' + torn)
    assert [record["round"] for record in read_jsonl(path)] == [0, 1]
    sink = JsonlSink(path)
    sink.record({"arm": "swarm", "round": 2})
    sink.close()
    assert [record["round"] for record in read_jsonl(path)] == [0, 1, 2]


def test_a_file_that_is_one_torn_line_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"{" * 200_000)
    JsonlSink(path).close()
    assert path.read_bytes() == b""


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"arm": "a", "round": 0}\ngarbage\n{"arm": "a", "round": 1}\n')
    with pytest.raises(ConfigError, match="line 2"):
        read_jsonl(path)


def test_truncate_keeps_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"arm": "swarm", "round": %d,   "x": 0.30000000000000004}\n' % r for r in range(6)]
    path.write_bytes(b"".join(lines) + b'{"arm": "sw')

    def keep(record: dict[str, Any]) -> bool:
        return bool(record["round"] <= 3)

    assert truncate(path, keep) == 2
    assert path.read_bytes() == b"".join(lines[:4])
    assert list(tmp_path.iterdir()) == [path]
    assert truncate(tmp_path / "none.jsonl", keep) == 0
    assert not (tmp_path / "none.jsonl").exists()
