"""Columns as NumPy arrays, made of those of pandas and Arrow, and the memory that they may take."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from swarm.common.errors import ConfigError
from swarm.common.names import LONGEST, canonical

if TYPE_CHECKING:
    import pandas as pd

Column = npt.NDArray[np.generic]


class ArrowColumns(dict[str, Column]):
    """Columns by name; ``words`` has the names of the classes that a column numbers, and the last
    ``own_test`` rows are a test set that comes with the table.
    """

    words: dict[str, list[str]]
    own_test = 0


# Bytes in memory, on the safe side:
HEADING = 1024  # of a column, whatever it contains
TEXT = 64  # of a Python string besides its characters
OBJECT = 128  # of a Decimal, a Timestamp, or a list
RECORD = 256  # of a dictionary with one entry

_HF = b"huggingface"  # where a schema has what Hugging Face's datasets know of a column
_IMAGE = {"bytes", "path"}  # the fields of an image as Hugging Face stores it
_NAMELESS = re.compile(r"[\s\ufeff\u200b\"']*|Unnamed: \d+([._].*)?|__index_level_\d+__")


def nameless(name: str) -> bool:
    """Whether a column has no name of its own: an empty heading, or what pandas writes for one."""
    return _NAMELESS.fullmatch(name) is not None


def require_room(path: object, size: int, most: int, verb: str = "takes", where: str = "") -> None:
    """Raises ``ConfigError`` for a file that takes more than ``most`` bytes.

    ``verb`` and ``where`` say in the message how the file takes ``size`` bytes.
    """
    if size > most:
        valid = f"{verb} {size} bytes{where}; at most {most} are read (data.max_mb={most >> 20})"
        raise ConfigError("path", path, valid)


def require_unpacked_room(path: object, size: int, most: int) -> None:
    """Raises ``ConfigError`` for a file whose columns may take more than ``most`` bytes."""
    require_room(path, size, most, "may take", " in memory")


def require_own_names(path: object, names: Iterable[object]) -> None:
    """Raises ``ConfigError`` for two columns of one name."""
    doubled = [name for name, times in Counter(map(str, names)).items() if times > 1]
    if doubled:
        raise ConfigError(
            "path", path, f"has two columns named {doubled[0]}; each needs a name of its own"
        )


def plain(column: pd.Series[Any]) -> Column:
    """A pandas column as a NumPy array: numbers stay numbers (missing ones are NaN), everything
    else becomes objects (missing ones are None).
    """
    # every run that writes Parquet comes by here, and pandas takes a third of a second
    from pandas.api.types import infer_dtype, is_complex_dtype, is_numeric_dtype

    values: Column
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        values = column.to_numpy()
    elif is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif infer_dtype(column, skipna=True) == "boolean":
        values = column.astype("boolean").to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = column.astype(object).where(column.notna(), None).to_numpy(dtype=object)
    return values


def of_arrow(path: Path, table: pa.Table, most: int) -> ArrowColumns:
    """The columns of an Arrow table by name, as NumPy arrays of S rows.

    A column of lists of n numbers becomes ``[S, n]``, lists of lists get one more axis, and so on.
    Arrow keeps in a few bytes what NumPy has to write out: a run of equal values, a dictionary, a
    column of nulls. So the memory that the columns will take is added up first.

    Raises ``ConfigError`` for two columns of one name, and for more than ``most`` bytes.
    """
    require_own_names(path, table.schema.names)
    schema, columns = table.schema, dict(zip(table.schema.names, table.columns, strict=True))
    del table  # so that each column is let go once its values are in one array
    leaves = {name: _leaves(columns.pop(name), name) for name in schema.names}
    size = sum(_size(values) + HEADING for _, values in leaves.values())
    require_unpacked_room(path, size, most)
    found = ArrowColumns()
    for name in schema.names:
        shape, values = leaves.pop(name)
        found[name] = plain(values.to_pandas()).reshape(shape)
    found.words = _words(schema)
    return found


def _words(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of classes that Hugging Face's ``ClassLabel`` columns number."""
    try:
        features = json.loads((schema.metadata or {})[_HF])["info"]["features"]
        listed = {name: each["names"] for name, each in features.items() if "names" in each}
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
    return {
        name: names
        for name, names in listed.items()
        if isinstance(names, list)
        and all(isinstance(word, str) and 0 < len(word.strip()) <= LONGEST for word in names)
        and len({canonical(word) for word in names}) == len(names)
    }


def _leaves(column: pa.ChunkedArray, name: str) -> tuple[list[int], pa.Array]:
    """The shape of a column of nested lists, and its innermost values in one array."""
    shape, values = [len(column)], column.combine_chunks()
    while _is_list(values.type):
        inner = values.flatten()
        each = len(inner) // max(1, len(values))
        lengths = pa.compute.list_value_length(values)
        if values.null_count or not bool(pa.compute.all(pa.compute.equal(lengths, each)).as_py()):
            raise ValueError(f"{name} is a column of lists whose lengths differ")
        shape, values = [*shape, each], inner
    if pa.types.is_dictionary(values.type) and not _is_text(values.type.value_type):
        _require_decodable(values, name)
        values = values.dictionary_decode()
    if pa.types.is_decimal(values.type):
        values = pa.compute.cast(values, pa.float64())
    if pa.types.is_struct(values.type) and {field.name for field in values.type} == _IMAGE:
        values = pa.compute.struct_field(values, "bytes")
    return shape, values


def _require_decodable(values: pa.DictionaryArray, name: str) -> None:
    """Refuse a dictionary of anything but single numbers, as each use of an entry would copy it."""
    kind = values.type.value_type
    if not (pa.types.is_primitive(kind) or pa.types.is_null(kind)):
        raise ValueError(f"{name} is a dictionary of {kind}")


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    known = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_one(kind) for is_one in (*known, types.is_string_view, types.is_binary_view))


def _size(values: pa.Array) -> int:
    """The most bytes that these values take as NumPy's numbers or Python's objects."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return 8 * len(values) + TEXT * len(values.dictionary) + int(values.dictionary.nbytes)
    if (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_null(kind)
    ):
        return 8 * len(values)
    if _is_text(kind) or pa.types.is_fixed_size_binary(kind):
        return (8 + TEXT) * len(values) + int(values.nbytes)
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return (8 + OBJECT) * len(values)
    fields = max(1, int(kind.num_fields))
    return RECORD * fields * len(values) + 8 * int(values.nbytes)
