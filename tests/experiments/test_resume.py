"""A run that was cut short and resumed equals one that was not, bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.config.schema import sealed
from swarm.results.track.jsonl import read_jsonl
from tests.contracts.input_files import capacity_file, tile_file

Small = Callable[..., dict[str, Any]]


def _records(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in r.items() if not k.startswith("wall_s")}
        for r in read_jsonl(folder / "metrics.jsonl")
    ]


def _cut(folder: Path, after: int) -> None:
    """What ``kill -9`` some time after the checkpoint of round ``after`` leaves."""
    (folder / "summary.json").unlink()
    (folder / "devices.parquet").unlink()
    progress = json.loads((folder / "progress.json").read_text())
    kept = {key: value for key, value in progress.items() if key != "seal"}
    (folder / "progress.json").write_text(json.dumps(sealed({**kept, "arms": {}})))
    for file in (folder / "checkpoints" / "swarm").glob("round_*"):
        if int(file.stem.removeprefix("round_")) > after:
            file.unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"arm": "swarm", "round": 99, "torn')


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_resumed_equals_uninterrupted(
    small: Small, tmp_path: Path, after: int, optimizer: str
) -> None:
    options = (f"optimizer={optimizer}", "optimizer.lr=0.05", "checkpoint.keep=99")
    whole = small(*options, name="whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    _cut(tmp_path / "cut", after)
    resumed = swarm.resume(tmp_path / "cut", {"engine.shards": 3}).summary
    assert resumed["arms"]["swarm"]["params_sha256"] == whole["arms"]["swarm"]["params_sha256"]
    assert _records(tmp_path / "cut") == _records(tmp_path / "whole")
    pd.testing.assert_frame_equal(
        *(pd.read_parquet(tmp_path / n / "devices.parquet") for n in ("cut", "whole"))
    )


def test_other_data_or_another_graph_under_the_same_name_are_refused(
    small: Small, tmp_path: Path
) -> None:
    """The rounds so far and those to come would be of two experiments."""
    data, graph = tmp_path / "t.csv", tmp_path / "g.csv"
    rows = [f"{i % 7},{i % 5},{i % 2}" for i in range(80)]
    data.write_text("\n".join(["a,b,label", *rows]))
    graph.write_text("\n".join(f"{i},{(i + 1) % 6}" for i in range(6)))
    words = ("data=table", f"data.path={data}", "topology=file", f"topology.path={graph}")
    small(*words, "devices=6", "partition=iid", name="run")
    folder, before = tmp_path / "run", {data: data.read_bytes(), graph: graph.read_bytes()}
    for key, file, text in (
        ("data.path", data, "\n".join(["a,b,label", *rows[:-1], "3,3,0"])),
        (
            "topology.path",
            graph,
            "\n".join(f"{i},{(i + 2) % 6}\n{i},{(i + 1) % 6}" for i in range(6)),
        ),
    ):
        file.write_text(text)
        kept = (folder / "config.yaml").read_bytes()
        with pytest.raises(
            ConfigError, match="is another file than the one that the run in"
        ) as said:
            swarm.resume(folder, {"rounds": 9})
        assert said.value.key == key
        assert (folder / "config.yaml").read_bytes() == kept
        assert (folder / "summary.json").exists()
        file.write_bytes(before[file])
    assert swarm.resume(folder, {"rounds": 9}).summary["rounds"] == 9


def test_a_file_that_is_found_from_where_the_run_began_only(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path such as ``t.csv`` begins where one is: from elsewhere the message says where."""
    began, elsewhere = tmp_path / "began", tmp_path / "elsewhere"
    for folder in (began, elsewhere):
        folder.mkdir()
    (began / "t.csv").write_text(
        "a,b,label\n" + "".join(f"{i % 7},{i},{i % 2}\n" for i in range(80))
    )
    monkeypatch.chdir(began)
    small(
        "data=table", "data.path=t.csv", "topology=ring", "devices=6", "partition=iid", name="run"
    )
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ConfigError) as said:
        swarm.resume(tmp_path / "run", {"rounds": 9})
    assert (said.value.key, said.value.value) == ("data.path", "t.csv")
    assert str(began) in said.value.valid
    (elsewhere / "t.csv").write_text("a,b,label\n1,2,0\n2,1,1\n")  # another one of that name
    with pytest.raises(ConfigError, match="is another file than the one"):
        swarm.resume(tmp_path / "run", {"rounds": 9})
    monkeypatch.chdir(began)
    assert swarm.resume(tmp_path / "run", {"rounds": 9}).summary["rounds"] == 9


