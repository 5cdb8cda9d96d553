"""Tables from files: the three formats give the same data, and what is wrong is named."""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.data.files.readers.table_files import read_table
from swarm.data.files.table import Table
from swarm.data.partition import Natural


def frame(rows: int = 60) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": draw.integers(20, 60, rows),
            "height": draw.normal(170, 10, rows),
            "member": draw.random(rows) < 0.5,
            "kind": draw.choice(["cat", "ant", "bee"], rows),
            "price": draw.normal(size=rows),
            "person": draw.choice(["zoe", "abe", "mia"], rows),
        }
    )


def write(table: pd.DataFrame, path: Path) -> str:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        arrays = {name: table[name].to_numpy() for name in table}
        np.savez(
            path,
            **{k: v.astype(str) if v.dtype.kind not in "biuf" else v for k, v in arrays.items()},
        )
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_the_formats_agree(tmp_path: Path, suffix: str) -> None:
    table = frame()
    path = write(table, tmp_path / f"t{suffix}")
    data = Table(path=path, label="kind", device="person", scale="none").load()
    assert data.classes == 3
    assert np.array_equal(data.y, table["kind"].map({"ant": 0, "bee": 1, "cat": 2}))
    assert np.allclose(data.x, table[["age", "height", "member", "price"]].astype(float), rtol=1e-6)
    assert np.array_equal(data.owner, table["person"].map({"abe": 0, "mia": 1, "zoe": 2}))
    holdings = Natural(3).split(data, Keys(0, "partition"))
    assert [set(table["person"][holdings.of(i)]) for i in range(3)] == [{"abe"}, {"mia"}, {"zoe"}]


def test_regression_features_and_scale(tmp_path: Path) -> None:
    path = write(frame(), tmp_path / "t.csv")
    data = Table(path=path, label="price", task="regression", features=["height", "age"]).load()
    assert (data.classes, data.x.shape, data.y.shape) == (0, (60, 2), (60, 1))
    assert np.allclose(data.x[data.train].mean(axis=0), 0, atol=1e-5)
    assert np.allclose(data.y[:, 0], frame()["price"], rtol=1e-6)


def test_numeric_labels_become_dense(tmp_path: Path) -> None:
    table = frame().assign(kind=np.arange(60) % 3 * 10 + 5)
    data = Table(path=write(table, tmp_path / "t.csv"), label="kind", device="person").load()
    assert np.array_equal(data.y, np.arange(60) % 3)


def test_npz_images_keep_their_shape(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((30, 1, 4, 4))
    np.savez(tmp_path / "t.npz", x=x, label=np.arange(30) % 2)
    assert Table(path=str(tmp_path / "t.npz")).load().features == (1, 4, 4)
    np.savez(tmp_path / "t.npz", x=x[:, 0, 0], extra=np.arange(30), label=np.arange(30) % 2)
    assert Table(path=str(tmp_path / "t.npz")).load().features == (5,)


def test_left_out_columns_are_named_once(tmp_path: Path) -> None:
    path = write(frame(), tmp_path / "t.csv")
    with pytest.warns(UserWarning, match="not numeric are left out: person"):
        Table(path=path, label="kind").load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Table(path=path, label="kind", features=["age"]).load()


def spoil(column: str, row: int, value: object) -> pd.DataFrame:
    table = frame().astype({column: object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            frame(),
            {"label": "sort"},
            "label=sort: is not a column of .*; its columns are age, height, member",
        ),
        (frame(), {"device": "who"}, "device=who: is not a column"),
        (
            frame(),
            {"features": ["wight"]},
            "features=wight: is not a feature .*; there are age, height",
        ),
        (
            frame(),
            {"features": ["kind"], "label": "age"},
            "features=kind: is not numeric: row 0 .* is '(cat|ant|bee)'",
        ),
        (frame(), {"features": ["age", "age"]}, "each named once"),
        (frame(), {"task": "regression", "device": "person"}, "label=kind: is not numeric: row 0"),
        (
            frame(),
            {"label": "height", "features": ["age"]},
            r"label=height: row 0 .* data.task=regression with a partition such as",
        ),
        (frame()[["kind", "person"]], {"device": "person"}, "has no numeric feature"),
        (frame().assign(kind="cat"), {"device": "person"}, "label=kind: has one value in all rows"),
        (
            frame().assign(kind=range(60)),
            {"device": "person"},
            "label=kind: has another value in every row",
        ),
        (frame()[:0], {}, "has no rows"),
        (
            spoil("age", 17, None),
            {"device": "person"},
            r"has no value in row 17 \(counted from 0\) of column 'age'; data.missing=drop leaves",
        ),
        (
            spoil("age", 17, "4O"),
            {"device": "person"},
            "column 'age' is numeric, but row 17 .* is '4O'",
        ),
        (
            spoil("kind", 5, None),
            {"device": "person"},
            r"label=kind: row 5 \(counted from 0\) is empty",
        ),
        (
            spoil("person", 6, None),
            {"device": "person"},
            r"device=person: row 6 \(counted from 0\) is empty",
        ),
    ],
)
def test_bad_tables_are_refused_by_place(
    tmp_path: Path, table: pd.DataFrame, options: dict[str, object], message: str
) -> None:
    path = write(table, tmp_path / "t.csv")
    with pytest.raises(ConfigError, match=message):
        Table(**{"path": path, "label": "kind", **options}).load()  # type: ignore[arg-type]


