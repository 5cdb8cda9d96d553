"""Encoded images: in Parquet as Hugging Face stores them, and in a folder for each class."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from swarm.common.errors import ConfigError
from swarm.data.files.hub import HF
from swarm.data.files.image_folder import ImageFolder
from swarm.data.files.readers.table_files import read_table
from swarm.data.files.table import Table

COUNT = 20
DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (COUNT, 5, 7), dtype=np.uint8)
COLOUR = DRAW.integers(0, 256, (COUNT, 5, 7, 3), dtype=np.uint8)


def encoded(pixels: Any, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def stored(folder: Path, images: list[bytes | None], wrapped: bool = True, **columns: Any) -> str:
    """A Parquet file of images, with the struct that Hugging Face writes or as plain bytes."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = (
        pa.array([image and {"bytes": image, "path": None} for image in images], kind)
        if wrapped
        else pa.array(images, pa.binary())
    )
    label = pa.array(np.arange(len(images)) % 2)
    pq.write_table(pa.table({"image": column, "label": label, **columns}), folder / "t.parquet")
    return str(folder / "t.parquet")


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_images_of_parquet_come_back(tmp_path: Path, kind: str, wrapped: bool) -> None:
    path = stored(tmp_path, [encoded(image, kind) for image in GREY], wrapped)
    for source in (HF(path, scale="none"), Table(path, scale="none")):
        np.testing.assert_array_equal(source.load().x, GREY[:, None])
    path = stored(tmp_path, [encoded(image, kind) for image in COLOUR], wrapped)
    data = HF(path, scale="unit").load()
    assert data.features == (3, 5, 7)
    np.testing.assert_allclose(data.x, COLOUR.transpose(0, 3, 1, 2) / 255, atol=1e-6)
    assert data.scaling is not None
    assert data.scaling.span.tolist() == [255]  # one for all grey levels


def test_grey_size_and_a_mixture(tmp_path: Path) -> None:
    """One image of colours makes all of three colours, unless all become grey."""
    path = stored(tmp_path, [encoded(COLOUR[0]), *(encoded(image) for image in GREY[1:])])
    data = HF(path, scale="none").load()
    assert data.features == (3, 5, 7)
    np.testing.assert_array_equal(data.x[1], np.repeat(GREY[1][None], 3, axis=0))
    assert HF(path, gray=True).load().features == (1, 5, 7)
    assert HF(path, gray=True, size=4).load().features == (1, 4, 4)
    assert HF(path, size=[4, 6]).load().features == (3, 4, 6)


def test_images_beside_numbers_are_features_too(tmp_path: Path) -> None:
    age = pa.array(DRAW.normal(size=COUNT))
    path = stored(tmp_path, [encoded(image) for image in GREY], age=age)
    data = HF(path, scale="none").load()
    assert data.columns[:2] == ("image[0]", "image[1]")
    assert data.columns[-1] == "age"
    np.testing.assert_array_equal(data.x[:, :35], GREY.reshape(COUNT, -1))
    assert HF(path, features=["age"]).load().columns == ("age",)


