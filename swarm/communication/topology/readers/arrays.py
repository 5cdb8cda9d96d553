"""Reads graphs that are arrays: tables of edges, NumPy files, and large edge lists.

Nodes that are numbers never become Python objects, so that a million takes a second or so.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.names import LONGEST, canonical, is_number
from swarm.common.system.files import opened
from swarm.communication.topology.readers.edge_list import (
    PAIRS,
    SEPARATORS,
    SHORT,
    Heading,
    read_edge_list,
)
from swarm.communication.topology.readers.matrices import UNPACKED, read_matrix, too_large
from swarm.communication.topology.readers.parsed import Parsed, finite_column

LARGE = 1 << 20  # bytes of an edge list from which on pandas, which takes long to load, pays
_COMMENTS = re.compile(rb"(?:[ \t]*(?:[#%][^\n]*)?\r?\n)*")
_PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'#%{}"(')) + b"\t\r\n"


def read_any_edge_list(data: bytes, parsed: Parsed) -> None:
    """Read an edge list as :func:`~.edge_list.read_edge_list` does, a large and plain one in C."""
    if len(data) < LARGE or not _read_plain(data, parsed):
        read_edge_list(data, parsed)


def _read_plain(data: bytes, parsed: Parsed) -> bool:
    """Read the edge list by pandas; returns whether that was possible without any doubt of what the
    list means."""
    body = data[_COMMENTS.match(data).end() :]  # type: ignore[union-attr]
    if body.translate(None, _PLAIN) or body.count(b"\r") != body.count(b"\r\n"):
        return False
    line, _, below = body.partition(b"\n")
    first = line.decode().strip()
    found = [separator for separator in SEPARATORS if separator.encode() in body]
    if len(found) > 1 or (found and found[0] not in first):
        return False
    separator = found[0] if found else None
    row = [field.strip() for field in first.split(separator)]
    heading = Heading.of(row, parsed.length)
    if len(row) not in (2, 3) or (heading is not None and heading.kind is not None):
        return False
    if heading is not None and parsed.length is not None and heading.length is None:
        return False
    place = heading or Heading(0, 1, 2 if len(row) == 3 else None, None, None, len(row))
    table = _by_pandas(body if heading is None else below, separator, place, heading is None)
    if table is None or table.shape[1] != len(row) or not _named(table, place):
        return False
    far = place.length if place.length is not None else place.weight
    far_E = None if far is None else table[far].to_numpy()
    if far_E is not None and not (far_E.dtype == np.float64 and np.isfinite(far_E).all()):
        return False
    if parsed.length is not None and (far_E is None or (far_E < 0).any()):
        return False
    parsed.weighted |= parsed.length is None and far is not None
    ends = [table[place.source], table[place.target]]
    source, target = [end.to_numpy() if end.dtype.kind == "i" else end for end in ends]
    parsed.columns(source, target, None if parsed.length is None else far_E)
    return True


def _by_pandas(body: bytes, separator: str | None, place: Heading, texts: bool) -> Any:
    """The table of an edge list with whole numbers or (with ``texts``) names as ends; None if it is
    none.
    """
    import pandas as pd

    # Elsewhere names may have blanks, and then there are two ways to split a line.
    texts = texts and separator is None
    whole = not (b"e" in body or b"E" in body)  # pandas takes 1e3 for the whole number 1000
    kinds: list[Any] = [np.int64] * whole + [str] * texts
    exact: Any = {} if int(pd.__version__.split(".")[0]) > 2 else {"float_precision": "round_trip"}
    for kind in kinds:
        numbers = dict.fromkeys(range(place.columns), np.float64)
        try:
            return pd.read_csv(
                io.BytesIO(body), sep=separator or r"\s+", header=None,
                dtype=numbers | dict.fromkeys([place.source, place.target], kind),
                na_filter=False, skipinitialspace=True, quoting=csv.QUOTE_NONE, **exact,
            )  # fmt: skip
        except (ValueError, OverflowError):  # also pandas' own ParserError
            continue
    return None


def _named(table: Any, place: Heading) -> bool:
    """Whether all ends are names, and the first line is surely no heading."""
    ends = [table[place.source], table[place.target]]
    if all(end.dtype.kind == "i" for end in ends):
        return True
    first, last = ([is_number(canonical(end.iloc[i])) for end in ends] for i in (0, -1))
    return (any(first) or not all(last)) and all(
        end.str.len().min() >= 1 and end.str.len().max() <= LONGEST for end in ends
    )


# --- tables and NumPy's files ---------------------------------------------------------------------


def read_edge_table(path: Path, parsed: Parsed, most: int) -> None:
    """Read the columns ``source`` and ``target`` (or other names of ends) of a Parquet, Arrow or
    NPZ file of ``most`` bytes, of which an NPZ may also have ``edge_index`` ``[2, E]``.

    Raises ``ValueError``, and ``ConfigError`` for a file that cannot be read.
    """
    from swarm.data.files.readers.table_files import read_table  # it takes pandas and pyarrow

    try:
        table = read_table(path, UNPACKED * most)
    except ConfigError as error:
        if "data.max_mb" in error.valid:
            raise too_large(most) from None
        empty = error.valid.startswith("has no rows")
        raise ValueError("there is no edge in it" if empty else error.valid) from None
    if len(table) == 1:
        _pairs(next(iter(table.values())), parsed)
        return
    columns = list(table.values())
    heading = Heading.of(list(table), parsed.length)
    if heading is None:
        pairs = ", ".join(f"{a} and {b}" for a, b in [*PAIRS, *SHORT])
        shown = ", ".join(list(table)[:8])
        raise ValueError(f"no two of its columns ({shown}) are called {pairs}")
    heading.require_length(list(table), parsed, "the table")
    source, target = columns[heading.source], columns[heading.target]
    if source.ndim != 1 or target.ndim != 1:
        raise ValueError("source and target must be columns of single values")
    if heading.kind is not None:
        kinds = {str(kind).lower() for kind in set(columns[heading.kind].tolist())}
        if len(kinds) != 1 or not kinds <= {"directed", "undirected"}:
            raise ValueError(
                "its column Type must say Directed or Undirected, the same in all rows"
            )
        parsed.directed = kinds == {"directed"}
    if heading.weight not in (None, heading.length):
        finite_column(columns[heading.weight], "weight")  # type: ignore[index]
        parsed.weighted = True
    length = None if heading.length is None else columns[heading.length]
    parsed.columns(source, target, length)


def read_npy_file(path: Path, parsed: Parsed) -> None:
    """Read an array of edges ``[E, 2]``, ``[E, 3]`` (the third column is a weight or the length) or
    ``[2, E]``, or a square adjacency matrix ``[N, N]`` of at least 4 nodes.
    """
    from swarm.data.files.readers.table_files import DAMAGED, read_npy

    with opened(path) as file:
        try:
            array = read_npy(file)
        except DAMAGED as error:
            reason = " ".join(str(error).split())[:160]
            raise ValueError(f"not an array of numbers ({reason})") from None
    _pairs(array, parsed)


def _pairs(array: npt.NDArray[Any], parsed: Parsed) -> None:
    if array.dtype.kind not in "biuf" or array.ndim != 2:
        raise ValueError(
            f"an array of numbers [E, 2], [2, E] or [N, N] is needed, not {array.dtype}"
            f" {list(array.shape)}"
        )
    rows, columns = array.shape
    if rows == columns:
        if rows < 4:
            raise ValueError(
                f"a {rows} × {rows} array can hold edges or an adjacency matrix; write so few edges"
                " as text"
            )
        read_matrix(array, parsed)
        return
    if array.dtype.kind == "b":
        raise ValueError(f"truth values must be a square matrix, not {list(array.shape)}")
    if columns in (2, 3):
        source, target, far = array[:, 0], array[:, 1], array[:, 2] if columns == 3 else None
    elif rows == 2:
        source, target, far = array[0], array[1], None
    else:
        raise ValueError(
            f"an array [E, 2], [E, 3], [2, E] or [N, N] is needed, not {list(array.shape)}"
        )
    if far is not None and parsed.length is None:
        finite_column(far, "weight")
        parsed.weighted, far = True, None
    parsed.columns(source, target, far)