def test_bad_files_are_refused(tmp_path: Path) -> None:
    for name, content, message in [
        ("t.csv", b'a,b\n1,"2\n', "cannot be read as .csv"),
        (
            "t.csv",
            b"a,label\n\x81\xfe,1\n",
            "is neither UTF-8 nor Windows-1252; data.encoding= says",
        ),
        ("t.parquet", b"PAR1 no", "cannot be read as .parquet"),
        ("t.npz", b"PK no", "cannot be read as .npz"),
        ("t.xlsx", b"", "must end in .csv, .parquet, .npz"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            Table(path=str(tmp_path / name)).load()
    with pytest.raises(ConfigError, match="path=null"):
        Table()
    with pytest.raises(ConfigError, match="is not a file"):
        Table(path=str(tmp_path / "none.csv")).load()
    (tmp_path / "people.csv").touch()
    for typed, meant in (
        ("poeple.csv", "did you mean people.csv"),
        ("zzz.csv", "is not a file; give"),
    ):
        with pytest.raises(ConfigError, match=meant):
            Table(path=str(tmp_path / typed)).load()
    (tmp_path / "big.csv").write_bytes(b"a,label\n" + b"1,2\n" * 300_000)
    with pytest.raises(
        ConfigError, match=r"takes 1200008 bytes; at most 1048576 are read \(data.max_mb=1\)"
    ):
        Table(path=str(tmp_path / "big.csv"), max_mb=1).load()


def test_damage_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    """One to three bytes changed, 150 times in each format: a message, no other error, and the
    process lives on.
    """
    draw = np.random.default_rng(0)
    for name in ("t.csv", "t.jsonl", "t.parquet", "t.npz", "t.arrow", "stream.arrow"):
        path = tmp_path / name
        if name.endswith(".arrow"):
            content = pa.Table.from_pandas(frame())
            make = pa.ipc.new_stream if name == "stream.arrow" else pa.ipc.new_file
            with pa.OSFile(str(path), "wb") as file, make(file, content.schema) as writer:
                writer.write_table(content)
        elif name == "t.npz":
            np.savez_compressed(
                path, x=frame()[["age", "height"]].to_numpy(), label=frame()["kind"].to_numpy(str)
            )
        elif name == "t.jsonl":
            frame().to_json(path, orient="records", lines=True)
        else:
            write(frame(), path)
        whole = path.read_bytes()
        for _ in range(150):
            spoilt = bytearray(whole)
            for place in draw.integers(len(whole), size=draw.integers(1, 4)):
                spoilt[place] = draw.integers(256)
            path.write_bytes(bytes(spoilt))
            with contextlib.suppress(ConfigError):
                read_table(path, 1 << 24)


def test_npz_is_never_unpickled_nor_believed(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, x=np.ones((4, 2)), label=np.array([{"a": 1}] * 4, dtype=object))
    with pytest.raises(ConfigError, match="Python objects, which are never unpickled"):
        Table(path=str(path)).load()
    np.savez(path, x=np.ones((4, 2)), label=np.arange(3))
    with pytest.raises(ConfigError, match="different lengths"):
        Table(path=str(path)).load()
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
    with pytest.raises(ConfigError, match=r"declares shape .* but the file is shorter"):
        Table(path=str(path)).load()
    np.savez_compressed(path, x=np.zeros((200, 1000)), label=np.arange(200))
    with pytest.raises(ConfigError, match=r"takes 160\d{4} bytes"):
        Table(path=str(path), max_mb=1).load()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        path.write_text("a,b,b,label\n1,2,3,x\n4,5,6,y\n")
    elif suffix == ".parquet":
        columns = [pa.array([1.0, 2.0])] * 2 + [pa.array(["x", "y"])]
        pq.write_table(pa.Table.from_arrays(columns, names=["b", "b", "label"]), path)
    else:
        entry = io.BytesIO()
        np.save(entry, np.zeros(2))
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own, about the name
            for name in ("b", "b", "label"):
                archive.writestr(f"{name}.npy", entry.getvalue())
    with pytest.raises(
        ConfigError, match=r"^path=.*: has two columns named b; each needs a name of its own"
    ):
        Table(path=str(path)).load()


@pytest.mark.parametrize("kind", ["whole", "date", "fraction"])
def test_rows_are_met_in_the_order_of_a_column(tmp_path: Path, kind: str) -> None:
    order = np.random.default_rng(1).permutation(60)
    times = {
        "whole": order * 7,
        "fraction": order / 3,
        "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(order, "h"),
    }
    path = write(frame().assign(when=times[kind]), tmp_path / "t.csv")
    data = Table(path=path, label="kind", device="person", features=["age"], time="when").load()
    assert data.time is not None
    assert np.array_equal(np.argsort(data.time), np.argsort(order))
    holdings = Natural(3).split(data, Keys(0, "partition"))
    assert holdings.ordered
    assert all((np.diff(order[holdings.of(i)]) > 0).all() for i in range(3))


def test_the_latest_rows_of_each_owner_are_held_out(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(60)
    path = write(frame().assign(when=order), tmp_path / "t.parquet")
    options = {"path": path, "label": "kind", "device": "person", "features": ["age"]}
    data = Table(**options, time="when", later=True).load()  # type: ignore[arg-type]
    assert data.owner is not None
    for owner in range(3):
        train, validation, test = (
            order[ids[data.owner[ids] == owner]] for ids in (data.train, data.validation, data.test)
        )
        assert max(train) < min(validation)
        assert max(validation) < min(test)
        assert len(test) == (data.owner == owner).sum() // 5
    with pytest.raises(ConfigError, match=r"later=true: needs data\.time"):
        Table(**options, later=True)  # type: ignore[arg-type]


def test_one_hot_columns_are_bits_and_stay_so(tmp_path: Path) -> None:
    table = frame().assign(hour=np.arange(60) % 4)
    path = write(table, tmp_path / "t.parquet")
    data = Table(path=path, label="member", features=["age"], one_hot=["kind", "hour"]).load()
    assert data.features == (1 + 3 + 4,)
    assert np.allclose(data.x[data.train, 0].mean(), 0, atol=1e-5)
    assert np.array_equal(
        data.x[:, 1:4].argmax(1), table["kind"].map({"ant": 0, "bee": 1, "cat": 2})
    )
    assert np.array_equal(data.x[:, 4:], np.eye(4)[table["hour"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": "hour"}, "^time=hour: is not a column"),
        ({"time": "kind"}, "^time=kind: must hold a number or an ISO date"),
        ({"one_hot": ["hour"]}, "^one_hot=hour: is not a column"),
        ({"one_hot": ["height"]}, r"^one_hot=height: row 0 .* not text or a whole number$"),
    ],
)
def test_bad_times_and_one_hot_columns(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    path = write(frame(), tmp_path / "t.csv")
    with pytest.raises(ConfigError, match=message):
        Table(path=path, label="member", features=["age"], **options).load()  # type: ignore[arg-type]


def test_a_folder_is_no_file_and_what_is_in_it_is_named(tmp_path: Path) -> None:
    kinds = r"\.csv, \.parquet, \.npz, \.jsonl, \.arrow or \.libsvm"
    wanted = f"is a folder, and a {kinds} file is wanted, or a saved data set's folder"
    with pytest.raises(
        ConfigError, match=rf"^path={tmp_path}: {wanted} \(with a state\.json\); none is in it$"
    ):
        Table(path=str(tmp_path)).load()
    for number in range(3):
        write(frame(), tmp_path / f"t{number}.csv")
    (tmp_path / "readme.md").touch()
    named = " or ".join(f"{tmp_path}/t{number}.csv" for number in range(3))
    with pytest.raises(ConfigError, match=rf"^path={tmp_path}: {wanted}; give {named}$"):
        Table(path=str(tmp_path)).load()
    for number in range(3, 7):
        write(frame(), tmp_path / f"t{number}.csv")
    with pytest.raises(ConfigError, match=r"t4\.csv, or one of 2 others in it$"):
        Table(path=str(tmp_path)).load()


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz", "jsonl", "arrow", "libsvm"])
def test_an_empty_file_has_no_rows(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"t.{ending}").touch()
    with pytest.raises(
        ConfigError, match=rf"t\.{ending}: has no rows; at least a few samples are needed$"
    ):
        Table(path=str(tmp_path / f"t.{ending}")).load()


def test_lines_of_json(tmp_path: Path) -> None:
    frame().to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    data = Table(
        path=str(tmp_path / "t.jsonl"),
        label="kind",
        device="person",
        features=["age"],
        scale="none",
    ).load()
    assert np.array_equal(data.x[:, 0], frame()["age"])
    (tmp_path / "t.jsonl").write_text('{"a": 1,\n')
    with pytest.raises(ConfigError, match=r"cannot be read as \.jsonl"):
        Table(path=str(tmp_path / "t.jsonl")).load()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("far", "microseconds"),
    [("9999-12-31T23:59:59", 253402300799_000000), ("0001-01-01T00:00:00", -62135596800_000000)],
)
def test_dates_that_nanoseconds_do_not_reach(
    tmp_path: Path, suffix: str, far: str, microseconds: int
) -> None:
    """From the year 1 to 9999, to the microsecond; 64-bit nanoseconds end in 2262."""
    when = np.array(["2020-01-01"] * 60, "datetime64[us]") + np.arange(60)
    when[7] = np.datetime64(far)
    table = frame().assign(when=when)
    path = str(tmp_path / f"table.{suffix}")
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    data = Table(path=path, label="kind", features=["age"], time="when").load()
    assert data.time is not None
    assert data.time[7] == microseconds
    assert data.time[8] == 1577836800_000008
