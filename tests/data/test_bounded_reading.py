"""What reading a file may take is bounded: small files that decode to hundreds of MB, and files
without an end, are refused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from swarm.common.errors import ConfigError
from swarm.common.rows import Layout
from swarm.common.system.files import content, opened
from swarm.communication.topology.contacts import Contacts
from swarm.communication.topology.file import File
from swarm.data.files.activity import Activity
from swarm.data.files.readers.table_files import read_table
from swarm.learning.buffers import Constants
from swarm.learning.initial_parameters import read_start, save_start
from tests.data.bombs import BOMBS

MAX_MB = 8
MOST_MIB = 3 * MAX_MB + 32
HARMLESS = {"one_long_text.parquet"}  # a text that all rows share is kept once


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Of each bomb: what reading it took, and what came of it."""
    folder = tmp_path_factory.mktemp("bombs")
    command = [sys.executable, "-m", "tests.data.bombs", str(folder), str(MAX_MB)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=300, check=True
    )
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_no_more_than_is_allowed(
    name: str, outcomes: dict[str, dict[str, object]]
) -> None:
    found = outcomes[name]
    assert isinstance(found["mib"], float)
    assert found["mib"] < MOST_MIB, found
    refused = "it was read" if name in HARMLESS else "Error: "
    assert refused in str(found["outcome"]), found


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(
    "encoding", ["dictionary", "PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"]
)
def test_every_way_of_writing_parquet_is_read(
    tmp_path: Path, compression: str, version: str, encoding: str
) -> None:
    """What is known beforehand is enough for honest files, and their values come back."""
    draw = np.random.default_rng(0)
    text = [f"{i:05d}" * 3 if i % 7 else None for i in draw.integers(0, 900, 5000)]
    numbers = draw.normal(size=5000)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(draw.integers(0, 255, 15000), pa.uint8()), 3)
    table = pa.table(
        {
            "text": text,
            "n": numbers,
            "pixels": lists.cast(pa.list_(pa.uint8())),
            "half": numbers.astype(np.float16),
        }
    )
    plain = (
        {}
        if encoding == "dictionary"
        else {"use_dictionary": False, "column_encoding": {"text": encoding}}
    )
    options = {
        "compression": compression,
        "data_page_version": version,
        "row_group_size": 1700,
        "data_page_size": 4096,
    }
    pq.write_table(table, tmp_path / "t.parquet", **options, **plain)
    found = read_table(tmp_path / "t.parquet", 1 << 20)
    assert found["text"].tolist() == text
    assert np.array_equal(found["n"], numbers)
    assert np.array_equal(found["half"], numbers.astype(np.float16))
    assert np.array_equal(found["pixels"], np.array(lists.flatten()).reshape(-1, 3))
    with pytest.raises(ConfigError, match=r"takes? \d+ bytes"):
        read_table(tmp_path / "t.parquet", 100_000)


@pytest.mark.parametrize("packed", [None, "lz4", "zstd"])
@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
def test_packed_arrow_files_are_read(tmp_path: Path, packed: str | None, make: object) -> None:
    rows = [f"w{i % 5}" for i in range(3000)]
    table = pa.table(
        {"n": np.arange(3000.0), "who": pa.array(rows).dictionary_encode(), "where": rows}
    )
    options = pa.ipc.IpcWriteOptions(compression=packed)
    with (
        pa.OSFile(str(tmp_path / "t.arrow"), "wb") as file,
        make(file, table.schema, options=options) as writer,
    ):  # type: ignore[operator]
        writer.write_table(table, max_chunksize=700)
    found = read_table(tmp_path / "t.arrow", 1 << 20)
    assert found["who"].tolist() == found["where"].tolist() == rows
    assert np.array_equal(found["n"], np.arange(3000))
    with pytest.raises(ConfigError, match=r"takes? \d+ bytes"):
        read_table(tmp_path / "t.arrow", 40_000)


def test_texts_that_repeat_are_counted_once(tmp_path: Path) -> None:
    """A CSV whose cells would take more than is allowed if each were another text."""
    frame = pd.DataFrame({f"c{i}": ["yes", "no"] * 5000 for i in range(10)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert len(read_table(tmp_path / "t.csv", 2 << 20)["c0"]) == 10_000
    with pytest.raises(ConfigError, match="in memory; at most 524288 are read"):
        read_table(tmp_path / "t.csv", 1 << 19)


def test_lines_of_json_may_have_other_keys_each(tmp_path: Path) -> None:
    lines = ['{"a": 1, "b": "x"}', "", '{"b": "y", "c": 1}', '{"a": 2.5, "c": 2}']
    (tmp_path / "t.jsonl").write_text("\ufeff" + "\n".join(lines))
    found = read_table(tmp_path / "t.jsonl", 1 << 20)
    assert np.array_equal(found["a"], [1, np.nan, 2.5], equal_nan=True)
    assert found["b"].tolist() == ["x", "y", None]
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n[1]\n')
    with pytest.raises(ConfigError, match="has no JSON object in line 2"):
        read_table(tmp_path / "t.jsonl", 1 << 20)


@pytest.mark.parametrize("kind", ["pipe", "endless", "socket_", "folder", "none"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    """By everything that a configuration can name."""
    path = tmp_path / "t.safetensors"
    if kind == "folder":
        path.mkdir()
    elif kind != "none":
        from tests.data import bombs

        getattr(bombs, kind)(path)
    module = nn.Linear(2, 1)
    for read in (
        lambda: opened(path),
        lambda: content(path, 10, "max_mib=1"),
        lambda: read_start(
            str(path), module, Layout.of(module), Constants.of(module), torch.float32
        ),
        lambda: File(2, str(path)),
        lambda: Contacts(2, str(path)),
    ):
        with pytest.raises(
            ConfigError, match=r"must be an existing regular file, and (is|there is) "
        ):
            read()


def test_pipes_in_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "anna.csv")
    with pytest.raises(
        ConfigError, match=r"anna\.csv: must be an existing regular file, and is a named pipe"
    ):
        Activity(str(tmp_path)).load()
    (tmp_path / "saved").mkdir()
    os.mkfifo(tmp_path / "saved" / "data.arrow")
    (tmp_path / "saved" / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    with pytest.raises(
        ConfigError, match=r"data\.arrow: must be an existing regular file, and is a named pipe"
    ):
        read_table(tmp_path / "saved", 1 << 20)


def test_all_files_of_a_folder_share_the_bound(tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        rows = "".join(f"{i}.25,{i % 2}\n" for i in range(60_000))
        (tmp_path / f"{name}.csv").write_text("a,label\n" + rows)
    with pytest.raises(ConfigError, match=r"takes \d+ bytes; at most 1048576 are read"):
        Activity(str(tmp_path), max_mb=1).load()


def test_a_start_file_has_no_more_bytes_than_its_model_may_need(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    parts = Layout.of(module), Constants.of(module), torch.float32
    save_start(tmp_path / "s.safetensors", module.state_dict())
    assert read_start(str(tmp_path / "s.safetensors"), module, *parts).shape == (3,)
    with (tmp_path / "s.safetensors").open("ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(ConfigError, match="is larger than what this model's parameters take"):
        read_start(str(tmp_path / "s.safetensors"), module, *parts)
