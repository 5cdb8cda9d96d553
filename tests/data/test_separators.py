"""What separates cells follows from the heading and most rows, so that a single row that is too
short or too long is told by its line, whatever the separator is."""

from __future__ import annotations

import csv
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.common.errors import ConfigError
from swarm.data.files.readers.dialect import CsvFormat
from swarm.data.files.readers.table_files import read_table

SEPARATORS = [",", ";", "\t", "|"]
WORD = st.text('xyz ,;|\t"\n', max_size=6).map(lambda text: f"w{text}w")
NUMBER = st.integers(-9999, 9999).map(lambda n: n / 10 + 0.05)


def written(rows: list[list[Any]], sep: str, quoting: Any) -> str:
    """As programs of a country with decimal commas write it, unless these separate cells."""
    out = io.StringIO()
    table = csv.writer(out, delimiter=sep, quoting=quoting, lineterminator="\n")
    point = "." if sep == "," else ","
    table.writerows(
        [f"{c:.2f}".replace(".", point) if isinstance(c, float) else c for c in row] for row in rows
    )
    return out.getvalue()


def read(text: str, **options: Any) -> tuple[dict[str, list[Any]], list[str]]:
    """The columns of a file, and the warnings."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        path = Path(folder) / "t.csv"
        path.write_text(text, newline="")
        table = read_table(path, 1 << 20, CsvFormat(**options))
    return {name: column.tolist() for name, column in table.items()}, [
        str(one.message) for one in said
    ]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[Any]], list[bool]]:
    """Rows of words and numbers, at least one column of each, and which columns are numbers."""
    kinds = draw(st.permutations([True, False, *draw(st.lists(st.booleans(), max_size=4))]))
    row = st.tuples(*(NUMBER if kind else WORD for kind in kinds)).map(list)
    return draw(st.lists(row, min_size=3, max_size=20)), list(kinds)


@settings(deadline=None, max_examples=300)
@given(
    tables(),
    st.sampled_from(SEPARATORS),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.data(),
)
def test_a_short_row_is_told_by_its_line(
    table: tuple[list[list[Any]], list[bool]], sep: str, quoting: Any, data: st.DataObject
) -> None:
    rows, kinds = table
    names = [f"n{i}" for i in range(len(kinds))]
    at = data.draw(st.integers(0, len(rows) - 1))
    left = data.draw(st.integers(1, len(kinds) - 1))
    cut = [row[:left] if i == at else row for i, row in enumerate(rows)]
    line = written([names, *rows[:at]], sep, quoting).count("\n") + 1
    found, said = read(written([names, *cut], sep, quoting))
    assert list(found) == names
    assert any(
        f"1 row has too few cells (line {line} has {left} of {len(kinds)})" in one for one in said
    )
    for i, name in enumerate(names):
        kept = [row[i] for row in cut if len(row) > i]
        missing = len(rows) - len(kept)
        there = [cell for cell in found[name] if cell is not None and cell == cell]
        assert there == (pytest.approx(kept) if kinds[i] else kept)
        assert len(found[name]) - len(there) == missing


@pytest.mark.parametrize("sep", SEPARATORS)
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["1", "2"] * 9 + ["3"] + ["1", "2"], "Expected 2 fields in line 20, saw 3"),
        (["3", "1", "2"], "line 2 has 3 cells, and the heading 2$"),
        (["3"], None),  # names of rows, which pandas takes the first cell for
    ],
)
def test_a_long_row_is_told_by_its_line(sep: str, rows: list[str], said: str | None) -> None:
    cells = {"1": ["1", "x"], "2": ["2", "y"], "3": ["3", "z", "5"]}
    text = "\n".join(["a" + sep + "b", *(sep.join(cells[row]) for row in rows)])
    if said is None:
        assert "one field more than its heading" in " ".join(read(text)[1])
        return
    with pytest.raises(ConfigError, match=said):
        read(text)


@pytest.mark.parametrize("sep", SEPARATORS)
def test_a_separator_at_the_end_of_each_line_is_told(sep: str) -> None:
    """pandas would take the first cell for the name of the row, and shift all others."""
    text = "a;b\n1;2;\n3;4;\n".replace(";", sep)
    said = r"line 2 has 3 cells, and the heading 2; its last cell is empty, so the line must not"
    with pytest.raises(ConfigError, match=said):
        read(text)
    assert read("a;b;\n1;2;\n3;4;\n".replace(";", sep))[0]["b"] == [2, 4]


def test_most_rows_too_short_are_told_as_well() -> None:
    for sep in SEPARATORS:
        found, said = read("a;b;c\n1;2\n3;4\n5;6\n".replace(";", sep))
        assert found["b"] == [2, 4, 6]
        assert "3 rows have too few cells (line 2 has 2 of 3)" in said[0]


def test_a_heading_with_commas_in_it_is_cut_by_what_cuts_numbers() -> None:
    text = "Temp, °C;Druck, hPa;Ort\n" + "1,5;2,5;x\n" * 5 + "1,5;2,5\n"
    found, said = read(text)
    assert list(found) == ["Temp, °C", "Druck, hPa", "Ort"]
    assert found["Druck, hPa"] == [2.5] * 6
    assert "line 7 has 2 of 3" in said[0]


HEADINGS_WITH_ANOTHER = {
    ";": "long;a;x y,u;b;c\n" + "1,92;x;4.28;some text;bc\n" * 7 + "8,49;x,b;0.57;bc;a\n" * 3,
    "|": "y|b|b,u\n" + "1,92|x|text\n" * 12 + "7,97|a,b|bc\n" * 3,
    "\t": "y\tlen\tb,u\tc\n"
    + "8.26\tbc\tx|b\t1.44\t2,96\n" * 3
    + "9.96\tbc\tx,b\t3.69\t1,52\n" * 2,
}


@pytest.mark.parametrize("sep", HEADINGS_WITH_ANOTHER)
def test_what_cuts_all_rows_is_not_lost_to_what_cuts_most(sep: str) -> None:
    """A name in the heading and decimals have commas, which cut most rows into two cells; where it
    is a tab, rows have names."""
    text = HEADINGS_WITH_ANOTHER[sep]
    with warnings.catch_warnings(action="ignore"):  # of names of rows
        assert [*read(text)[0]] == text.splitlines()[0].split(sep)


def test_blanks_are_found_beside_a_short_row() -> None:
    found, said = read("a b c\n" + "1 2 3\n" * 4 + "1 2\n")
    assert found["b"] == [2] * 5
    assert "line 6 has 2 of 3" in said[0]
