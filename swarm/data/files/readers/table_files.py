"""Reads untrusted table files: sizes are checked before memory is allocated, and nothing is ever
unpickled.
"""

from __future__ import annotations

import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.lib import format as npy

from swarm.common.errors import ConfigError
from swarm.common.system.files import meant_file, opened, size_of
from swarm.data.files.readers.arrow.folders import STATE, mapped, read_folder, saved_folders
from swarm.data.files.readers.arrow.ipc import read_ipc
from swarm.data.files.readers.arrow.parquet import read_parquet
from swarm.data.files.readers.columns import (
    Column,
    of_arrow,
    require_own_names,
    require_room,
    require_unpacked_room,
)
from swarm.data.files.readers.dialect import CsvFormat
from swarm.data.files.readers.lines import read_csv, read_jsonl, read_svmlight

Reader = Callable[[Path, BinaryIO, int], dict[str, Column]]

# The errors that NumPy, pandas, pyarrow (most of whose errors are also Python's) and the formats
# below raise on damaged files.
DAMAGED = (
    ValueError,
    TypeError,
    LookupError,
    OSError,
    EOFError,
    OverflowError,
    RuntimeError,
    MemoryError,
    pa.ArrowException,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
KINDS = (".csv", ".parquet", ".npz", ".jsonl", ".arrow", ".libsvm")
SEPARATED = (".csv", ".tsv", ".txt", ".data")  # endings of separated values
_ALSO = "separated values may also end in .tsv, .txt or .data, and all of these in .gz"
_PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
# What makes a file of another kind into one that is read.
_INSTEAD = {
    ".xlsx": "in Excel, save it as CSV UTF-8",
    ".xls": "in Excel, save it as CSV UTF-8",
    ".json": "pandas writes .jsonl with to_json(…, orient='records', lines=True)",
    ".npy": "numpy.savez('both.npz', x=numpy.load('x.npy'), y=numpy.load('y.npy')) writes .npz",
    ".pkl": "pickles are never read; pandas writes .parquet with to_parquet",
    ".pickle": "pickles are never read; pandas writes .parquet with to_parquet",
    ".arff": "scipy.io.arff.loadarff reads it, and pandas.DataFrame(…).to_csv writes .csv",
    ".mat": "scipy.io.loadmat reads it, and numpy.savez writes .npz",
    ".rds": "in R, write.csv writes .csv",
    ".rdata": "in R, write.csv writes .csv",
}
_MOST_MEANT = 5  # how many files a message names where a folder is given


def read_table(path: Path, max_bytes: int, csv: CsvFormat | None = None) -> dict[str, Column]:
    """The columns of a table file by name, each ``[S, …]``; none takes memory before its size is
    known. ``csv`` says how separated values are written (None: that is found out).

    The arrays of an NPZ file may be in pairs ``…_train`` and ``…_test`` of two lengths
    (:func:`with_own_test` joins them).

    Raises ``ConfigError`` for a file that is missing, not a regular one, larger than ``max_bytes``
    (as it is, or unpacked), damaged or empty.
    """
    reader = _reader(path, csv or CsvFormat())
    try:
        folder, there = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ConfigError("path", path, f"cannot be opened ({error})") from None
    if reader is None and not folder:
        instead = _INSTEAD.get(path.suffix.lower())
        valid = f"must end in {', '.join(KINDS)}; {instead or _ALSO}"
        raise ConfigError("path", path, valid)
    if not there:
        valid = f"is not a file{meant_file(path)}; give the path of a {', '.join(KINDS)} file"
        raise ConfigError("path", path, valid)
    try:
        if folder or reader is None:
            table = _of_folder(path, max_bytes)
        else:
            with opened(path) as file:
                require_room(path, size_of(file), max_bytes)
                table = reader(path, file, max_bytes) if size_of(file) else {}
    except ConfigError:
        raise
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:160]
        kind = "one data set" if folder else path.suffix
        if "Error tokenizing data" in reason and _has_remarks(path):
            reason += "; its first line is a remark, and has to be taken out"
        reason = reason.removeprefix("Error tokenizing data. C error: ")
        raise ConfigError(
            "path", path, f"cannot be read as {kind} ({reason}); check the file"
        ) from error
    if not table or not all(len(column) for column in table.values()):
        raise ConfigError("path", path, "has no rows; at least a few samples are needed")
    return table


