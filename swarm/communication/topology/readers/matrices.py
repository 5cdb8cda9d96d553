"""Reads graphs that are adjacency matrices: of text, of Matrix Market, and SciPy's sparse ones."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, counted
from swarm.communication.topology.readers.parsed import Parsed, text_of

UNPACKED = 4  # how many times its size a packed file may take in memory
_LEAST = 4  # nodes of a matrix of text that is recognised
_SURE = 9  # columns of numbers from which on they are a matrix, even if it is not square
_START = 1 << 20  # bytes in which the first line of a matrix ends
_SEPARATORS = re.compile(r"[\t;,]")
_NAMELESS = ("", '""')
_TRUTH = re.compile(r"\b(true|false)\b", re.IGNORECASE)
_TRUTH_VALUES = {"true": "1", "false": "0"}


def is_matrix(data: bytes) -> bool:
    """Whether a text is surely an adjacency matrix: as many numbers in a line as there are lines,
    or as many columns as rows, each with the same names.
    """
    start = _lines(data[:_START].decode("utf-8-sig", "replace"))
    if not start or len(_fields(start[0])) < _LEAST:
        return False
    lines = _lines(data.decode("utf-8-sig", "replace"))
    named, first = _heading(lines), _fields(lines[0])
    if named is not None:
        return len(named) >= _LEAST and len(named) + 1 == len(lines)
    if len(first) < _LEAST or len(first) not in (len(lines), *range(_SURE, len(first) + 1)):
        return False
    counted = [str(i) for i in range(len(lines) + 1)]
    starts = [_fields(line)[0] for line in lines]
    if starts in (counted[:-1], counted[1:]):
        return False  # a list of neighbours, which begins each line with the node
    return all(_is_number(field) for field in first) and len(_fields(lines[-1])) == len(first)


def read_text_matrix(data: bytes, parsed: Parsed) -> None:
    """Read an adjacency matrix as ``numpy.savetxt`` writes it, numbers between blanks, tabs, commas
    or semicolons; or with names above and in front of the rows, as ``DataFrame.to_csv`` does.

    Node i is row i, counted from 0, unless it has a name.
    """
    lines = _lines(text_of(data))
    if not lines:
        raise ValueError("there is no row in it")
    names = _heading(lines)
    rows = lines if names is None else lines[1:]
    columns = len(names or _fields(lines[0]))
    if columns != len(rows):
        raise _not_square((len(rows), columns))
    parsed.require_nodes(columns)
    sep = _separator(lines[0])
    if names is not None:
        own = [next(csv.reader([line], delimiter=sep or ","))[0].strip() for line in rows]
        wrong = next((i for i in range(columns) if own[i] != names[i]), None)
        if wrong is not None:
            found = f"row {own[wrong][:40]!r} and column {names[wrong][:40]!r}"
            raise ValueError(f"rows and columns of a matrix need the same names, not {found}")
    try:
        value_NN = np.loadtxt(
            rows, delimiter=sep, ndmin=2, quotechar='"',
            converters=_number if any(map(_TRUTH.search, rows)) else None,
            usecols=None if names is None else range(1, columns + 1),
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"not a matrix of numbers ({str(error).partition(';')[0]})") from None
    if value_NN.shape != (columns, columns):
        raise _not_square(value_NN.shape)
    read_matrix(value_NN, parsed, names)


def _not_square(shape: Sequence[int]) -> ValueError:
    return ValueError(f"a graph needs a square matrix, not {' × '.join(map(str, shape))}")


def _lines(text: str) -> list[str]:
    found = (line.strip(" \r") for line in text.splitlines())
    return [line for line in found if line.strip() and line[0] not in "#%"]


def _separator(line: str) -> str | None:
    found = _SEPARATORS.search(line)
    return None if found is None else found[0]


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(_separator(line))]


def _heading(lines: Sequence[str]) -> list[str] | None:
    """The names above a matrix; None if it has none. They stand behind a first field that is empty,
    or that names the rows, where the rows have the same names (as ``pandas.crosstab`` does)."""
    sep = _separator(lines[0])
    if sep is None:
        return None
    names = [name.strip() for name in next(csv.reader([lines[0]], delimiter=sep))]
    if lines[0].split(sep, 1)[0].strip() in _NAMELESS:
        return names[1:]
    if _is_number(names[0]) or len(names) != len(lines):
        return None
    own = [next(csv.reader([line], delimiter=sep))[0].strip() for line in lines[1:]]
    return names[1:] if own == names[1:] else None


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> float:
    """The number that an entry is; of truth values, as pandas and R write them, 1 or 0."""
    return float(_TRUTH_VALUES.get(text.strip().lower(), text))


def is_sparse(data: bytes) -> bool:
    """Whether an NPZ file is a sparse matrix that SciPy has saved."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {"format.npy", "shape.npy"} <= set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError):  # a damaged one
        return False


def too_large(most: int) -> ValueError:
    """Make the error for a packed file whose content is too large for a file of ``most`` bytes."""
    mib = f"max_mib={most / 2**20:g}"
    why = f"it takes more than {UNPACKED} times {mib} in memory; raise max_mib if you trust it"
    return ValueError(why)


