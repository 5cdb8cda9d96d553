"""Data sets in the format of Hugging Face ``datasets``, read from disk; the hub itself by a
stand-in.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swarm.common.errors import ConfigError
from swarm.data.files.hub import HF


def table(rows: int = 60) -> pa.Table:
    random = np.random.default_rng(0)
    pixels = pa.array(random.random((rows, 2, 3)).tolist(), pa.list_(pa.list_(pa.float32())))
    return pa.table(
        {
            "pixels": pixels,
            "label": np.arange(rows) % 3,
            "writer": [f"w{i % 4}" for i in range(rows)],
            "when": np.arange(rows)[::-1],
            "text": [f"line {i} of some text. " * 5 for i in range(rows)],
        }
    )


def stream(path: Path, content: pa.Table) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
        writer.write_table(content, max_chunksize=16)
    return path


def stored(path: Path, kind: str) -> str:
    """The same rows in each of the forms."""
    if kind == "parquet":
        pq.write_table(table(), path / "t.parquet")
        return str(path / "t.parquet")
    if kind == "file":
        with (
            pa.OSFile(str(path / "t.arrow"), "wb") as file,
            pa.ipc.new_file(file, table().schema) as writer,
        ):
            writer.write_table(table())
        return str(path / "t.arrow")
    if kind == "stream":
        return str(stream(path / "t.arrow", table()))
    return saved(path, 0, 30, 60)


def saved(path: Path, *ends: int) -> str:
    """What ``save_to_disk`` makes of rows of the table, in files that end at these rows."""
    path.mkdir(exist_ok=True)
    parts = [table().slice(a, b - a) for a, b in itertools.pairwise(ends)]
    files = [stream(path / f"data-{i}.arrow", part) for i, part in enumerate(parts)]
    (path / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": file.name} for file in files]})
    )
    return str(path)


def test_several_saved_splits_are_one_data_set_with_its_own_test_set(tmp_path: Path) -> None:
    saved(tmp_path / "train", 0, 20, 40)
    saved(tmp_path / "test", 40, 60)
    data = HF(str(tmp_path), features=["pixels"], time="when", scale="none").load()
    assert data.test.tolist() == list(range(40, 60))
    np.testing.assert_allclose(data.x, np.random.default_rng(0).random((60, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["parquet", "file", "stream", "folder"])
def test_every_form_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    data = HF(
        stored(tmp_path, kind), device="writer", features=["pixels"], time="when", scale="none"
    ).load()
    assert (data.features, data.classes) == ((2, 3), 3)
    assert data.owner is not None
    assert data.owner.tolist() == [i % 4 for i in range(60)]
    assert data.time is not None
    assert data.time.tolist() == list(range(60))[::-1]
    np.testing.assert_allclose(data.x, np.random.default_rng(0).random((60, 2, 3)), rtol=1e-6)


def test_text_by_its_natural_owner(tmp_path: Path) -> None:
    data = HF(
        stored(tmp_path, "folder"), text="text", device="writer", context=16, min_chars=500
    ).load()
    assert data.y.shape[1] == 16
    assert data.owner is not None
    assert set(data.owner) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": None}, "^path=null: must be a file or folder of a data set, or data.name="),
        ({"name": "x"}, "and not both"),
        ({"text": "text"}, "^device=null: must be the column that says whose text it is"),
        (
            {"device": "person"},
            "^device=person: is not a column of .*; its columns are pixels, label, writer",
        ),
        ({"text": "words", "device": "writer"}, "^text=words: is not a column"),
        ({"text": "text", "device": "person"}, "^device=person: is not a column"),
        ({"path": "/nowhere.arrow"}, "^path=/nowhere.arrow: is not a file"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HF(**{"path": stored(tmp_path, "stream"), **options}).load()


def test_bad_files(tmp_path: Path) -> None:
    file = Path(stored(tmp_path, "stream"))
    whole = file.read_bytes()
    for content in (whole[:100], b"ARROW1 no", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"cannot be read as \.arrow"):
            HF(str(file)).load()
    ragged = pa.table({"x": [[1.0], [1.0, 2.0], [3.0]], "label": [0, 1, 0]})
    with pytest.raises(ConfigError, match="x is a column of lists whose lengths differ"):
        HF(str(stream(file, ragged)), test=0.4).load()
    with pytest.raises(
        ConfigError, match=rf"is a folder, and a \.csv, .* is wanted.*; give {file}$"
    ):
        HF(str(tmp_path)).load()
    for split in ("train", "unsupervised"):  # what save_to_disk makes of several splits
        (tmp_path / "splits" / split).mkdir(parents=True)
        (tmp_path / "splits" / split / "state.json").touch()
    with pytest.raises(
        ConfigError, match=rf"; give {tmp_path}/splits/train or {tmp_path}/splits/unsupervised$"
    ):
        HF(str(tmp_path / "splits")).load()
    (tmp_path / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "../../gone.arrow"}]})
    )
    with pytest.raises(ConfigError, match=r"gone\.arrow: must be an existing regular file"):
        HF(str(tmp_path)).load()
    (tmp_path / "state.json").write_text("[]")
    with pytest.raises(ConfigError, match="cannot be read as one data set"):
        HF(str(tmp_path)).load()


def test_the_hub_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Found:
        def with_format(self, kind: str) -> Found:
            assert kind == "arrow"
            return self

        def __len__(self) -> int:
            return 60

        def __getitem__(self, rows: slice) -> pa.Table:
            return table()[rows]

    def load_dataset(name: str, config: str | None, **options: Any) -> Found:
        if name != "digits":
            raise FileNotFoundError(name)
        asked.update(options)
        return Found()

    stand_in = ModuleType("datasets")
    stand_in.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    data = HF(name="digits", device="writer", features=["pixels"], split="test").load()
    assert len(data.x) == 60
    # above all no trust in code that comes with it
    assert asked == {"split": "test", "revision": None}
    source = HF(name="digits", device="writer", features=["pixels"])
    source.max_bytes = 0
    with pytest.raises(ConfigError, match=r"^name=digits: takes \d+ bytes; at most 0 are read"):
        source.load()
    with pytest.raises(
        ConfigError,
        match=r"^name=other: cannot be loaded \(FileNotFoundError\): is this machine offline",
    ):
        HF(name="other").load()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ConfigError, match=r"needs the package datasets; `pip install \.\[hf\]` installs it"
    ):
        HF(name="digits").load()