def _has_remarks(path: Path) -> bool:
    """Whether a file of text begins with a line that seems to be no heading."""
    with opened(path) as file:
        return file.read(4).removeprefix(b"\xef\xbb\xbf")[:1] in (b"#", b"%", b"@")


def _reader(path: Path, csv: CsvFormat) -> Reader | None:
    """What reads files of this ending; None if nothing does."""
    readers: dict[str, Reader] = {
        ".parquet": _parquet, ".npz": _npz, ".jsonl": _jsonl,
    }  # fmt: skip
    readers |= dict.fromkeys((".arrow", ".feather"), _arrow)
    readers |= dict.fromkeys((".libsvm", ".svmlight", ".svm"), read_svmlight)
    readers |= dict.fromkeys(SEPARATED, partial(read_csv, wanted=csv))
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    if endings[-1:] == [".gz"] and len(endings) == 2 and endings[0] in SEPARATED:
        return readers[endings[0]]
    return readers.get(path.suffix.lower())


def _parquet(path: Path, file: BinaryIO, most: int) -> dict[str, Column]:
    return of_arrow(path, read_parquet(path, mapped(file), most), most)


def _jsonl(path: Path, file: BinaryIO, most: int) -> dict[str, Column]:
    return of_arrow(path, read_jsonl(path, file, most), most)


def _arrow(path: Path, file: BinaryIO, most: int) -> dict[str, Column]:
    return of_arrow(path, read_ipc(path, mapped(file), most), most)


def _of_folder(path: Path, most: int) -> dict[str, Column]:
    """The columns in a folder that is a data set; any other is refused, with the names of files in
    it that might be meant.
    """
    found = read_folder(path, most)
    if found is not None:
        columns = of_arrow(path, found[0], most)
        columns.own_test = found[1]
        return columns
    kinds = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
    wanted = f"is a folder, and a {kinds} file is wanted, or a saved data set's folder"
    saved = saved_folders(path)
    endings = (*KINDS, *SEPARATED)
    files = [file for file in path.iterdir() if file.suffix.lower() in endings and file.is_file()]
    there = sorted([*saved, *files])
    meant = " or ".join(f"{path / file.name}" for file in there[:_MOST_MEANT])
    if not there:
        raise ConfigError("path", path, f"{wanted} (with a {STATE}); none is in it")
    others = (
        f", or one of {len(there) - _MOST_MEANT} others in it" if len(there) > _MOST_MEANT else ""
    )
    raise ConfigError("path", path, f"{wanted}; give {meant}{others}")


