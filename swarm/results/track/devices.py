"""Per-device results in a run folder, read with a bound on what they unpack to: the folder may come
from somebody else.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute

from swarm.common.errors import ConfigError
from swarm.common.system.files import opened
from swarm.data.files.readers.arrow.parquet import read_parquet

if TYPE_CHECKING:
    import pandas as pd

MOST = 256 << 20  # bytes in memory that any table of results may take
# so many times its own size, that of a large file; a run's own take less than 100 times
TIMES = 256


def read_devices(file: Path, key: str) -> pa.Table:
    """``devices.parquet``, or a part of it beside the checkpoints.

    Raises :class:`ConfigError` on ``key`` where it is no Parquet file, or would take more memory
    than the results of any run in a file of this size.
    """
    if not file.is_file():
        raise ConfigError(key, file, "damaged; must be a file")
    size = file.stat().st_size
    most = max(MOST, TIMES * size)
    try:
        with opened(file, key) as stream:
            data = pa.py_buffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        table = read_parquet(file, data, most)
        _require_short_texts(file, table, most)
        return table.cast(pa.schema([_plain(field) for field in table.schema]))
    except MemoryError:
        raise
    except ConfigError:
        valid = (
            f"damaged; its {size:,} bytes would take more than {most:,} in memory, which the"
            " results of no run do"
        )
        raise ConfigError(key, file, valid) from None
    except Exception as error:  # pyarrow's are many
        said = " ".join(str(error).split())[:200]
        raise ConfigError(key, file, f"damaged; must be a Parquet file ({said})") from None


def device_table(part: Path) -> pd.DataFrame:
    """Per-device results. Raises ConfigError where they are damaged."""
    # a run only writes them, and pandas takes a third of a second
    from pandas.api.types import is_integer_dtype, is_numeric_dtype

    key = "/devices.parquet"
    devices: pd.DataFrame = read_devices(part, key).to_pandas()
    missing = [name for name in ("arm", "round", "device") if name not in devices]
    if missing:
        raise ConfigError(key, part, f"must have the columns {', '.join(missing)}")
    numbers = devices.columns.drop(["arm", *({"name", "cohort"} & set(devices.columns))])
    text = [str(name) for name in numbers if not is_numeric_dtype(devices[name])]
    if text:
        raise ConfigError(key, part, f"damaged; `{text[0]}` must be numbers")
    for name in ("round", "device"):
        if not is_integer_dtype(devices[name]) or (devices[name] < 0).any():
            raise ConfigError(key, part, f"damaged; `{name}` must be whole numbers, 0 or more")
    devices["arm"] = devices["arm"].astype(str)  # may be stored as a category
    return devices


def _require_short_texts(file: Path, table: pa.Table, most: int) -> None:
    """Texts come as dictionaries, and are about to be written out row by row."""
    size = 0
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            longest = pa.compute.max(pa.compute.binary_length(chunk.dictionary)).as_py() or 0
            size += len(chunk) * (8 + longest)
    if size > most:
        raise ConfigError("path", file, "has texts that are too long")


def _plain(field: pa.Field) -> pa.Field:
    kind = field.type
    return field.with_type(kind.value_type) if pa.types.is_dictionary(kind) else field
