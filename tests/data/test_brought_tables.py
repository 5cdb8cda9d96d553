"""Tables as other programs write them: each is read as it is meant, or a sentence says what to do."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow import feather

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.data.files.hub import HF
from swarm.data.files.table import Table
from swarm.data.files.text import ALPHABET
from swarm.data.partition import Rare
from swarm.learning.models.cnn import CNN

ROWS = [(round(0.37 * i % 5 - 2, 2), round(1.7 * i % 3, 2), "ab"[i % 2]) for i in range(40)]
Write = Callable[[str], str]


def lines(write: str, heading: str, end: str = "\n") -> str:
    return (
        heading
        + end
        + "".join(write.format(i=i, a=a, b=b, y=y) + end for i, (a, b, y) in enumerate(ROWS))
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        # R: write.csv, write.table, write.csv2
        ("r.csv", lines('"{i}",{a},{b},"{y}"', '"","a","b","y"'), "has no name"),
        ("r.txt", lines('"{i}" {a} {b} "{y}"', '"a" "b" "y"'), "one field more than its heading"),
        # Excel says the separator in a line of its own
        ("excel.csv", lines("{a};{b};{y}", "sep=;\r\na;b;y", "\r\n"), None),
        ("logger.csv", lines("{a}, {b}, {y}", "a, b, y"), None),
        ("money.csv", lines('{a},{b},{y},"1,{i:03d}.50"', "a,b,y,price"), r"price' has numbers with"),
        ("share.csv", lines("{a},{b},{y},{i}%", "a,b,y,share"), r"with marks \('0%'\)"),
        ("price.csv", lines("{a},{b},{y},$ -{i}.50", "a,b,y,price"), r"with marks \('\$ -0\.50'\)"),
        ("books.csv", lines("{a},{b},{y},({i})", "a,b,y,owed"), r"with marks \('\(0\)'\)"),
    ],
)  # fmt: skip
def test_separated_values(tmp_path: Path, name: str, text: str, said: str | None) -> None:
    (tmp_path / name).write_text(text, newline="")
    table = Table(str(tmp_path / name), label="y", scale="none")
    if said is None:
        data = table.load()
    else:
        with pytest.warns(UserWarning, match=said):
            data = table.load()
    np.testing.assert_allclose(data.x, [row[:2] for row in ROWS], rtol=1e-6)
    assert data.y.tolist() == [i % 2 for i in range(40)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.xlsx", "PK", "in Excel, save it as CSV UTF-8$"),
        ("a.json", "[]", "lines=True"),
        ("a9a", "1 1:0.5", r"must end in .*\.libsvm"),
        ("iris.arff", "@relation iris", "loadarff reads it"),
        ("x.npy", "", r"numpy.savez\('both.npz', x=numpy.load"),
        ("old.feather", "FEA1", "version 1 of Feather; pandas.read_feather reads it"),
        ("a.libsvm", "", "has no rows"),
        ("a.libsvm", "1 1:0.5 x:2", r"cannot be read as .libsvm"),
        ("a.libsvm", "1 1:1\n0 2000000000:1\n" * 9, r"may take \d+ bytes in memory; at most"),
        ("a.libsvm", "1,2 1:1\n0 2:1\n" * 9, "cannot be read as .libsvm .*'1,2'"),
        ("one.libsvm", "1 1:1\n", "its columns are x, label"),
        ("log.csv", "# by a logger\n# at noon\n" + lines("{a},{b},{y}", "a,b,y"), "is a remark, and has to be"),
        ("none.csv", lines("{a},None", "a,y"), "row 0 .* is empty, or says NA, None or the like"),
    ],
)  # fmt: skip
def test_sentences_say_what_to_do(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        Table(str(tmp_path / name), label="y").load()


def test_an_npz_with_three_sets_as_medmnist_has_them(tmp_path: Path) -> None:
    sizes = {"train": 20, "val": 6, "test": 8}
    arrays = {
        f"{part}_{kind}": np.full((size, *shape), number, np.uint8)
        for number, (part, size) in enumerate(sizes.items())
        for kind, shape in (("images", (4, 4)), ("labels", (1,)))
    }
    for part, size in sizes.items():
        arrays[f"{part}_labels"] = np.arange(size)[:, None] % 2
    file = tmp_path / "medmnist.npz"
    np.savez(file, **arrays)
    with pytest.warns(UserWarning, match="val_images, val_labels. joins the training samples"):
        data = Table(str(file), label="train_labels", scale="none").load()
    assert data.test.tolist() == list(range(26, 34))
    assert set(data.x[data.test].ravel()) == {2}
    assert set(data.x[np.concatenate([data.train, data.validation])].ravel()) == {0, 1}
    one_hot = np.eye(2)[np.arange(20) % 2]
    np.savez(file, x=np.zeros((20, 3)), y=one_hot)
    with pytest.raises(ConfigError, match=r"such as y.argmax\(axis=1\) of one-hot rows"):
        Table(str(file), label="y").load()


def images(file: Path, label: str, other: str | None = None, **metadata: Any) -> str:
    def png(i: int) -> bytes:
        found = io.BytesIO()
        Image.fromarray(np.full((5, 5, 3), i, np.uint8)).save(found, "PNG")
        return found.getvalue()

    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"img": pa.array([{"bytes": png(i), "path": None} for i in range(40)], struct)}
    columns |= {name: pa.array([i % 2 for i in range(40)]) for name in (label, other) if name}
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, file)
    return str(file)


def test_hugging_faces_class_labels_keep_their_names(tmp_path: Path) -> None:
    def known(names: Any) -> dict[str, str]:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "img": {"_type": "Image"}}
        return {"huggingface": json.dumps({"info": {"features": features}})}

    file = images(tmp_path / "a.parquet", "label", **known(["frog", "cat", "unused"]))
    assert HF(file).load().class_names == ("frog", "cat")  # in the order of their numbers
    for odd in (["frog"], ["frog", "frog"], [1, 2], "frog", None):
        file = images(tmp_path / "a.parquet", "label", **known(odd))
        assert HF(file).load().class_names == ("0", "1")


def test_another_label_beside_images_is_said_to_be_a_feature(tmp_path: Path) -> None:
    file = images(tmp_path / "cifar100.parquet", "fine_label", "coarse_label")
    with pytest.warns(UserWarning, match="coarse_label: numbers beside images are features, too"):
        assert HF(file, label="fine_label").load().features == (76,)
    assert HF(file, label="fine_label", features=["img"]).load().features == (3, 5, 5)


def test_colours_that_come_last_are_not_taken_for_rows() -> None:
    with pytest.raises(ConfigError, match=r"is \[8, 8, 3\]; np.moveaxis\(x, -1, 1\) puts"):
        CNN(features=(8, 8, 3), outputs=2, channels=[2])
    CNN(features=(3, 8, 8), outputs=2, channels=[2])


def test_a_libsvm_file_with_classes_below_zero(tmp_path: Path) -> None:
    file = tmp_path / "a9a.libsvm"
    file.write_text("".join(f"{'-+'[i % 2]}1 1:{i} 3:0.5 # {i}\n" for i in range(40)))
    data = Table(str(file), scale="none").load()
    assert data.class_names == ("-1", "1")
    np.testing.assert_array_equal(data.x, [[i, 0, 0.5] for i in range(40)])
    assert Rare(4, -1).split(data, Keys(0, "partition")).devices == 4
    with pytest.raises(ConfigError, match="label=-2: must be a class of the data: -1, 1; numbers"):
        Rare(4, -2).split(data, Keys(0, "partition"))


def test_feather_and_nested_json(tmp_path: Path) -> None:
    table = pa.table({"a.b": [a for a, _, _ in ROWS], "y": [y for _, _, y in ROWS]})
    feather.write_feather(table, tmp_path / "t.feather")
    rows = [json.dumps({"a": {"b": a, "c": {"d": "x"}}, "y": y}) for a, _, y in ROWS]
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    found = Table(str(tmp_path / "t.feather"), label="y").load()
    with pytest.warns(UserWarning, match=r"not numeric are left out: a\.c\.d"):
        nested = Table(str(tmp_path / "t.jsonl"), label="y").load()
    np.testing.assert_array_equal(found.x, nested.x)


@pytest.mark.parametrize("odd", [{}, {"c": {}}, [], None])
def test_a_column_without_a_value_is_said_to_be_left_out(tmp_path: Path, odd: Any) -> None:
    rows = [json.dumps({"a": {"b": odd}, "x": x, "y": y}) for x, _, y in ROWS]
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    with pytest.warns(UserWarning, match=r"not numeric are left out: a\.b"):
        Table(str(tmp_path / "t.jsonl"), label="y").load()


def shard(file: Path, rows: int, number: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {"a": [number] * rows, "label": [i % 2 for i in range(rows)]}
    texts = {"text": [chr(97 + int(number)) * 60] * rows, "who": ["ann"] * rows}
    pq.write_table(pa.table(columns | texts), file)


HUB = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet",
       "data/test-00000-of-00001-ab12.parquet", "data/validation-00000-of-00001.parquet")  # fmt: skip


@pytest.mark.parametrize(
    ("names", "test"),
    [
        (HUB[:3], 2),
        (HUB, 2),
        ([name.removeprefix("data/") for name in HUB[:3]], 2),
        (("train/0000.parquet", "train/0001.parquet", "test/0000.parquet"), 2),
        (("my-train.parquet", "my_valid.parquet", "my.test.parquet"), 2),
        (("part-00000-1f.snappy.parquet", "part-00001-1f.snappy.parquet"), None),  # Spark
        (("contested_train.parquet",), None),
    ],
)
@pytest.mark.filterwarnings("ignore:.*joins the training samples")
def test_folders_of_parquet_files(tmp_path: Path, names: list[str], test: int | None) -> None:
    for number, name in enumerate(names):
        shard(tmp_path / name, 20, number)
    (tmp_path / "README.md").touch()
    (tmp_path / "_SUCCESS").touch()
    for data in (Table(str(tmp_path), scale="none").load(), HF(str(tmp_path), scale="none").load()):
        assert len(data.x) == 20 * len(names)
        if test is not None:
            assert set(data.x[data.test].ravel()) == {test}
            assert len(data.test) == 20
    if test is not None:
        text = HF(str(tmp_path), text="text", device="who", context=16).load()
        assert set(text.x[text.test].ravel()) == {ALPHABET.index(chr(97 + test)), 0}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (HUB[1:3], "lacks the file train-00000-of-00002.parquet, and has 1 of 2$"),
        (("train/train-00000-of-00002.parquet",), "lacks the file train-00001-of-00002.parquet"),
        (
            ("train/0.parquet", "training/0.parquet"),
            "two folders for one set: train/ and training/",
        ),
        (("train.parquet", "more.parquet"), "has more.parquet beside train.parquet; say train or"),
        (("val.parquet", "test.parquet"), "has no training set beside test and val$"),
        (("mine.parquet", "yours.parquet"), "give .*mine.parquet or .*yours.parquet$"),
        (("en/train.parquet", "fr/train.parquet"), "none is in it$"),
        ((), "none is in it$"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        shard(tmp_path / name, 20, 0)
    with pytest.raises(ConfigError, match=said):
        Table(str(tmp_path)).load()


def test_folders_that_do_not_fit_together(tmp_path: Path) -> None:
    shard(tmp_path / "train.parquet", 20, 0)
    others = {"label": [1] * 9, "text": ["x"] * 9, "who": ["ann"] * 9}
    pq.write_table(pa.table({"a": [b"text"] * 9, **others}), tmp_path / "test.parquet")
    with pytest.raises(ConfigError, match="cannot be read as one data set"):
        Table(str(tmp_path)).load()
    (tmp_path / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"as one data set \(test\.parquet: "):
        Table(str(tmp_path)).load()
    pq.write_table(pa.table({"b": [1.0] * 9, "label": [1] * 9}), tmp_path / "test.parquet")
    with pytest.raises(ConfigError, match=r"other columns, .* and b, label; test\.parquet is"):
        Table(str(tmp_path)).load()
    shard(tmp_path / "test.parquet", 200_000, 0)
    with pytest.raises(ConfigError, match=r"data\.max_mb=1"):
        Table(str(tmp_path), max_mb=1).load()


def sequences(path: Path, x: np.ndarray, **others: np.ndarray) -> str:
    np.savez(path, x=x, label=np.arange(len(x)) % 2, **others)
    return str(path)


def test_values_that_an_array_lacks_bring_no_option_that_cannot_help(tmp_path: Path) -> None:
    """data.features can only name a whole array, and here there is but one."""
    x = np.random.default_rng(0).normal(size=(60, 6, 3))
    holes, ends, padded = x.copy(), x.copy(), x.copy()
    holes[7, 2, 1] = ends[:50, 5] = padded[:, 5] = np.nan
    marks = "write numbers into these places of the file, with a channel .* shorter$"
    drop, mean = "data.missing=drop leaves such rows out", "data.missing=mean fills them up"
    cases: list[tuple[np.ndarray, str, str]] = [
        (holes, "refuse", rf"row 7 \(counted from 0\) of column 'x'; {drop}; {mean}; or {marks}"),
        (padded, "refuse", rf"row 0 \(counted from 0\) of column 'x'; {marks}"),
        (padded, "drop", f"would leave no row of .*; column 'x' has no value in 60 .*; {marks}"),
        (padded, "mean", rf"place \[5, 0\] has no value in any training sample, .*; {marks}"),
        (padded.reshape(60, -1), "mean", rf"column 'x\[15\]' has no value in any .*; {marks}"),
    ]
    for array, missing, said in cases:
        with pytest.raises(ConfigError, match=said) as caught:
            Table(sequences(tmp_path / "x.npz", array), missing=missing).load()  # type: ignore[arg-type]
        assert "data.features" not in str(caught.value)
    for array in (holes, ends):
        with pytest.warns(UserWarning, match="missing values? (are|is) filled in"):
            assert Table(sequences(tmp_path / "x.npz", array), missing="mean").load().features == (
                6,
                3,
            )


def test_an_array_that_is_joined_with_another_loses_its_shape_with_a_word(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 6, 3))
    path = sequences(tmp_path / "x.npz", x, length=np.arange(30) % 5)
    said = r"x, length are joined into 19 features, in which x loses its shape \[6, 3\]"
    with pytest.warns(UserWarning, match=rf"{said}; data.features=\[x\] keeps it$"):
        assert Table(path).load().features == (19,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Table(path, features=["x"]).load().features == (6, 3)
        flat = sequences(tmp_path / "x.npz", x[:, 0], length=np.arange(30) % 5)
        assert Table(flat).load().features == (4,)
