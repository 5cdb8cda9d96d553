"""Reads untrusted Arrow files, both IPC streams and IPC files (Feather): their unpacked size is
checked before they are unpacked.

Buffers of a record batch may be compressed (LZ4 or Zstandard); each then begins with the number of
bytes that it unpacks to. The message's FlatBuffers table says where the buffers are (apache/arrow,
``format/Message.fbs``).
"""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa

from swarm.data.files.readers.columns import require_unpacked_room

_MAGIC = b"ARROW1\0\0"
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3


def read_ipc(path: Path, data: pa.Buffer, most: int) -> pa.Table:
    """The table of an IPC stream, or of an IPC file, which is a stream between two marks.

    Raises ``ConfigError`` where it unpacks to more than ``most`` bytes, and an ``ArrowException``
    for wrong lengths and offsets, which would crash the process later.
    """
    if data[:4].to_pybytes() == b"FEA1":
        raise ValueError("version 1 of Feather; pandas.read_feather reads it, to_feather writes 2")
    stream = data.slice(len(_MAGIC)) if data[:6].to_pybytes() == _MAGIC[:6] else data
    size = 0
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(stream)):
        size += _unpacked(message)
        require_unpacked_room(path, size, most)
    table = pa.ipc.open_stream(pa.BufferReader(stream)).read_all()
    table.validate(full=True)
    return table


def _unpacked(message: pa.ipc.Message) -> int:
    """The number of bytes that a message's compressed buffers unpack to."""
    flat = _Flat(memoryview(message.metadata).cast("B"))
    root = flat.follow(0)
    kind, batch = flat.field(root, 1), flat.field(root, 2)
    if not kind or not batch or flat.byte(kind) not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return 0
    place = flat.follow(batch)
    if flat.byte(kind) == _DICTIONARY_BATCH:
        place = flat.follow(flat.field(place, 1))
    if not flat.field(place, 3):
        return 0  # nothing is compressed
    body, size = memoryview(message.body).cast("B"), 0
    for offset, length in flat.pairs(flat.field(place, 2)):
        if length:
            (unpacked,) = struct.unpack_from("<q", body, offset)
            size += max(unpacked, 0)  # -1: this buffer is not compressed
    return size


class _Flat:
    """A FlatBuffers reader that knows as much as a record batch needs."""

    def __init__(self, data: memoryview) -> None:
        self.data = data

    def byte(self, place: int) -> int:
        return self.data[place]

    def follow(self, place: int) -> int:
        """The place that the offset at ``place`` points to."""
        (offset,) = struct.unpack_from("<I", self.data, place)
        return int(place + offset)

    def field(self, table: int, number: int) -> int:
        """The place of a field of a table; 0 where it is left out."""
        (back,) = struct.unpack_from("<i", self.data, table)
        size, _ = struct.unpack_from("<HH", self.data, table - back)
        entry = 4 + 2 * number
        if entry + 2 > size:
            return 0
        (offset,) = struct.unpack_from("<H", self.data, table - back + entry)
        return table + offset if offset else 0

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A vector of pairs of 64-bit numbers."""
        if not field:
            return []
        place = self.follow(field)
        (count,) = struct.unpack_from("<I", self.data, place)
        if place + 4 + 16 * count > len(self.data):
            raise ValueError("a list of buffers that goes beyond its message")
        return [struct.unpack_from("<qq", self.data, place + 4 + 16 * i) for i in range(count)]
