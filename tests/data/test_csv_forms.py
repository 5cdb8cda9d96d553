"""Separated values as other programs write them: the same table whatever the separator, the decimal
mark, the encoding and the heading, and a sentence where a form cannot be told.
"""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.config.build import build, option
from swarm.data.dataset import Dataset, Source
from swarm.data.files.readers.dialect import CsvFormat
from swarm.data.files.readers.table_files import read_table
from swarm.data.files.table import Table
from swarm.data.files.text import Text


def frame() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "temp": draw.normal(size=40).round(2),
            "höhe": draw.normal(size=40).round(2),
            "state": np.where(np.arange(40) % 2, "on", "off, or so"),
        }
    )


def load(path: Path, **options: Any) -> Dataset:
    return Table(**{"path": str(path), "label": "state", "scale": "none", **options}).load()


def quiet(path: Path, **options: Any) -> Dataset:
    """Loaded, where no warning may be given."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(path, **options)


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".data", ".csv.gz"])
def test_every_separator_gives_the_same_table(
    tmp_path: Path, sep: str, decimal: str, ending: str
) -> None:
    if sep == "," == decimal:
        pytest.skip("a decimal comma between commas is text")
    path = tmp_path / f"t{ending}"
    frame().to_csv(path, index=False, sep=sep, decimal=decimal)
    data = quiet(path)
    np.testing.assert_array_equal(data.x, frame()[["temp", "höhe"]].to_numpy(np.float32))
    assert data.class_names == ("off, or so", "on")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1250"])
def test_encodings_are_found_or_set(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    frame().to_csv(path, index=False, encoding=encoding, lineterminator="\r\n", quoting=1)
    assert quiet(path, encoding=encoding, features=["höhe"]).columns == ("höhe",)
    if encoding in ("latin-1", "cp1250"):
        said = "is not UTF-8 and is read as Windows-1252; data.encoding= says which it is"
        with pytest.warns(UserWarning, match=said):
            assert load(path, features=["höhe"]).columns == ("höhe",)
    else:
        assert quiet(path, features=["höhe"]).columns == ("höhe",)


def test_an_encoding_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame().to_csv(path, index=False, encoding="utf-16-le")  # without its mark
    with pytest.raises(
        ConfigError, match=r"^path=.*: is neither UTF-8 nor any other text; data\.enc"
    ):
        load(path)
    assert len(quiet(path, encoding="utf-16-le").x) == 40
    frame().to_csv(path, index=False)
    with pytest.raises(ConfigError, match=r"^path=.*: is not written in ascii \('ascii' codec"):
        load(path, encoding="ascii")
    with pytest.raises(ConfigError, match=r"^encoding=utf-9: must be auto or an encoding"):
        load(path, encoding="utf-9")


def test_a_file_without_a_heading_is_told_by_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "iris.data"
    frame().to_csv(path, index=False, header=False)
    with pytest.warns(UserWarning, match=r"first row has numbers .* data\.header=true takes it"):
        data = load(path, label=2)
    assert len(data.x) == 40
    assert quiet(path, label="2", header=False).columns == ("0", "1")
    with (
        pytest.warns(UserWarning, match="first row"),
        pytest.raises(ConfigError, match=r"its columns are 0, 1, 2; data\.header=true takes"),
    ):
        load(path)


@pytest.mark.parametrize(
    ("heading", "found"),
    [
        (["0", "1", "state"], True),  # as pandas counts columns without names
        (["2019", "2020", "state"], True),
        (["400.5", "401.5", "state"], True),  # numbers, but the label's name is among them
        (["400.5", "401.5", "kind"], False),
        (["3", "1", "kind"], False),
        (["a", "1", "kind"], False),
        (["", "a", "kind"], True),
    ],
)
def test_what_is_a_heading(tmp_path: Path, heading: list[str], found: bool) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(heading) + "\n1.5,2.5,x\n3.5,4.5,y\n")
    wanted = CsvFormat(names=frozenset({"state"}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = read_table(path, 1 << 20, wanted)
    assert (
        len(table["kind" if found and "kind" in heading else "state" if found else "2"])
        == 3 - found
    )


def test_whole_numbers_name_columns(tmp_path: Path) -> None:
    """On the command line ``data.label=2`` is a number."""
    path = tmp_path / "t.csv"
    table = frame().set_axis([0, 1, 2], axis=1)
    table.to_csv(path, index=False)
    node = option("data", "table") | {"path": str(path), "label": 2, "features": [1]}
    assert build(node, Source, "data", seed=0).load().columns == ("1",)
    with pytest.raises(ConfigError, match=r"^label=3: is not a column of"):
        build(node | {"label": 3}, Source, "data", seed=0).load()


def test_a_comma_between_three_digits_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;state\n" + "".join(f"{i * i},000;{'xy'[i % 2]}\n" for i in range(1, 20)))
    with pytest.warns(UserWarning, match=r"1,000 is read as a number with three decimals"):
        assert load(path).x[0, 0] == 1
    assert len(quiet(path, decimal=",").x) == 19


def test_blanks_between_numbers_are_found(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(
        "a   b state\n" + "".join(f" {i}.5  {i * i} {'xy'[i % 2]}\n" for i in range(20))
    )
    assert quiet(path).x[3].tolist() == [3.5, 9]
    assert quiet(path, sep="blank").x[3].tolist() == [3.5, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sep": "::"}, "^sep=::: must be auto, tab, blank, or one character"),
        ({"sep": "a"}, "^sep=a: must be auto"),
        ({"decimal": "'"}, "^decimal=': must be auto, a point or a comma"),
        ({"sep": ";"}, r"^label=state: is not a column of .*; its columns are temp,höhe,state$"),
        ({"label": ["temp", "höhe"]}, r"^label=\[temp, höhe\]: are several; data.task=regression"),
        ({"label": []}, r"^label=\[\]: must be a column, or several"),
        ({"label": "temp", "device": "temp"}, "^device=temp: is data.label already"),
    ],
)
def test_bad_forms(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    frame().to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "t.csv", **options)


def test_a_packed_table_is_bounded_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,state\n" + b"1,x\n" * 400_000))
    with pytest.raises(ConfigError, match=r"takes \d+ bytes; at most 1048576 are read"):
        load(path, max_mb=1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfigError, match=r"cannot be read as \.gz"):
        load(path, max_mb=8)


def test_messages_of_texts_name_no_key_that_texts_lack(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"owner;text\nann;caf\xe9 and so on, and on\n" * 40)
    with pytest.warns(UserWarning, match=r"is read as Windows-1252$"):
        Text(str(path), context=4, min_chars=100).load()


def test_several_targets(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    table = pd.DataFrame(draw.normal(size=(40, 4)), columns=list("abcd"))
    table.to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv", label=["d", "b"], task="regression", target_scale="standard")
    assert data.columns == ("a", "c")
    assert data.target is not None
    raw = data.target.shift + data.target.span * data.y
    np.testing.assert_allclose(raw, table[["d", "b"]], atol=1e-6)
    table.loc[7, "b"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ConfigError, match=r"^label=b: row 7 \(counted from 0\) is empty"):
        load(tmp_path / "t.csv", label=["d", "b"], task="regression")


@pytest.mark.parametrize(
    ("rows", "columns", "first"),
    [
        ("1,5;2,5\n3,5;4,5\n", ["0", "1"], 1.5),  # commas fit as well, and fewer cells are numbers
        ("a|b,c\n1|2,x|y\n3|4,x|y\n", ["a|b", "c"], "1|2"),  # bars fit too, but for the heading
        ("a\n1;2\n3;4;5\n", ["a"], "1;2"),  # nothing fits: a comma
    ],
)
def test_of_several_separators_the_better_one_is_taken(
    tmp_path: Path, rows: str, columns: list[str], first: object
) -> None:
    (tmp_path / "t.csv").write_text(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = read_table(tmp_path / "t.csv", 1 << 20)
    assert list(table) == columns
    assert table[columns[0]][0] == first


@pytest.mark.parametrize(
    ("heading", "cut", "sep"),
    [
        ("a,b,c,label", "9,8", ","),
        ("sep=;\na;b;c;label", '"9";8', ";"),
        ("\n\na b label", '"9 8"', " "),
        ("a,b", "first,9", ","),  # the rows have names
    ],
)
def test_a_row_with_too_few_cells_is_told_by_its_line(
    tmp_path: Path, heading: str, cut: str, sep: str
) -> None:
    """pandas fills it up, and data.missing=mean would put a mean there without a word."""
    width = 3 if heading == "a,b" else heading.count(sep) + 1
    rows = [sep.join(map(str, range(i, i + width))) for i in range(30)]
    path, whole = tmp_path / "t.csv", heading + "\n" + "\n".join(rows)
    line = heading.count("\n") + 1 + len(rows) + 2
    cells = 1 if sep == " " else 2
    form = CsvFormat(sep="blank" if sep == " " else "auto")
    path.write_text(f"{whole}\n\n{cut}\n{rows[0]}\n")
    said = rf"1 row has too few cells \(line {line} has {cells} of {width}\); those that lack count"
    with pytest.warns(UserWarning, match=said):
        read_table(path, 1 << 20, form)
    path.write_text(f"{whole}\n\n{rows[0].rpartition(sep)[0]}{sep}NA\n")
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        read_table(path, 1 << 20, form)
    assert not [str(one.message) for one in others if "too few" in str(one.message)]
