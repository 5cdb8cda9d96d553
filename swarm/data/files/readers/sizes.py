"""How much memory reading a table file takes, told from its header or its first part before it is
read.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from numpy.lib import format as npy

from swarm.common.system.files import opened, size_of
from swarm.data.files.readers.columns import TEXT
from swarm.data.files.readers.table_files import DAMAGED, SEPARATED, npy_header
from swarm.data.scaling import while_scaled

_HEAD = 1 << 20  # bytes of a file of separated values by which its cells are counted
_CELL = 8  # bytes of a number, or of a reference to an object


@dataclass(frozen=True)
class Sizes:
    """What reading a table takes."""

    reading: int  # the most bytes in memory while the file is read
    table: int  # bytes of its columns
    rows: int
    numbers: int  # its cells

    @property
    def loading(self) -> int:
        """The most bytes in memory while the file is read and its numbers are scaled."""
        return max(self.reading, while_scaled(self.table, self.rows, self.numbers))

    @classmethod
    def of(cls, path: Path) -> Sizes | None:
        """The sizes of a file; None for a kind that does not tell before it is read, and for a file
        that cannot be read, whose reader says what is wrong with it."""
        found = {".npz": _npz, ".parquet": _parquet, **dict.fromkeys(SEPARATED, _separated)}
        measure = found.get(path.suffix.lower())
        if measure is None or not path.is_file():
            return None
        try:
            return measure(path)
        except DAMAGED:
            return None


def of_windows(path: Path, overlap: float) -> int | None:
    """The most bytes in memory while a file of text is read and cut into windows, in which each
    token stands ``overlap`` times; None for a kind of file that does not tell."""
    found = Sizes.of(path)
    if found is None:
        return None
    tokens = path.stat().st_size
    windows = int(max(1.0, overlap) * tokens)
    # as text by rows and by owners, and as codes of owners and of all; windows and what follows
    read = 2 * tokens + 3 * 4 * tokens + (4 + 8) * windows
    return max(found.reading, while_scaled(read, found.rows, windows))


def _npz(path: Path) -> Sizes | None:
    sizes, rows, numbers = [0], 0, 0
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as inside:
                shape, _, dtype = npy_header(inside, npy.read_magic(inside))
            sizes.append(math.prod(shape) * dtype.itemsize)
            rows += shape[0] if shape else 0
            numbers += math.prod(shape)
    # the arrays of a training and of a test set are joined, one after the other
    return Sizes(sum(sizes) + max(sizes), sum(sizes), rows, numbers)


def _parquet(path: Path) -> Sizes | None:
    with opened(path) as file:
        metadata, packed = pq.read_metadata(file), size_of(file)
    size = numbers = 0
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(i)
            text = chunk.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
            own = chunk.num_values * TEXT + chunk.total_uncompressed_size if text else 0
            size += chunk.num_values * _CELL + own
            numbers += chunk.num_values
    # the file is read where it lies in memory, and packed columns are unpacked one at a time
    return Sizes(packed + size, size, metadata.num_rows, numbers)


def _separated(path: Path) -> Sizes | None:
    with opened(path) as file:
        size, head = size_of(file), file.read(_HEAD)
    lines = head.count(b"\n") + 1
    cells = lines + max(head.count(mark) for mark in (b",", b";", b"\t", b" "))
    more = size / max(1, len(head))
    # pandas keeps the text and the place of each cell until all columns are made
    table = int(_CELL * cells * more)
    return Sizes(size + 2 * table, table, int(lines * more), int(cells * more))
