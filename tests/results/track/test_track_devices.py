"""Per-device results of a stranger: a small file that unpacks to gigabytes is refused, by whoever
reads it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.results.report import load_partial, page
from swarm.results.track.devices import MOST, read_devices
from tests.data.packed import peak_of
from tests.support import run

ROWS = 1 << 26


def _equal_numbers(file: Path) -> None:
    """A gigabyte of zeros in a few KB."""
    part = pa.array(np.zeros(ROWS // 64, np.int64))
    columns = {name: pa.chunked_array([part] * 64) for name in ("round", "device")}
    arm = pa.chunked_array(
        [pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(part), np.int32)), ["swarm"])] * 64
    )
    pq.write_table(pa.table({"arm": arm, **columns}), file, compression="zstd")


def _long_names(file: Path) -> None:
    """One name of a megabyte, for each of many rows."""
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4000, np.int32)), ["x" * (1 << 20)])
    zeros = np.zeros(4000, np.int64)
    pq.write_table(
        pa.table({"arm": names, "round": zeros, "device": zeros}), file, compression="zstd"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices") / "run"
    run(folder, "rounds=2")
    return folder


@pytest.mark.parametrize("bomb", [_equal_numbers, _long_names])
@pytest.mark.parametrize("name", ["devices.parquet", "checkpoints/swarm/devices_000000002.parquet"])
def test_a_bomb_in_a_run_folder_is_one_sentence(
    finished: Path, tmp_path: Path, bomb: object, name: str
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    if name.startswith("checkpoints"):
        (folder / "devices.parquet").unlink()
    assert callable(bomb)
    bomb(folder / name)
    assert (folder / name).stat().st_size < 1 << 20

    def refused() -> None:
        with pytest.raises(
            ConfigError, match=rf"{name}: damaged; its .* bytes would take more than .* in memory"
        ):
            swarm.load(folder)

    assert peak_of(refused) < MOST
    assert page(load_partial(folder))


def test_a_bomb_among_the_parts_is_found_before_it_is_joined(
    finished: Path, tmp_path: Path
) -> None:
    """In a folder of the format before, which has no hashes of its parts."""
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "summary.json").unlink()
    for file in folder.glob("checkpoints/*/*.json"):
        manifest = json.loads(file.read_text())
        facts = {key: value for key, value in manifest["facts"].items() if key != "parts"}
        file.write_text(json.dumps({"format": 3, "facts": facts, **{k: v for k, v in manifest.items()
                                    if k not in ("seal", "format", "facts")}}))  # fmt: skip
    part = max(folder.glob("checkpoints/swarm/devices_*.parquet"))
    _equal_numbers(part)
    with pytest.raises(
        ConfigError, match=f"{part.name}: damaged; its .* bytes would take more than .* in memory"
    ):
        swarm.resume(folder, {})


def test_honest_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    table = pa.table({
        "arm": pa.array(["swarm"] * 500), "round": np.repeat(np.arange(5), 100), "device": np.tile(np.arange(100), 5),
        "name": pa.array([f"n{i % 100}" for i in range(500)], pa.string()), "loss": draw.random(500).astype(np.float32),
        "accuracy": pa.array([None, *draw.random(499)]),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "devices.parquet")
    assert read_devices(tmp_path / "devices.parquet", "key").equals(table)
