"""Columns beside plain numbers and texts: decimals, nullable numbers, dates, and missing values."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swarm.common.errors import ConfigError
from swarm.data.files.hub import HF
from swarm.data.files.table import Table

ROWS = 40


def stored(folder: Path, **columns: Any) -> str:
    label = pa.array([("x", "y")[i % 2] for i in range(ROWS)])
    pq.write_table(pa.table({**columns, "label": label}), folder / "t.parquet")
    return str(folder / "t.parquet")


def test_decimals_and_nullable_columns_are_numbers(tmp_path: Path) -> None:
    exact = [Decimal(i) / 4 for i in range(ROWS)]
    path = stored(
        tmp_path,
        price=pa.array(exact, pa.decimal128(10, 2)),
        large=pa.array(exact, pa.decimal256(50, 2)),
        count=pa.array([None if i == 3 else i for i in range(ROWS)], pa.int32()),
        yes=pa.array([None if i == 5 else i % 3 == 0 for i in range(ROWS)]),
        kind=pa.array([i % 3 for i in range(ROWS)]).dictionary_encode(),
    )
    data = Table(path, missing="drop", scale="none").load()
    assert data.columns == ("price", "large", "count", "yes", "kind")
    kept = [i for i in range(ROWS) if i not in (3, 5)]
    np.testing.assert_array_equal(data.x, [[i / 4, i / 4, i, i % 3 == 0, i % 3] for i in kept])


def test_missing_truth_values_of_a_csv_are_missing_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [True, None, False, True] * 10, "label": ["x", "y"] * 20})
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ConfigError, match=r"has no value in row 1 .* of column 'a'"):
        Table(str(tmp_path / "t.csv")).load()


@pytest.mark.parametrize("kind", ["timestamp", "date", "text"])
def test_dates_are_numbers_on_request(tmp_path: Path, kind: str) -> None:
    first = datetime.datetime(2020, 1, 1, 12)
    moments = [first + datetime.timedelta(hours=i) for i in range(ROWS)]
    whole = np.arange(ROWS) / 24 + 18262.5
    column = pa.array(moments, pa.timestamp("ms"))
    if kind == "date":
        column, whole = column.cast(pa.date32(), safe=False), np.floor(whole)
    if kind == "text":
        column = pa.array([moment.isoformat() for moment in moments])
    path = stored(tmp_path, when=column, a=np.random.default_rng(0).normal(size=ROWS))
    data = Table(path, features=["when"], scale="none").load()
    np.testing.assert_allclose(data.x[:, 0], whole, rtol=1e-6)
    with pytest.warns(UserWarning, match=r"left out: when; data\.features=\[…\] takes a date"):
        assert Table(path).load().columns == ("a",)


@pytest.mark.parametrize("bad", ["31/02/2021", "2021-02-31", "soon"])
def test_of_a_column_of_dates_the_cell_that_is_none_is_named(tmp_path: Path, bad: str) -> None:
    moments = [f"2022-12-{1 + i % 31:02d}" for i in range(ROWS)]
    path = stored(tmp_path, when=[*moments[:3], bad, *moments[4:]], a=np.arange(ROWS) % 7)
    cell = rf"row 3 \(counted from 0\) is '{bad}'"
    for options, said in (
        ({"features": ["when"]}, rf"^features=when: has dates, but {cell}, which is no date such"),
        (
            {"features": ["a"], "time": "when"},
            rf"^time=when: must hold .* in every row, and {cell}$",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            Table(path, **options).load()  # type: ignore[arg-type]
    path = stored(tmp_path, when=[*moments[:3], None, *moments[4:]], a=np.arange(ROWS) % 7)
    with pytest.raises(
        ConfigError, match=r"^time=when: .*, and row 3 \(counted from 0\) is empty$"
    ):
        Table(path, features=["a"], time="when").load()
    path = stored(tmp_path, when=["old", "new"] * (ROWS // 2 - 1) + moments[:2], a=range(ROWS))
    with pytest.raises(ConfigError, match=r"^features=when: is not numeric: row 0 .* is 'old'"):
        Table(path, features=["when"]).load()


@pytest.mark.parametrize("bad", ["31/02/2021", "2021-02-31", "soon"])
def test_where_no_feature_is_named_a_cell_that_is_no_date_is_named_too(
    tmp_path: Path, bad: str
) -> None:
    """Dates that repeat are no words, of which one-hot features would be made."""
    moments = [f"2022-12-{1 + i % 3:02d}" for i in range(ROWS)]
    cells = [*moments[:3], bad, *moments[4:]]
    said = (
        r"data\.features=\[…\] takes 'when' when each row has a date such as 2022-12-08, but row 3"
        rf" \(counted from 0\) is '{bad}'$"
    )
    path = stored(tmp_path, when=cells, a=np.arange(ROWS) % 7)
    with pytest.warns(UserWarning, match=rf"^{path}: columns that .* left out: when; {said}"):
        assert Table(path).load().columns == ("a",)
    with pytest.raises(ConfigError, match=rf"^path={path}: has no numeric feature; .*; {said}"):
        Table(stored(tmp_path, when=cells)).load()
    path = stored(tmp_path, when=cells, then=moments, word=["x", "y"] * (ROWS // 2))
    with pytest.raises(ConfigError) as caught:
        Table(path).load()
    for part in ("takes a date as a number (then)", f"is '{bad}'; data.one_hot", "of text (word)"):
        assert part in str(caught.value)


@pytest.mark.parametrize("form", ["{day:02d}.12.2022", "12/{day}/2022", "{day}-12-22 10:30"])
def test_dates_as_some_countries_write_them_are_said_to_be_dates(tmp_path: Path, form: str) -> None:
    cells = [form.format(day=1 + i % 28) for i in range(ROWS)]
    path = stored(tmp_path, when=cells, a=np.arange(ROWS) % 7)
    cell = rf"row 0 \(counted from 0\) is '{form.format(day=1)}'"
    with pytest.raises(ConfigError, match=rf"^features=when: has dates, but {cell}, which is no"):
        Table(path, features=["when"]).load()
    with pytest.raises(ConfigError, match=rf"^time=when: must hold .*, and {cell}$"):
        Table(path, features=["a"], time="when").load()
    with pytest.warns(UserWarning, match=rf"each row has a date such as 2022-12-08, but {cell}$"):
        Table(path).load()


@pytest.mark.parametrize("version", ["10.0.12.5", "1.2.34"])
def test_versions_are_no_dates(tmp_path: Path, version: str) -> None:
    path = stored(tmp_path, when=[version] * ROWS, a=np.arange(ROWS) % 7)
    said = rf"^features=when: is not numeric: row 0 .*'{re.escape(version)}'"
    with pytest.raises(ConfigError, match=said):
        Table(path, features=["when"]).load()


def holed(folder: Path) -> tuple[str, np.ndarray]:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(200, 2)) + 5
    x[[3, 50, 51], 0] = np.nan
    table = pd.DataFrame(x, columns=["a", "b"]).assign(label=draw.integers(0, 2, 200))
    table["extra"] = np.nan
    table.to_csv(folder / "t.csv", index=False)
    return str(folder / "t.csv"), x


def test_rows_with_missing_values_are_dropped_on_request(tmp_path: Path) -> None:
    path, x = holed(tmp_path)
    told = r"3 of 200 rows are left out, as they have no value in a$"
    with pytest.warns(UserWarning, match=told):
        data = Table(path, missing="drop", features=["a", "b"], scale="none").load()
    np.testing.assert_allclose(data.x, x[~np.isnan(x[:, 0])], rtol=1e-6)
    with pytest.raises(
        ConfigError, match=r"^missing=drop: would leave no row of .*; column 'extra' has no value"
    ):
        Table(path, missing="drop").load()


def test_missing_values_become_the_mean_of_training_rows(tmp_path: Path) -> None:
    """Not the mean of all rows, which would tell training of the test set."""
    path, x = holed(tmp_path)
    with pytest.warns(UserWarning, match=r"3 missing values are filled in with the mean"):
        data = Table(path, missing="mean", features=["a", "b"], scale="none").load()
    mean = np.nanmean(x[data.train, 0])
    assert abs(mean - np.nanmean(x[:, 0])) > 1e-3
    np.testing.assert_allclose(data.x[[3, 50, 51], 0], mean, rtol=1e-6)
    rest = np.setdiff1d(np.arange(200), [3, 50, 51])
    np.testing.assert_allclose(data.x[rest], x[rest], rtol=1e-6)
    with pytest.raises(ConfigError, match="column 'extra' has no value in any training sample"):
        Table(path, missing="mean").load()


@pytest.mark.parametrize("missing", ["drop", "mean"])
def test_a_question_mark_is_a_missing_value_where_these_are_dealt_with(
    tmp_path: Path, missing: Any
) -> None:
    path = tmp_path / "uci.data"
    path.write_text("a,label\n" + "".join(f"{i % 7 or '?'},{'xy'[i % 2]}\n" for i in range(40)))
    with pytest.raises(ConfigError, match=r"column 'a' is numeric, but row 0 .* is '\?'"):
        Table(str(path)).load()
    assert len(Table(str(path), missing=missing).load().x) == (34 if missing == "drop" else 40)


def test_missing_labels_and_owners_are_never_filled(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"a": np.arange(40.0) ** 2, "label": ["x", "y"] * 20, "who": ["m", "n"] * 20}
    )
    for column in ("label", "who"):
        spoilt = table.copy()
        spoilt.loc[4, column] = None
        spoilt.to_parquet(tmp_path / "t.parquet")
        options: dict[str, Any] = {"path": str(tmp_path / "t.parquet"), "device": "who"}
        for kind in (Table, HF):
            with pytest.raises(ConfigError, match=rf"={column}: row 4 \(counted from 0\) is empty"):
                kind(missing="mean", **options).load()
            assert len(kind(missing="drop", **options).load().x) == 39


def own_test(path: Path, change: dict[str, Any] | None = None) -> str:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, 60)
    arrays: dict[str, Any] = {
        "x_train": draw.normal(size=(45, 4, 4)),
        "y_train": y[:45, None],
        "x_test": draw.normal(size=(15, 4, 4)),
        "y_test": y[45:, None],
    }
    np.savez(path, **(arrays | (change or {})))
    return str(path)


def test_an_npz_brings_its_own_test_set(tmp_path: Path) -> None:
    data = Table(own_test(tmp_path / "t.npz"), label="y_train", scale="none").load()
    assert (data.features, data.classes) == ((4, 4), 3)
    assert data.test.tolist() == list(range(45, 60))
    with np.load(tmp_path / "t.npz") as arrays:
        np.testing.assert_allclose(data.x[data.test], arrays["x_test"], rtol=1e-6)
        assert data.y[data.test].tolist() == arrays["y_test"][:, 0].tolist()


def test_rows_of_an_own_test_set_stay_in_it_when_others_are_dropped(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(15, 4, 4))
    x[2, 1, 1] = np.nan
    path = own_test(tmp_path / "t.npz", {"x_test": x})
    data = Table(path, label="y_train", missing="drop", scale="none").load()
    assert data.test.tolist() == list(range(45, 59))
    np.testing.assert_allclose(data.x[45:], np.delete(x, 2, axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_test": np.zeros((15, 4, 5))}, r"shape \[4, 4\], and x_test float64 .* be alike"),
        ({"y_test": np.full(15, "a")}, "the two must be alike"),
        ({"x_test": np.zeros((14, 4, 4))}, "arrays of different lengths"),
        ({"z": np.zeros(60)}, "arrays of different lengths"),
        ({"y_test": np.full((15, 1), 7)}, "class 7 is among the test samples but in no training"),
    ],
)
def test_a_test_set_that_does_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Table(own_test(tmp_path / "t.npz", change), label="y_train").load()


def test_columns_of_words_bring_the_setting_that_takes_them(tmp_path: Path) -> None:
    """A column with another text in each row is no such column."""
    lines = [f"{i % 9},{('Rome', 'Oslo')[i % 2]},note {i},{i % 3}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,city,note,label", *lines]))
    with pytest.warns(UserWarning, match="not numeric are left out") as found:
        Table(path=str(tmp_path / "t.csv")).load()
    told = [str(each.message) for each in found]
    assert any(
        text.endswith("city, note; data.one_hot=[…] makes features of text (city)") for text in told
    )
