"""Reading table files from strangers: sizes are checked before memory is taken, and nothing is ever unpickled."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.json
import pyarrow.parquet as pq
from numpy.lib import format as npy

from swarm.errors import ConfigError

Column = npt.NDArray[np.generic]

# what NumPy, pandas, pyarrow (most of whose errors are also Python's) and the formats below raise on damaged files
_DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
)


def read_table(path: Path, max_bytes: int) -> dict[str, Column]:
    """Columns by name, each ``[S, …]``. ``ConfigError`` for a file that is missing, too large, damaged or empty."""
    readers = {".csv": _csv, ".parquet": _parquet, ".npz": _npz, ".jsonl": _jsonl, ".arrow": _arrow}
    reader = _saved if path.is_dir() else readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError("path", path, f"must end in {', '.join(readers)}")
    if not path.exists():
        raise ConfigError("path", path, f"is not a file; give the path of a {', '.join(readers)} file")
    if path.is_file():
        _fits(path, path.stat().st_size, max_bytes)
    try:
        table = reader(path, max_bytes)
    except ConfigError:
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:160]
        kind = path.suffix if path.is_file() else "a saved data set"
        raise ConfigError("path", path, f"cannot be read as {kind} ({reason}); check the file") from error
    if not table or not all(len(column) for column in table.values()):
        raise ConfigError("path", path, "has no rows; at least a few samples are needed")
    return table


def _fits(path: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        valid = f"takes {size} bytes; at most {max_bytes} are read (data.max_mb={max_bytes >> 20})"
        raise ConfigError("path", path, valid)


def _each_once(path: Path, names: Iterable[object]) -> None:
    doubled = [name for name, times in Counter(map(str, names)).items() if times > 1]
    if doubled:
        raise ConfigError("path", path, f"has two columns named {doubled[0]}; each needs a name of its own")


def _columns(frame: pd.DataFrame) -> dict[str, Column]:
    return {str(name): _plain(frame[name]) for name in frame.columns}


def _plain(column: pd.Series) -> Column:
    """A pandas column as a NumPy one: numbers stay numbers (missing: NaN), all else becomes objects (missing: None)."""
    values: Column
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        values = column.to_numpy()
    elif pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = column.astype(object).where(column.notna(), None).to_numpy(dtype=object)
    return values


def _csv(path: Path, max_bytes: int) -> dict[str, Column]:
    heading = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0]  # read as a heading, a second b becomes b.1
    _each_once(path, heading.dropna())
    return _columns(pd.read_csv(path, low_memory=False))


def _parquet(path: Path, max_bytes: int) -> dict[str, Column]:
    with pq.ParquetFile(path) as file:
        _fits(path, file.metadata.num_rows * file.metadata.num_columns * 8, max_bytes)
        return of_arrow(path, file.read())


def _jsonl(path: Path, max_bytes: int) -> dict[str, Column]:
    return of_arrow(path, pyarrow.json.read_json(path))


def _arrow(path: Path, max_bytes: int) -> dict[str, Column]:
    return of_arrow(path, _ipc(path))


def _saved(path: Path, max_bytes: int) -> dict[str, Column]:
    """A folder that ``datasets`` wrote with ``save_to_disk``: ``state.json`` names its Arrow files."""
    state = path / "state.json"
    if not state.is_file():
        hint = " (a folder of several splits: give one of them)" if (path / "dataset_dict.json").is_file() else ""
        raise ConfigError("path", path, f"is a folder without the state.json of a saved data set{hint}")
    files = [path / Path(str(entry["filename"])).name for entry in json.loads(state.read_bytes())["_data_files"]]
    _fits(path, sum(file.stat().st_size for file in files), max_bytes)
    return of_arrow(path, pa.concat_tables([_ipc(file) for file in files]))


def _ipc(path: Path) -> pa.Table:
    """Arrow's two forms: the stream that ``datasets`` writes, and the file (Feather)."""
    with pa.memory_map(str(path)) as file:
        begin = file.read(6)
        file.seek(0)
        table = pa.ipc.open_file(file).read_all() if begin == b"ARROW1" else pa.ipc.open_stream(file).read_all()
    table.validate(full=True)  # lengths and offsets are believed from here on: wrong ones would end the process
    return table


def of_arrow(path: Path, table: pa.Table) -> dict[str, Column]:
    """The columns; lists of equally many numbers become ``[S, n]`` (and so on inwards)."""
    _each_once(path, table.schema.names)
    return {name: _stacked(table.column(name)) for name in table.schema.names}


def _stacked(column: pa.ChunkedArray) -> Column:
    shape, values = [len(column)], column.combine_chunks()
    while (
        pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type)
    ):
        inner = values.flatten()
        each = len(inner) // max(1, len(values))
        if values.null_count or not bool(
            pa.compute.all(pa.compute.equal(pa.compute.list_value_length(values), each)).as_py()
        ):
            raise ValueError("a column of lists whose lengths differ")
        shape, values = [*shape, each], inner
    plain = _plain(values.to_pandas())
    return plain.reshape(shape)


def _npz(path: Path, max_bytes: int) -> dict[str, Column]:
    with zipfile.ZipFile(path) as archive:
        _fits(path, sum(entry.file_size for entry in archive.infolist()), max_bytes)
        _each_once(path, (entry.filename.removesuffix(".npy") for entry in archive.infolist()))
        for entry in archive.infolist():
            with archive.open(entry) as file:
                _npy_header(file, entry)
    with np.load(path, allow_pickle=False) as arrays:
        table: dict[str, Column] = {name: arrays[name] for name in arrays.files}
    scalars = [name for name, array in table.items() if array.ndim == 0]
    lengths = {name: len(array) for name, array in table.items() if array.ndim}
    if scalars or len(set(lengths.values())) > 1:
        raise ValueError(f"arrays of different lengths {lengths}, single values {scalars}")
    return table


def read_npy(path: Path) -> Column:
    """The one array of a ``.npy`` file, mapped into memory: a header that promises more than there is allocates nothing."""
    array: Column = np.load(path, allow_pickle=False, mmap_mode="r")
    return array


def _npy_header(file: IO[bytes], entry: zipfile.ZipInfo) -> None:
    """Refuse an array whose header promises more than its entry holds: NumPy would allocate the promise."""
    if not entry.filename.endswith(".npy"):
        raise ValueError(f"entry {entry.filename} is not an array")
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"array {entry.filename} holds Python objects, which are never unpickled; save it as numbers")
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise ValueError(f"array {entry.filename} declares shape {shape} but the file is shorter")
