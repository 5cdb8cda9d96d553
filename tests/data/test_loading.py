"""What sources say before they load is at least what loading takes, and not much more."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.config.settings import Settings
from swarm.data.dataset import Source
from swarm.data.files.cifar import Cifar
from swarm.data.files.idx import Idx
from swarm.data.files.table import Table
from swarm.data.files.text import Text
from swarm.data.generated.digits import Digits
from swarm.data.generated.digits_like import DigitsLike
from swarm.data.generated.drifting import SEA, Hyperplane
from swarm.data.generated.markov import Markov
from swarm.data.generated.synthetic import Gaussian, LeafSynthetic, LinearRegression
from swarm.experiments.run_data import load_data
from tests.support import config

TRAIN, TEST, SIDE = 4000, 1000, 28
DRAW = np.random.default_rng(0)


def idx(folder: Path) -> Source:
    for name, count in (("train", TRAIN), ("t10k", TEST)):
        shape = struct.pack(">IIII", 0x803, count, SIDE, SIDE)
        pixels = DRAW.integers(256, size=count * SIDE * SIDE, dtype=np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(shape + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = struct.pack(">II", 0x801, count)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    return Idx(str(folder))


def cifar(folder: Path) -> Source:
    for name, count in (("data_batch_1", 800), ("test_batch", 200)):
        records = DRAW.integers(256, size=(count, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(count) % 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return Cifar(str(folder))


def npz(folder: Path) -> Source:
    x = DRAW.standard_normal((20_000, 50))
    np.savez(folder / "own.npz", x=x, label=np.arange(len(x)) % 10)
    return Table(str(folder / "own.npz"))


def in_two(folder: Path) -> Source:
    x = DRAW.standard_normal((20_000, 50), np.float32)
    y = np.arange(len(x)) % 10
    np.savez(folder / "own.npz", x_train=x, label_train=y, x_test=x[:5000], label_test=y[:5000])
    return Table(str(folder / "own.npz"), label="label_train")


SOURCES: dict[str, Callable[[Path], Source]] = {
    "idx": idx,
    "cifar": cifar,
    "npz": npz,
    "npz with a test set": in_two,
    "digits": lambda _: Digits(),
    "digits_like": lambda _: DigitsLike(500, 40),
    "gaussian": lambda _: Gaussian(200, features=50),
    "leaf_synthetic": lambda _: LeafSynthetic(200, per_device=100),
    "linear_regression": lambda _: LinearRegression(200, features=50),
    "markov": lambda _: Markov(100, per_device=200),
    "sea": lambda _: SEA(100),
    "hyperplane": lambda _: Hyperplane(100),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_loading_takes_what_was_said(make: Callable[[Path], Source], tmp_path: Path) -> None:
    source = make(tmp_path)
    said = source.loading()
    assert said is not None
    tracemalloc.start()
    try:
        data = source.load()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data.nbytes < said
    assert most <= 1.1 * said + (2 << 20)  # what Python itself allocates
    assert said <= 2.5 * most


def test_a_table_says_it_by_its_kind(tmp_path: Path) -> None:
    """A Parquet file has its sizes in it, and a CSV file tells by its first part how many cells it
    may have; of a packed one nobody knows."""
    import pandas as pd

    frame = pd.DataFrame(DRAW.standard_normal((4000, 10))).rename(columns=str)
    frame["label"] = np.arange(len(frame)) % 3
    frame.to_parquet(tmp_path / "own.parquet")
    frame.to_csv(tmp_path / "own.csv", index=False)
    frame.to_csv(tmp_path / "own.csv.gz", index=False)
    cells, sizes = 8 * frame.size, {}
    for ending in ("parquet", "csv", "csv.gz"):
        sizes[ending] = Table(str(tmp_path / f"own.{ending}")).loading()
    packed, text = ((tmp_path / f"own.{each}").stat().st_size for each in ("parquet", "csv"))
    least = cells + 4 * frame.size  # the columns, and the numbers made of them
    assert max(least, packed + cells) <= sizes["parquet"] <= 3 * least + packed
    assert max(least, text + 2 * cells) <= 1.05 * sizes["csv"] <= 3 * least + 2 * text
    assert sizes["csv.gz"] is None
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 and no more")
    assert Table(str(tmp_path / "damaged.npz")).loading() is None  # which load() explains


def test_text_counts_the_windows_that_overlap(tmp_path: Path) -> None:
    file = tmp_path / "text.csv"
    file.write_text("owner,text\n" + "".join(f"p{i},{'the sea ' * 900}\n" for i in range(10)))
    once, twice = (Text(str(file), context=16, stride=each).loading() for each in (16, 8))
    assert once is not None
    assert twice is not None
    assert file.stat().st_size * 12 < twice - once < file.stat().st_size * 40
    assert once > Text(str(file), context=16).load().nbytes


def test_data_that_do_not_fit_are_refused_before_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idx(tmp_path)
    s = Settings.parse(config("data=idx", f"data.path={tmp_path}"))
    need = Idx(str(tmp_path)).loading()
    loaded: list[int] = []
    monkeypatch.setattr(Idx, "load", lambda self: loaded.append(1))
    monkeypatch.setattr("swarm.experiments.runs.memory.available_bytes", lambda: need - 1)
    said = r"^data=idx: would need up to \d+ MiB while they are loaded, and \d+ MiB are free; fewer"
    with pytest.raises(ConfigError, match=said):
        load_data(s, True, False)
    assert not loaded
