"""IDX files: what is read, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.data.files.idx import Idx, read_idx


def encode(array: np.ndarray, kind: int = 0x08) -> bytes:
    return (
        bytes([0, 0, kind, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def folder(
    path: Path, suffix: str = "", dot: str = "-", test: str = "t10k", prefix: str = ""
) -> Path:
    draw = np.random.default_rng(0)
    for part, count in (("train", 40), (test, 10)):
        labels = (np.arange(count) % 4).astype(np.uint8)
        for kind, array in (
            ("images", draw.integers(0, 256, (count, 5, 6), dtype=np.uint8)),
            ("labels", labels),
        ):
            data = encode(array)
            file = path / f"{prefix}{part}-{kind}{dot}idx{array.ndim}-ubyte{suffix}"
            file.write_bytes(gzip.compress(data) if suffix else data)
    return path


@pytest.mark.parametrize(
    ("suffix", "dot", "test", "prefix"),
    [
        ("", "-", "t10k", ""),
        (".gz", "-", "t10k", ""),
        ("", ".", "t10k", ""),
        (".gz", "-", "test", "emnist-letters-"),
    ],
)
def test_the_usual_names_are_found(
    tmp_path: Path, suffix: str, dot: str, test: str, prefix: str
) -> None:
    data = Idx(path=str(folder(tmp_path, suffix, dot, test, prefix)), prefix=prefix).load()
    assert data.x.shape == (50, 30)
    assert data.classes == 4
    assert [len(data.train), len(data.validation), len(data.test)] == [36, 4, 10]
    assert data.test.tolist() == list(range(40, 50))
    raw = np.random.default_rng(0).integers(0, 256, (40, 5, 6), dtype=np.uint8)
    span = np.ptp(raw[data.train])
    assert np.allclose(data.x[:40] * span + raw[data.train].min(), raw.reshape(40, 30), atol=1e-3)


def test_images_limit_and_classes(tmp_path: Path) -> None:
    data = Idx(path=str(folder(tmp_path)), image=True, limit=8, classes=6).load()
    assert data.features == (1, 5, 6)
    assert data.classes == 6
    assert np.bincount(data.y[data.train]).tolist() == [2, 2, 2, 2]


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="path=null: must be the folder"):
        Idx()
    with pytest.raises(ConfigError, match="is not a folder"):
        Idx(path=str(tmp_path / "nowhere")).load()
    (folder(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ConfigError, match="has no file t10k-labels-idx1-ubyte"):
        Idx(path=str(tmp_path)).load()
    with pytest.raises(ConfigError, match=r"prefix=\.\./x"):
        Idx(path=str(tmp_path), prefix="../x")


images = encode(np.arange(60, dtype=np.uint8).reshape(2, 5, 6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG" + images, "begins with 89 50 4e 47"),
        (b"\0\0\x07\3" + images[4:], "is not an IDX file"),
        (
            encode(np.zeros((2, 2, 2), np.float32), 0x0D),
            "holds 3-dimensional float data; 3-dimensional ubyte",
        ),
        (encode(np.zeros(4, np.uint8)), "holds 1-dimensional ubyte data; 3-dimensional"),
        (images[:9], "ends inside its header"),
        (images[:-1], "declares 60 bytes but holds 59; it is truncated"),
        (images + b"x", "holds more than the 60 bytes"),
        (encode(np.zeros((0, 5, 6), np.uint8)), "every dimension must be at least 1"),
        (b"\0\0\x08\3" + b"\xff" * 12, r"declares \d{29} bytes; at most 1048576 are read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_wrong_file_is_refused(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(ConfigError, match=message):
        read_idx(path, 3, 1 << 20)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-12], lambda b: b"no gzip" + b, lambda b: b[:30] + b"\xff" * 20 + b[50:]],
)
def test_a_damaged_gzip_is_refused(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    draw = np.random.default_rng(0)
    path.write_bytes(
        damage(gzip.compress(encode(draw.integers(0, 256, (9, 9, 9), dtype=np.uint8))))
    )  # type: ignore[operator]
    with pytest.raises(ConfigError, match="damaged or truncated gzip"):
        read_idx(path, 3, 1 << 20)


def test_a_false_header_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(b"\0\0\x08\3" + struct.pack(">3I", 1000, 1000, 1000) + b"x" * 100)
    tracemalloc.start()
    with pytest.raises(ConfigError, match="declares 1000000000 bytes but holds 100"):
        read_idx(path, 3, 1 << 30)
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


def test_counts_shapes_and_labels_must_agree(tmp_path: Path) -> None:
    folder(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    good = labels.read_bytes()
    labels.write_bytes(encode(np.zeros(39, np.uint8)))
    with pytest.raises(ConfigError, match="40 train images but 39 labels"):
        Idx(path=str(tmp_path)).load()
    labels.write_bytes(good[:8] + b"\x09" + good[9:])
    with pytest.raises(ConfigError, match=r"row 0 .* has label 9; labels must be 0 to 3"):
        Idx(path=str(tmp_path), classes=4).load()
    labels.write_bytes(good)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(encode(np.zeros((10, 5, 5), np.uint8)))
    with pytest.raises(ConfigError, match="the two must be equal"):
        Idx(path=str(tmp_path)).load()