def bomb(side: int) -> bytes:
    """A PNG of some hundred bytes whose heading declares side² grey pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("odd", "options", "message"),
    [
        (None, {}, r"^path=.*: has no image in row 7 \(counted from 0\) of column 'image'$"),
        (b"\x89PNG no", {}, r"image that can be read in row 7 .* \(cannot identify image file\)$"),
        (encoded(GREY[0])[:60], {}, r"no image that can be read in row 7"),
        (
            encoded(GREY[0][:4]),
            {},
            r"row 7 .* an image of 4 x 7 pixels where the first has 5 x 7; data\.size=\[5, 7\] sc",
        ),
        (encoded(GREY[0].astype(np.uint16)), {}, r"more than 8 bits a colour in row 7"),
        (bomb(3000), {"max_mb": 4, "size": 8}, r"may take 36000000 bytes in memory; at most"),
        (bomb(20_000), {"size": 8}, r"has an image of too many pixels in row 7"),
        (bomb(60_000), {"size": 8}, r"has an image of too many pixels in row 7"),
    ],
)
def test_bad_images_are_named_by_row(
    tmp_path: Path, odd: bytes | None, options: dict[str, Any], message: str
) -> None:
    images: list[bytes | None] = [encoded(image) for image in GREY]
    images[7] = odd
    with pytest.raises(ConfigError, match=message):
        HF(stored(tmp_path, images), **options).load()


def test_a_table_names_no_key_that_it_lacks(tmp_path: Path) -> None:
    path = stored(tmp_path, [encoded(GREY[0][: 4 + i % 2]) for i in range(COUNT)])
    with pytest.raises(
        ConfigError, match=r"where the first has 4 x 7; all images must have one si"
    ):
        Table(path).load()
    assert len(read_table(Path(path), 1 << 20)["image"]) == COUNT


@pytest.mark.parametrize("size", [[5], [5, 0], 5000, [1, 2, 3]])
def test_bad_sizes(size: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^size=.*: must be null, one number of pixels, or \[hei"
    ):
        HF("t.parquet", size=size)


# --- folders --------------------------------------------------------------------------------------


def folder(root: Path, parts: tuple[str, ...] = ("",), classes: str = "ab") -> Path:
    for p, part in enumerate(parts):
        for c, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(10):
                file = root / part / name / f"{i}.png"
                file.write_bytes(encoded(np.full((5, 7), 100 * p + 10 * c + i, np.uint8)))
    return root


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    data = ImageFolder(str(folder(tmp_path / "f")), scale="none").load()
    assert data.class_names == ("a", "b")
    assert data.x[:, 0, 0, 0].tolist() == [10 * c + i for c in range(2) for i in range(10)]
    assert data.y.tolist() == [0] * 10 + [1] * 10
    assert len(data.test) == 4


def test_folders_of_sets_stay_as_they_are(tmp_path: Path) -> None:
    root = folder(tmp_path / "f", ("train", "val", "test"))
    data = ImageFolder(str(root), scale="none").load()
    for p, ids in enumerate((data.train, data.validation, data.test)):
        assert sorted(data.x[ids, 0, 0, 0]) == sorted(
            100 * p + 10 * c + i for c in range(2) for i in range(10)
        )


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path / "f")
    (root / "a" / "notes.txt").write_text("x")
    (root / "a" / ".hidden").write_text("x")
    with pytest.warns(UserWarning, match=r"files that are no images are left out: a/notes\.txt$"):
        ImageFolder(str(root)).load()
    (root / "b" / "3.png").write_bytes(b"no")
    (root / "a" / "notes.txt").unlink()
    with pytest.raises(ConfigError, match=r"has no image that can be read in b/3\.png"):
        ImageFolder(str(root)).load()
    (root / "b" / "3.png").write_bytes(encoded(GREY[0][:4]))
    with pytest.raises(ConfigError, match=r"has in b/3\.png an image of 4 x 7 pixels"):
        ImageFolder(str(root)).load()
    (root / "c").mkdir()
    with pytest.raises(ConfigError, match=r"^path=.*/c: has no image in it"):
        ImageFolder(str(root)).load()


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"needs a folder for each of two classes or more; f has a"
    ):
        ImageFolder(str(folder(tmp_path / "f", classes="a"))).load()
    with pytest.raises(ConfigError, match="is not a folder; give one that has a folder for each"):
        ImageFolder(str(tmp_path / "none")).load()
    with pytest.raises(ConfigError, match="path=null: must be a folder"):
        ImageFolder()
    folder(folder(tmp_path / "g", ("train",)), ("test",), classes="abc")
    with pytest.raises(ConfigError, match="class c is among the test samples but in no training"):
        ImageFolder(str(tmp_path / "g")).load()
