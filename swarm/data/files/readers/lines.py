"""Reads tables that are written as lines of text: CSV, numbers between blanks, and JSON lines. The
memory they take is bounded while they are read.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import pandas as pd
import pyarrow as pa

from swarm.common.errors import ConfigError
from swarm.data.files.readers.columns import (
    HEADING,
    TEXT,
    Column,
    plain,
    require_own_names,
    require_room,
    require_unpacked_room,
)
from swarm.data.files.readers.dialect import SEPARATORS, WORD, CsvFormat, Form, decoded, form_of

BLANK = SEPARATORS["blank"]
_FOUND = CsvFormat()
_PIECE = 1 << 16  # characters of a line that are read at once
_CELL = 8  # bytes of a number, or of a reference to an object
_PART = 4 << 20  # bytes that a part of a file should take while it is measured
_LINES = 1 << 16  # lines of JSON that are made into columns at once


def read_csv(
    path: Path, file: BinaryIO, most: int, wanted: CsvFormat = _FOUND
) -> dict[str, Column]:
    """The columns of a file of separated values, plain or packed by gzip; without a heading they
    are called 0, 1, ….

    Raises ``ConfigError`` where they may take more than ``most`` bytes, and for two columns of one
    name.
    """
    if path.suffix.lower() == ".gz":
        with gzip.GzipFile(fileobj=file) as unpacked:
            frame = read_frame(path, cast(BinaryIO, unpacked), most, wanted)
    else:
        frame = read_frame(path, file, most, wanted)
    names = [str(name).strip() for name in frame.columns]
    if len(set(names)) < len(names):  # such columns are told apart by their blanks
        names = [str(name) for name in frame.columns]
    return {name: plain(frame[column]) for name, column in zip(names, frame.columns, strict=True)}


def read_frame(path: Path, file: BinaryIO, most: int, wanted: CsvFormat) -> pd.DataFrame:
    """A table of text, read by pandas, in the form that ``wanted`` says or lets be found.

    pandas fills up a short row, so a row of two bytes takes as many cells as the heading has
    columns. The least memory of the cells therefore follows from the numbers of lines and columns,
    before they are read. Where the cells might take too much as text, they are measured in parts.

    Raises ``ConfigError`` where the table may take more than ``most`` bytes, and for two columns of
    one name.
    """
    text, lines, size = decoded(path, file, wanted, most)
    try:
        form = form_of(path, text, wanted)
        lines -= form.skipped
        _require_narrow(path, text, most, form)
        # Read without a heading, as pandas would rename a second column b to b.1.
        heading = pd.read_csv(
            text, header=None, nrows=1, dtype=str, sep=form.sep, skiprows=form.skipped
        )
        columns = heading.shape[1]
        if form.header:
            require_own_names(path, heading.iloc[0].dropna())
            _warn_of_row_names(path, text, form)
        cells = lines * columns
        require_unpacked_room(path, _CELL * cells + HEADING * columns, most)
        options: dict[str, Any] = {"sep": form.sep, "decimal": form.decimal, "low_memory": False}
        options |= {"header": 0 if form.header else None, "na_values": list(wanted.missing)}
        options["skiprows"] = form.skipped
        if (_CELL + TEXT) * cells + size > most:
            _measure(path, text, most, columns, options)
        text.seek(0)
        frame: pd.DataFrame = pd.read_csv(text, **options)
        _warn_of_short_rows(path, text, form, frame)
        return frame
    finally:
        text.detach()  # what opened the file closes it


def _require_narrow(path: Path, text: IO[str], most: int, form: Form) -> None:
    """Refuse a heading with more columns than fit into memory, before any column is made."""
    columns = quotes = 0
    sep = form.sep
    for _ in range(form.skipped):
        text.readline(_PIECE)
    while piece := text.readline(_PIECE):
        columns += len(piece.split()) if sep == BLANK else piece.count(sep) + 1
        quotes += piece.count('"')
        require_unpacked_room(path, HEADING * columns, most)
        if piece.strip() and not quotes % 2 and piece.endswith(("\n", "\r")):
            break
    text.seek(0)


def _warn_of_row_names(path: Path, text: IO[str], form: Form) -> None:
    """Warn where rows have one field more than the heading, by which pandas takes the first for
    their name; refuse several more, an empty one behind all others, and a first row that alone is
    longer."""
    _require_usual_first_row(path, text, form)
    text.seek(0)
    options: dict[str, Any] = {"nrows": 1, "sep": form.sep, "skiprows": form.skipped}
    more = pd.read_csv(text, **options).index.nlevels
    if more > 1:
        text.seek(0)
        remark = text.readline().startswith(("#", "%"))
        valid = f"has rows of {more} fields more than its heading; each column needs one"
        hint = "; its first line is a remark, and has to be taken out" if remark else ""
        raise ConfigError("path", path, valid + hint)
    text.seek(0)
    # pandas warns of it only where it is told that no field is a row's name.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pd.read_csv(text, **options, index_col=False)
    if any(issubclass(one.category, pd.errors.ParserWarning) for one in said):
        what = (
            "its rows have one field more than its heading: the first, which has no name, is"
            " left out"
        )
        warnings.warn(f"{path}: {what}", stacklevel=4)


def _require_usual_first_row(path: Path, text: IO[str], form: Form) -> None:
    """Refuse a first row that is longer than the heading and most rows, by which pandas would cut
    all of them wrongly, and rows that end in a separator that the heading has not."""
    text.seek(0)
    for _ in range(form.skipped):
        text.readline()
    try:
        first = list(islice((one for one in _rows(text, form.sep) if one[1]), 2))
    except csv.Error:  # a cell too long for Python's reader, and not for pandas
        return
    if len(first) < 2 or len(first[1][1]) <= len(first[0][1]):
        return
    (_, heading), (line, row) = first
    if form.width == len(heading) or form.trailing:
        found = f"line {line + form.skipped} has {len(row)} cells, and the heading {len(heading)}"
        hint = "; its last cell is empty, so the line must not end in a separator"
        raise ConfigError("path", path, found + (hint if not row[-1].strip() else ""))


def _warn_of_short_rows(path: Path, text: IO[str], form: Form, frame: pd.DataFrame) -> None:
    """Warn of rows with fewer cells than the table has columns, which pandas fills up.

    Such a row has nothing in the last column, so a file without a gap there is not read again.
    """
    if not frame.iloc[:, -1].isna().any():
        return
    named = not isinstance(frame.index, pd.RangeIndex)
    width, short, first = frame.shape[1] + named, 0, ""
    heading = form.header
    text.seek(0)
    for _ in range(form.skipped):
        text.readline()
    try:
        for line, row in _rows(text, form.sep):
            if len(row) < 2 and not "".join(row).strip():
                continue  # an empty line is no row
            if not heading and len(row) < width:
                short += 1
                first = first or f"line {line + form.skipped} has {len(row)} of {width}"
            heading = False
    except csv.Error:  # a cell too long for Python's reader, and not for pandas
        return
    if short:
        found = f"{short} {'rows have' if short > 1 else 'row has'} too few cells ({first})"
        warnings.warn(f"{path}: {found}; those that lack count as missing", stacklevel=4)


def _rows(text: IO[str], sep: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, and the line in which it begins."""
    if sep == BLANK:
        yield from ((number, WORD.findall(line)) for number, line in enumerate(text, 1))
        return
    begin, rows = 1, csv.reader(text, delimiter=sep)
    for row in rows:
        yield begin, row
        begin = rows.line_num + 1