def require_small_arrays(path: Path, file: BinaryIO, most: int) -> None:
    """Refuse an NPZ file of more than ``most`` bytes unpacked, or whose arrays declare more than
    they hold, or hold Python objects.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        require_room(path, sum(entry.file_size for entry in entries), most)
        require_own_names(path, (entry.filename.removesuffix(".npy") for entry in entries))
        for entry in entries:
            with archive.open(entry) as inside:
                _require_held(inside, entry)
    file.seek(0)


def _npz(path: Path, file: BinaryIO, most: int) -> dict[str, Column]:
    require_small_arrays(path, file, most)
    with np.load(file, allow_pickle=False) as arrays:
        table: dict[str, Column] = {name: arrays[name] for name in arrays.files}
    scalars = [name for name, array in table.items() if array.ndim == 0]
    lengths = {name: len(array) for name, array in table.items() if array.ndim}
    uneven = len(set(lengths.values())) > 1 and not _in_pairs(lengths)
    if uneven:
        found = ", ".join(f"{name} has {length}" for name, length in list(lengths.items())[:8])
        raise ValueError(f"arrays of different lengths: {found}")
    if scalars:
        raise ValueError(f"a single number instead of an array: {', '.join(scalars[:8])}")
    return table


def _in_pairs(lengths: dict[str, int]) -> bool:
    """Whether all arrays are those of a training set, a test set, and perhaps a validation set,
    each with the same arrays of one length.
    """
    stems: dict[str, set[str]] = {}
    sizes: dict[str, set[int]] = {}
    for name, size in lengths.items():
        part, stem = _part(name)
        stems.setdefault(part, set()).add(stem)
        sizes.setdefault(part, set()).add(size)
    return (
        {"train", "test"} <= stems.keys() <= _PARTS.keys()
        and all(each == stems["train"] for each in stems.values())
        and all(len(each) == 1 for each in sizes.values())
    )


def _part(name: str) -> tuple[str, str]:
    """The set that an array belongs to by its name (``x_train`` of Keras, ``train_images`` of
    MedMNIST), and the rest of the name; an empty text for none.
    """
    for part, words in _PARTS.items():
        for word in words:
            if name.lower().startswith(f"{word}_"):
                return part, name[len(word) :]
            if name.lower().endswith(f"_{word}"):
                return part, name[: -len(word)]
    return "", name


def with_own_test(
    path: Path, table: dict[str, Column], most: int
) -> tuple[dict[str, Column], npt.NDArray[np.int64] | None]:
    """A table, and the rows of the test set that comes with it: those of a folder, or the arrays of
    an NPZ file as Keras and MedMNIST write them, of which the ones of each kind are joined under
    the name of the training set's. Any other table is unchanged, and None.

    The samples of a validation set join the training samples, as ``data.validation`` draws from
    them all; a warning says so. Arrays that are joined are taken out of ``table``, so that they are
    not in memory twice. Raises ``ConfigError`` where two arrays do not fit, and for more than
    ``most`` bytes.
    """
    own, rows = getattr(table, "own_test", 0), len(next(iter(table.values())))
    if own:
        return table, np.arange(rows - own, rows)
    if path.suffix.lower() != ".npz" or not _in_pairs(
        {name: len(column) for name, column in table.items()}
    ):
        return table, None
    require_unpacked_room(path, 2 * sum(column.nbytes for column in table.values()), most)
    found: dict[str, dict[str, str]] = {part: {} for part in _PARTS}
    for name in table:
        part, stem = _part(name)
        found[part][stem] = name
    joined: dict[str, Column] = {}
    tested = len(table[next(iter(found["test"].values()))])
    for stem, name in found["train"].items():
        others = [found[part][stem] for part in ("val", "test") if stem in found[part]]
        for other in others:
            _require_alike(path, name, table[name], other, table[other])
        joined[name] = np.concatenate([table.pop(each) for each in (name, *others)])
    if found["val"]:
        its = f"its validation set ({', '.join(found['val'].values())})"
        warnings.warn(
            f"{path}: {its} joins the training samples, from which data.validation draws",
            stacklevel=3,
        )
    rows = len(next(iter(joined.values())))
    return joined, np.arange(rows - tested, rows)


def in_two(table: dict[str, Column]) -> list[dict[str, Column]]:
    """A table of a folder as those of its training and of its own test set; any other alone."""
    own = getattr(table, "own_test", 0)
    if not own:
        return [table]
    return [
        {name: column[part] for name, column in table.items()}
        for part in (slice(-own), slice(-own, None))
    ]


def _require_alike(path: Path, name: str, first: Column, other: str, second: Column) -> None:
    if first.shape[1:] != second.shape[1:] or first.dtype.kind != second.dtype.kind:
        valid = (
            f"{name} has {first.dtype} samples of shape {list(first.shape[1:])}, and {other}"
            f" {second.dtype} samples of shape {list(second.shape[1:])}; the two must be alike"
        )
        raise ConfigError("path", path, valid)


def read_npy(file: BinaryIO) -> Column:
    """The array of a ``.npy`` file.

    Raises ``ValueError``, before anything is allocated, where the header declares more than the
    file holds.
    """
    version = npy.read_magic(file)
    shape, _, dtype = npy_header(file, version)
    if math.prod(shape) * max(1, dtype.itemsize) > size_of(file):
        raise ValueError(f"it declares shape {shape} but is shorter")
    file.seek(0)
    array: Column = np.load(file, allow_pickle=False)
    return array


def _require_held(file: IO[bytes], entry: zipfile.ZipInfo) -> None:
    """Refuse an array whose header declares more than its entry holds, as NumPy would allocate as
    much as is declared.
    """
    if not entry.filename.endswith(".npy"):
        raise ValueError(f"entry {entry.filename} is not an array")
    shape, _, dtype = npy_header(file, npy.read_magic(file))
    if dtype.hasobject:
        raise ValueError(
            f"array {entry.filename} holds Python objects, which are never unpickled; save it as"
            " numbers"
        )
    if math.prod(shape) * max(1, dtype.itemsize) > entry.file_size:
        raise ValueError(f"array {entry.filename} declares shape {shape} but the file is shorter")


def npy_header(
    file: IO[bytes], version: tuple[int, int]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape, the order and the type that the header of an array declares, behind the magic
    string that says its ``version``."""
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return tuple(shape), bool(fortran), dtype