def test_other_delays_devices_or_first_parameters_under_the_same_name_are_refused(
    small: Small, tmp_path: Path
) -> None:
    """A swarm would go on over another network, or its later arms would begin elsewhere."""
    lines, clients = tile_file(tmp_path), capacity_file(tmp_path)
    start = tmp_path / "start.safetensors"
    words = ("delay=speedtest", f"delay.path={lines}", "fleet=capacity", f"fleet.path={clients}")
    small("rounds=0", name="first")
    swarm.save_start(start, swarm.load(tmp_path / "first").state_dict("swarm", 0))
    small(*words, f"init={start}", name="run")
    for key, file in (("delay.path", lines), ("fleet.path", clients), ("init", start)):
        before = file.read_bytes()
        file.write_bytes(before + b" ")
        with pytest.raises(ConfigError, match="is another file than the one that the run") as said:
            swarm.resume(tmp_path / "run", {"rounds": 9})
        assert said.value.key == key
        file.write_bytes(before)


def test_more_rounds_equal_a_longer_run(small: Small, tmp_path: Path) -> None:
    small(name="short")
    longer = swarm.resume(tmp_path / "short", {"rounds": 7}).summary
    assert (
        longer["arms"]["swarm"]["params_sha256"]
        == small("rounds=7", name="long")["arms"]["swarm"]["params_sha256"]
    )
    assert _records(tmp_path / "short") == _records(tmp_path / "long")


def test_a_run_whose_rate_was_searched_is_lengthened_with_that_rate(
    small: Small, tmp_path: Path
) -> None:
    words = ("optimizer.lr=auto", "lr_search.lrs=[0.01,0.1]", "lr_search.rounds=1", "rounds=1")
    short = small(*words, "scenario.arms=[swarm]")["arms"]["swarm"]
    longer = swarm.resume(tmp_path / "run", {"rounds": 2}).summary["arms"]["swarm"]
    assert (longer["rounds"], longer["lr"]) == (2, short["lr"])


def test_a_finished_run_is_left_alone(small: Small, tmp_path: Path) -> None:
    small()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    swarm.resume(tmp_path / "run", {})
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before


@pytest.mark.parametrize(
    "key", ["seed", "engine.block", "devices", "optimizer.lr", "topology", "train.batch"]
)
def test_other_keys_are_refused_by_name(small: Small, tmp_path: Path, key: str) -> None:
    small()
    with pytest.raises(ConfigError, match=key):
        swarm.resume(tmp_path / "run", {key: 2})


def test_fewer_rounds_are_refused(small: Small, tmp_path: Path) -> None:
    small()
    with pytest.raises(ConfigError, match="rounds=2"):
        swarm.resume(tmp_path / "run", {"rounds": 2})


@pytest.mark.parametrize("damage", ["flip", "shorten", "manifest", "nothing"])
def test_a_damaged_checkpoint_is_named(small: Small, tmp_path: Path, damage: str) -> None:
    small("checkpoint.keep=1", name="run")
    folder = tmp_path / "run" / "checkpoints" / "swarm"
    _cut(tmp_path / "run", 99)
    data = folder / "round_000000004.safetensors"
    if damage == "flip":
        raw = bytearray(data.read_bytes())
        raw[-7] ^= 1
        data.write_bytes(raw)
    elif damage == "shorten":
        data.write_bytes(data.read_bytes()[:-5])
    elif damage == "manifest":
        data.with_suffix(".json").write_text("{}")
    else:
        data.unlink()
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="round_000000004"):
        swarm.resume(tmp_path / "run", {"rounds": 9})
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before, (
        "refused, nothing touched"
    )


def test_a_run_of_no_rounds_goes_on_more_than_once(small: Small, tmp_path: Path) -> None:
    """It had no schedule yet, so the first rounds settle it."""
    small("rounds=0")
    assert swarm.resume(tmp_path / "run", {"rounds": 2}).summary["rounds"] == 2
    assert swarm.resume(tmp_path / "run", {"rounds": 3}).summary["rounds"] == 3
    small("rounds=2", name="whole")
    swarm.resume(tmp_path / "whole", {"rounds": 3})
    found = [
        json.loads((tmp_path / name / "summary.json").read_text())["arms"]["swarm"]
        for name in ("run", "whole")
    ]
    assert found[0]["params_sha256"] == found[1]["params_sha256"]


def test_an_edited_config_of_a_finished_run_is_noticed(small: Small, tmp_path: Path) -> None:
    small()
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace("\nseed: 0\n", "\nseed: 1\n"))
    with pytest.raises(
        ConfigError, match="was edited: it has seed=1, and the run was made with seed=0"
    ):
        swarm.resume(tmp_path / "run", {})
