"""The TensorBoard mirror, its event files read back record by record."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results.track import read_jsonl
from swarm.results.track.tensorboard import TensorBoardTracker
from tests.support import config, prepared, run

needed = pytest.mark.skipif(
    importlib.util.find_spec("tensorboardX") is None, reason="needs tensorboardX"
)


def events(folder: Path) -> list[Any]:
    """All events of a folder, in the order of files and of records (length, checksum, content,
    checksum).
    """
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.glob("events.*")):
        raw = file.read_bytes()
        while raw:
            (size,) = struct.unpack("<Q", raw[:8])
            found.append(Event.FromString(raw[12 : 12 + size]))
            raw = raw[16 + size :]
    return found


def scalars(folder: Path, tag: str) -> dict[int, float]:
    """A curve as TensorBoard shows it: what a restarted part takes back is gone."""
    curve: dict[int, float] = {}
    for event in events(folder):
        if event.HasField("session_log"):
            curve = {step: value for step, value in curve.items() if step < event.step}
        for value in event.summary.value:
            if value.tag == tag and value.HasField("simple_value"):
                curve[event.step] = value.simple_value
    return curve


def tags(folder: Path, kind: str) -> set[str]:
    return {v.tag for event in events(folder) for v in event.summary.value if v.HasField(kind)}


@needed
def test_a_run_is_mirrored_whole(tmp_path: Path) -> None:
    run(
        tmp_path / "r",
        "tracker=tensorboard",
        "rounds=3",
        "scenario.arms=[swarm,isolated]",
        "report=true",
    )
    home = tmp_path / "r" / "tensorboard"
    assert {place.name for place in home.iterdir()} == {"swarm", "isolated", "report"}
    for arm in ("swarm", "isolated"):
        logged = {
            r["round"]: r for r in read_jsonl(tmp_path / "r" / "metrics.jsonl") if r["arm"] == arm
        }
        for name in ("accuracy_mean", "accuracy_p10", "consensus_distance", "bytes_total"):
            shown = scalars(home / arm, name)
            assert shown == {
                r: pytest.approx(record[name], rel=1e-6) for r, record in logged.items()
            }
        assert tags(home / arm, "histo") == {"device_accuracy"}
        drawn = {
            event.step
            for event in events(home / arm)
            for v in event.summary.value
            if v.HasField("histo")
        }
        assert drawn == {r for r, record in logged.items() if record["accuracy_mean"] is not None}
        assert max(len(tags(home / arm, "simple_value")), 1) < 100  # never a name for each device
        (own,) = (
            v.tensor.string_val[0].decode()
            for e in events(home / arm)
            for v in e.summary.value
            if v.HasField("tensor")
        )
        assert f"arm: {arm}" in own
        assert ("SmallWorld" in own) == (arm == "swarm")
    assert tags(home / "report", "image") == {"curves", "graph"}
    texts = {v.tag: v.tensor.string_val[0].decode() for e in events(home / "report") for v in e.summary.value
             if v.HasField("tensor")}  # fmt: skip
    assert "devices: 12" in texts["config/text_summary"]
    assert "torch:" in texts["versions/text_summary"]
    assert "report.html" in texts["report.html/text_summary"]


@needed
def test_what_the_swarm_gained_stands_at_its_last_round(tmp_path: Path) -> None:
    summary = run(
        tmp_path / "r",
        "tracker=tensorboard",
        "rounds=2",
        "scenario.arms=[swarm,isolated,centralised]",
    )
    assert summary["gap_closed"] is not None
    home = tmp_path / "r" / "tensorboard"
    assert scalars(home / "swarm", "gap_closed") == {
        2: pytest.approx(summary["gap_closed"], rel=1e-6)
    }
    assert set(scalars(home / "swarm", "accuracy_mean")) == set(
        scalars(home / "isolated", "accuracy_mean")
    )
    assert scalars(home / "isolated", "gap_closed") == {}


@needed
def test_what_a_crash_wrote_too_much_is_taken_back(tmp_path: Path) -> None:
    """Killed after round 5, resumed from the checkpoint of round 3: one curve, each round once."""
    for first, last, offset in ((0, 5, 0.0), (4, 6, 10.0)):
        tracker = TensorBoardTracker(tmp_path, "r", {})
        tracker.start("swarm", 6, max(first - 1, 0))
        for r in range(first, last + 1):
            tracker.record(
                {
                    "arm": "swarm",
                    "round": r,
                    "loss_mean": r + offset,
                    "lr": None,
                    "_device_accuracy": np.ones(3),
                }
            )
        tracker.close()
    assert scalars(tmp_path / "tensorboard" / "swarm", "loss_mean") == {
        0: 0,
        1: 1,
        2: 2,
        3: 3,
        4: 14,
        5: 15,
        6: 16,
    }


def test_without_the_package_the_run_is_refused_before_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "tensorboardX" else find(name, *a),
    )
    with pytest.raises(
        ConfigError,
        match=r"tracker=tensorboard: needs tensorboardX; pip install '\.\[tensorboard\]'",
    ):
        prepared("tracker=tensorboard")
    assert isinstance(prepared("tracker=none"), PreparedRun)
    assert config("tracker=tensorboard")["tracker"]["histograms"] is True


@needed
def test_histograms_can_be_left_out(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path, "r", {}, histograms=False)
    tracker.start("swarm", 1, 0)
    tracker.record(
        {"arm": "swarm", "round": 0, "accuracy_mean": 0.5, "_device_accuracy": np.ones(3)}
    )
    tracker.finish("swarm", {})
    assert tags(tmp_path / "tensorboard" / "swarm", "histo") == set()
    assert scalars(tmp_path / "tensorboard" / "swarm", "accuracy_mean") == {0: 0.5}
