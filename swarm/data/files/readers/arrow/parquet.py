"""Reads untrusted Parquet files: the memory that their pages will take is computed before any page
is unpacked.

A file of 8 KB can hold gigabytes: a value that is repeated a billion times takes a few bytes, and
so does a compressed page of equal bytes. The footer says how large everything is, but it may be
wrong; Arrow unpacks as much as the header of each page says. So these headers are read here first,
in the order in which Arrow will read them (apache/parquet-format, ``PageHeader``, in Thrift's
compact protocol).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swarm.data.files.readers.columns import HEADING, require_unpacked_room

_WIDTH = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_DICTIONARY_PAGE = 2
# for a data page: the id of the field that describes it, and in that one the id of the encoding
_HEADINGS = {0: (5, 2), 3: (8, 4)}
_BY_DICTIONARY = (2, 8)  # encodings whose values are indices into the chunk's dictionary
_AS_THEY_ARE = 0  # the encoding of plain values, one after the other
# the encoding whose values share prefixes, so that a page can unpack to many times its bytes
_BY_PREFIX = 7
_AT_ONCE = 8 << 20  # bytes that a batch of such values should take


def read_parquet(path: Path, data: pa.Buffer, most: int) -> pa.Table:
    """The table of a Parquet file, with texts as dictionaries.

    Raises ``ConfigError`` where it may take more than ``most`` bytes.
    """
    metadata = pq.read_metadata(pa.BufferReader(data))
    columns = [_Leaf(metadata.schema.column(i)) for i in range(metadata.num_columns)]
    bytes_ = memoryview(data).cast("B")
    for group in range(metadata.num_row_groups):
        for i, leaf in enumerate(columns):
            leaf.add(bytes_, metadata.row_group(group).column(i))
            require_unpacked_room(path, leaf.size, most)
    require_unpacked_room(path, sum(leaf.size for leaf in columns), most)
    texts = [leaf.path for leaf in columns if leaf.by_entry]
    longest = max((leaf.longest for leaf in columns if leaf.counted), default=0)
    with pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as file:
        return _in_batches(path, file, _AT_ONCE // longest, most) if longest else file.read()


def _in_batches(path: Path, file: pq.ParquetFile, rows: int, most: int) -> pa.Table:
    """The table, read ``rows`` rows at a time, so that too large a table is refused early."""
    batches, size = [], 0
    for batch in file.iter_batches(max(1, min(1 << 16, rows))):
        size += batch.nbytes
        require_unpacked_room(path, size, most)
        batches.append(batch)
    return pa.Table.from_batches(batches, batches[0].schema if batches else file.schema_arrow)


class _Leaf:
    """The memory that a leaf column takes unpacked, as far as its pages have been looked at."""

    def __init__(self, column: pq.ColumnSchema) -> None:
        self.path, self.kind, self.nested = (
            column.path,
            column.physical_type,
            bool(column.max_repetition_level),
        )
        self.width = _WIDTH.get(self.kind, column.length)
        self.text = bool(self.kind == "BYTE_ARRAY" and column.logical_type.type != "DECIMAL")
        self.certain = 0  # bytes that it takes in any case
        self.referred = 0  # how many values are indices into the chunk's dictionary
        self.spelt = 0  # most bytes of those values where each is written out
        self.prefixed = 0  # most bytes of values that share prefixes
        self.longest = 0  # most bytes of a single value
        self.spelt_out = False  # whether it is a text that cannot be read as a dictionary

    @property
    def by_entry(self) -> bool:
        """Whether the column is read as a dictionary, as all texts are whose encoding allows it."""
        return self.text and not self.spelt_out

    @property
    def counted(self) -> bool:
        """Whether the memory it takes is known only from unpacking it, as dictionary entries or
        shared prefixes are written out again and again.
        """
        return self.spelt_out and not self.nested and bool(self.referred or self.prefixed)

    @property
    def size(self) -> int:
        """The most bytes that the column takes; where only unpacking tells, the least."""
        if self.by_entry:
            return self.certain + 4 * self.referred
        if self.counted:
            return self.certain
        # A row has any number of values, so reading in batches of rows would bound nothing.
        return self.certain + self.spelt + self.prefixed

    def add(self, data: memoryview, chunk: pq.ColumnChunkMetaData) -> None:
        """Add the pages of the column in one more row group."""
        starts = [chunk.data_page_offset]
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:
            starts.append(chunk.dictionary_page_offset)
        place, end = min(starts), min(starts) + chunk.total_compressed_size
        if place < 0 or end > len(data):
            raise ValueError("a column lies outside the file")
        self.certain += HEADING
        values = entries = 0
        while place < end and values < chunk.num_values:  # Arrow stops there too
            reader = _Compact(data, place)
            page = reader.struct()
            place = reader.place + _number(page, 3)
            unpacked = _number(page, 2)
            if page.get(1) == _DICTIONARY_PAGE:
                entries = unpacked
                self.certain += unpacked + 8 * _number(page.get(7, {}), 1)
            elif page.get(1) in _HEADINGS:  # others are indexes, which are skipped
                field, of_encoding = _HEADINGS[page[1]]
                count = _number(page[field], 1)
                values += count
                self._page(count, page[field].get(of_encoding), unpacked, entries)

    def _page(self, values: int, encoding: int | None, unpacked: int, entries: int) -> None:
        """Add one page of values; ``entries`` is the size of the dictionary in bytes."""
        self.longest = max(self.longest, unpacked, entries)
        if self.kind != "BYTE_ARRAY":
            self.certain += values * self.width
            return
        self.spelt_out |= self.text and encoding not in (_AS_THEY_ARE, *_BY_DICTIONARY)
        if encoding in _BY_DICTIONARY:
            self.referred += values
            self.spelt += values * (8 + entries)
        elif encoding == _BY_PREFIX:
            self.prefixed += values * (8 + unpacked)
        else:
            self.certain += unpacked + 8 * values


def _number(struct: dict[int, Any], field: int) -> int:
    value = struct.get(field, 0)
    if not isinstance(value, int) or value < 0:
        raise ValueError("a page states a size below 0")
    return value


class _Compact:
    """A reader of Thrift's compact protocol that knows as much as page headers need: it gives
    numbers by their fields' ids and skips everything else.
    """

    def __init__(self, data: memoryview, place: int) -> None:
        self.data, self.place = data, place

    def byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number of more than 64 bits in the heading of a page")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by id; the reader stands behind its stop byte afterwards."""
        if depth > 8:
            raise ValueError("the heading of a page is nested too deeply")
        fields: dict[int, Any] = {}
        field = 0
        while head := self.byte():
            field = field + (head >> 4) if head >> 4 else self.zigzag()
            fields[field] = self.value(head & 15, depth)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):  # true and false are encoded in the type itself
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind in (7, 8):  # a float64, or bytes preceded by their number
            length = 8 if kind == 7 else self.varint()
            self.place += length
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"the heading of a page has a field of type {kind}")