def _measure(path: Path, text: IO[str], most: int, columns: int, options: dict[str, Any]) -> None:
    """Read the file in parts, add up what the cells take, and refuse too much; pandas keeps equal
    texts of a part once.
    """
    text.seek(0)
    rows = max(1, _PART // ((_CELL + TEXT) * columns))
    size = HEADING * columns
    for part in pd.read_csv(text, chunksize=rows, **options):
        size += _CELL * part.size
        for name in part.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in part.dtypes]]:
            texts = part[name].dropna().astype(str).unique()
            size += TEXT * len(texts) + sum(map(len, texts))
        require_unpacked_room(path, size, most)


def read_jsonl(path: Path, file: BinaryIO, most: int) -> pa.Table:
    """The table of a file with one JSON object a line: a column for every key, null in the lines
    that lack it. The key ``b`` of an object that is the value of ``a`` is the column ``a.b``.

    Python's own parser reads the lines, as Arrow's crashes the process on a deeply nested line.

    Raises ``ConfigError`` for a line that is no object, and where the columns may take more than
    ``most`` bytes.
    """
    names: dict[str, None] = {}
    tables: list[pa.Table] = []
    rows: list[dict[str, Any]] = []
    count = size = total = 0
    for number, line in enumerate(file, 1):
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        rows.append(_object(path, number, text))
        if not names.keys() >= rows[-1].keys():
            names |= dict.fromkeys(rows[-1])
        count, size, total = count + 1, size + len(text), total + len(text)
        require_room(path, total, most)
        require_unpacked_room(path, (_CELL * count + HEADING) * len(names), most)
        if len(rows) == _LINES or size > _PART:
            tables.append(_table(rows, names))
            rows, size = [], 0
    table = pa.concat_tables([*tables, _table(rows, names)], promote_options="permissive")
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = _with_empty_objects(table).flatten()
    return table


def _with_empty_objects(table: pa.Table) -> pa.Table:
    """The table with nulls in the place of objects that are all empty: without a key, flattening
    would leave their column out."""
    for i, field in enumerate(table.schema):
        if pa.types.is_struct(field.type) and not field.type.num_fields:
            table = table.set_column(i, field.name, pa.nulls(len(table)))
    return table


def _object(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text.decode())
    except RecursionError:
        raise ConfigError("path", path, f"is nested too deeply in line {number}") from None
    except ValueError as error:
        raise ConfigError(
            "path", path, f"cannot be read as .jsonl (line {number}: {error}); check the file"
        ) from None
    if not isinstance(found, dict):
        raise ConfigError(
            "path", path, f"has no JSON object in line {number}; every line must be one"
        )
    return found


def _table(rows: list[dict[str, Any]], names: dict[str, None]) -> pa.Table:
    columns = [pa.array([row.get(name) for row in rows]) for name in names]
    return pa.Table.from_arrays(columns, names=list(names))


def read_svmlight(path: Path, file: BinaryIO, most: int) -> dict[str, Column]:
    """The columns ``x`` ``[S, features]`` and ``label`` of a file in the format of SVMlight and
    LIBSVM, lines ``label number:value …``, whose other features are 0.

    Raises ``ConfigError`` where they may take more than ``most`` bytes.
    """
    from sklearn.datasets import load_svmlight_file  # most runs need none, and it takes a second

    entries = sum(line.count(b":") for line in file)
    require_unpacked_room(path, 2 * _CELL * entries, most)
    file.seek(0)
    x, y = load_svmlight_file(file)
    require_unpacked_room(path, _CELL * x.shape[0] * x.shape[1], most)
    return {"x": x.toarray(), "label": y}