def read_sparse(path: Path, data: bytes, parsed: Parsed, most: int) -> None:
    """Read an adjacency matrix of ``scipy.sparse.save_npz``; node i is row i, counted from 0.

    ``most`` bytes may the file have. Raises ``ValueError``, before SciPy reads anything, for arrays
    that declare more than there is, or take more than ``UNPACKED`` times as much.
    """
    from scipy.sparse import load_npz

    from swarm.data.files.readers.table_files import DAMAGED, require_small_arrays

    try:
        require_small_arrays(path, io.BytesIO(data), UNPACKED * most)
        matrix = load_npz(io.BytesIO(data))
        if matrix.format in ("csr", "csc"):
            matrix.check_format(full_check=True)  # SciPy would write beyond its arrays
        elif matrix.format != "coo":
            raise ValueError(f"its format is {matrix.format}; .tocsr() makes one that is read")
        if matrix.dtype.kind not in "biuf":
            raise ValueError(f"a graph needs a matrix of real numbers, not of {matrix.dtype}")
        found = matrix.tocoo()
    except ConfigError as error:
        if "data.max_mb" in error.valid:
            raise too_large(most) from None
        raise ValueError(error.valid) from None
    except DAMAGED as error:
        raise ValueError(" ".join(str(error).split())[:160]) from None
    if len(found.shape) != 2 or found.shape[0] != found.shape[1]:
        raise _not_square(found.shape)
    parsed.require_nodes(found.shape[0])
    parsed.require_edges(found.nnz)
    _sparse(found, parsed)


def read_matrix(value_NN: npt.NDArray[Any], parsed: Parsed, names: list[str] | None = None) -> None:
    """Read a square array whose entries are 0 where there is no edge.

    Raises ``ValueError`` for an entry that is not finite, and for a matrix that is not symmetric
    though the graph is undirected.
    """
    if not np.isfinite(value_NN).all():
        row, column = np.argwhere(~np.isfinite(value_NN))[0]
        raise ValueError(f"row {row}, column {column} (counted from 0) is not a finite number")
    source, target = np.nonzero(value_NN)
    _entries(len(value_NN), source, target, value_NN[source, target], parsed, names)


def read_matrix_market(data: bytes, parsed: Parsed) -> None:
    """Read an adjacency matrix in Matrix Market with SciPy; node i is row i, counted from 0.

    The sizes that the file states are compared with the limits, and with its length, before SciPy
    allocates anything.
    """
    from scipy.io import mminfo, mmread

    try:
        rows, columns, entries, form, kind, _ = mminfo(io.BytesIO(data))
        if rows != columns:
            raise _not_square((rows, columns))
        if kind == "complex":
            raise ValueError("a graph needs a matrix of real numbers, not of complex ones")
        parsed.require_nodes(rows)
        parsed.require_edges(entries if form == "coordinate" else 0)
        if entries > len(data):  # of a symmetric one, half the entries are in the file
            raise ValueError(f"it states {counted(entries, 'entry')} but is shorter")
        matrix = mmread(io.BytesIO(data))
    except (ValueError, OverflowError, MemoryError, TypeError, StopIteration) as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(reason or "not Matrix Market") from None
    if isinstance(matrix, np.ndarray):
        read_matrix(matrix, parsed)
    else:
        _sparse(matrix, parsed)


def _sparse(matrix: Any, parsed: Parsed) -> None:
    """Read a sparse matrix in coordinates."""
    value_E = np.asarray(matrix.data, np.float64)
    wrong = np.flatnonzero(~np.isfinite(value_E))
    if wrong.size:
        raise ValueError(f"entry {wrong[0] + 1} is not a finite number")
    there = value_E != 0
    source, target = matrix.row[there], matrix.col[there]
    _entries(matrix.shape[0], source, target, value_E[there], parsed)


def _entries(
    nodes: int,
    source_E: npt.NDArray[Any],
    target_E: npt.NDArray[Any],
    value_E: npt.NDArray[Any],
    parsed: Parsed,
    names: list[str] | None = None,
) -> None:
    """Set the entries of an adjacency matrix that are not 0 as edges from row to column; ``names``
    are those of the nodes, which are numbers without them.
    """
    source_E, target_E = source_E.astype(np.int64), target_E.astype(np.int64)
    if not parsed.directed:
        there = np.unique(source_E * nodes + target_E)
        back = np.unique(target_E * nodes + source_E)
        if not np.array_equal(there, back):
            code = int(np.setdiff1d(there, back)[0])
            raise ValueError(
                f"the matrix has row {code // nodes}, column {code % nodes} (counted from 0) and"
                " not the opposite; topology.directed=true would read it as a directed graph"
            )
    parsed.weighted |= parsed.length is None and bool((value_E != 1).any())
    length_E = None if parsed.length is None else value_E
    if names is None:
        parsed.columns(source_E, target_E, length_E, nodes)
        return
    for name in names:
        parsed.node(name)
    if parsed.count < nodes:
        raise ValueError("two rows of the matrix have one name")
    name_N = np.array(names, object)
    parsed.columns(name_N[source_E], name_N[target_E], length_E)
