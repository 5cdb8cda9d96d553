"""Small files that decode to hundreds of MB or more, and files that never end.

``python -m tests.data.bombs FOLDER MAX_MB`` makes them and reads each in a process of its own. It
prints a line of JSON for each: the most memory that reading added, in MiB, and what came of it.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import socket
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swarm.common.errors import ConfigError
from swarm.common.system.files import opened
from swarm.data.files.idx import read_idx
from swarm.data.files.readers.table_files import read_npy, read_table

# address space of a process that reads one: a reader that falls for it fails, and the machine lives
# on
GUARD = 6 << 30
_ROWS = 10_000_000


def _parquet(path: Path, table: pa.Table, **options: object) -> None:
    pq.write_table(table, path, compression="zstd", **options)


def equal_numbers(path: Path) -> None:
    """One value for all rows: a run of a few bytes."""
    zeros = pa.array(np.zeros(_ROWS // 20, np.int64))
    table = pa.table({f"c{i}": pa.chunked_array([zeros] * 20) for i in range(4)})
    _parquet(path, table, row_group_size=_ROWS)


def one_list(path: Path) -> None:
    """One row, whose list has all the values."""
    values = pa.array(np.zeros(_ROWS))
    _parquet(
        path, pa.table({"x": pa.ListArray.from_arrays(pa.array([0, _ROWS], pa.int32()), values)})
    )


def one_long_text(path: Path) -> None:
    """A text of half a MB, in a dictionary that each row refers to."""
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(8000, np.int32)), ["x" * (1 << 19)])
    _parquet(path, pa.table({"x": rows, "label": np.zeros(8000, np.int64)}), store_schema=False)


def packed_pages(path: Path) -> None:
    """The same text in each row, spelt out; the page is packed."""
    rows = pa.array(["x" * 4096] * 60_000)
    _parquet(path, pa.table({"x": rows}), use_dictionary=False)


def common_beginnings(path: Path) -> None:
    """Each text is the one before, and a letter: what is written is the letter."""
    rows = pa.array(["x" * 100_000 + str(i) for i in range(2000)])
    _parquet(
        path, pa.table({"x": rows}), use_dictionary=False, column_encoding={"x": "DELTA_BYTE_ARRAY"}
    )


def _ipc(path: Path, table: pa.Table, packed: str | None) -> None:
    with pa.OSFile(str(path), "wb") as file:
        options = pa.ipc.IpcWriteOptions(compression=packed)
        with pa.ipc.new_file(file, table.schema, options=options) as writer:
            writer.write_table(table)


def packed_buffers(path: Path) -> None:
    _ipc(path, pa.table({"x": np.zeros(_ROWS), "label": np.zeros(_ROWS, np.int8)}), "zstd")


def nulls(path: Path) -> None:
    """A column of nulls has a length and nothing else."""
    _ipc(path, pa.table({"x": pa.nulls(1_000_000_000)}), None)


def empty_records(path: Path) -> None:
    _ipc(path, pa.table({"x": pa.nulls(100_000_000).cast(pa.struct([("a", pa.null())]))}), "zstd")


def long_run(path: Path) -> None:
    ends = pa.array([1_000_000_000], pa.int64())
    _ipc(path, pa.table({"x": pa.RunEndEncodedArray.from_arrays(ends, pa.array([1.0]))}), None)


def wide_dictionary(path: Path) -> None:
    """A dictionary of a list, which each row refers to."""
    entry = pa.array([[0.0] * 10_000])
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int8)), entry)
    _ipc(path, pa.table({"x": rows}), "zstd")


def short_rows(path: Path) -> None:
    """Rows of one field below a heading of a thousand."""
    path.write_text(",".join(f"c{i}" for i in range(1000)) + "\n" + "1\n" * 500_000)


def wide_heading(path: Path) -> None:
    path.write_text("a" + "," * 1_000_000 + "\n1\n")


def different_texts(path: Path) -> None:
    path.write_text("a,b\n" + "".join(f"{i:x}g,{i:x}h\n" for i in range(400_000)))


def lines_without_keys(path: Path) -> None:
    first = json.dumps({f"k{i}": 1 for i in range(1000)})
    path.write_text(first + "\n" + "{}\n" * 500_000)


def deep_line(path: Path) -> None:
    path.write_bytes(b'{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}\n")


def packed_zeros(path: Path) -> None:
    np.savez_compressed(path, x=np.zeros((_ROWS, 4), np.int8), label=np.zeros(_ROWS, np.int8))


def _without_bytes(shape: str, kind: str) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def values_without_bytes(path: Path) -> None:
    """A billion values of a type that takes no bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("label.npy", _without_bytes("(1000000000,)", "<U0"))


def array_without_bytes(path: Path) -> None:
    path.write_bytes(_without_bytes("(100000000000, 2)", "|V0"))


def false_size(path: Path) -> None:
    """An entry whose folder says 1 KB and that holds 200 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = (
        packer.compress(_without_bytes("(200000000,)", "|i1") + bytes(200_000_000)) + packer.flush()
    )
    name = b"x.npy"
    fields = struct.pack("<HHHHHIII", 20, 0, 8, 0, 0, 0, len(raw), 1024)
    local = b"PK\x03\x04" + fields + struct.pack("<HH", len(name), 0) + name
    central = b"PK\x01\x02" + struct.pack("<H", 20) + fields
    central += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack(
        "<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(raw), 0
    )
    path.write_bytes(local + raw + central + end)


def packed_images(path: Path) -> None:
    header = struct.pack(">HBBI", 0, 8, 1, 1000)
    path.write_bytes(gzip.compress(header + bytes(200_000_000), 1))


def pipe(path: Path) -> None:
    """Nobody ever writes to it."""
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def socket_(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


BOMBS: dict[str, Callable[[Path], None]] = {
    "equal_numbers.parquet": equal_numbers,
    "one_list.parquet": one_list,
    "one_long_text.parquet": one_long_text,
    "packed_pages.parquet": packed_pages,
    "common_beginnings.parquet": common_beginnings,
    "packed_buffers.arrow": packed_buffers,
    "nulls.arrow": nulls,
    "empty_records.arrow": empty_records,
    "long_run.arrow": long_run,
    "wide_dictionary.arrow": wide_dictionary,
    "short_rows.csv": short_rows,
    "wide_heading.csv": wide_heading,
    "different_texts.csv": different_texts,
    "lines_without_keys.jsonl": lines_without_keys,
    "deep_line.jsonl": deep_line,
    "packed_zeros.npz": packed_zeros,
    "values_without_bytes.npz": values_without_bytes,
    "false_size.npz": false_size,
    "array_without_bytes.npy": array_without_bytes,
    "packed_images.gz": packed_images,
}
SUFFIXES = (".csv", ".parquet", ".npz", ".jsonl", ".arrow", ".npy", ".gz")
BOMBS |= {f"pipe{suffix}": pipe for suffix in SUFFIXES}
BOMBS |= {f"endless{suffix}": endless for suffix in SUFFIXES}
BOMBS |= {"socket.csv": socket_}


def _read(path: Path, most: int) -> None:
    if path.suffix == ".gz":
        read_idx(path, 1, most)
    elif path.suffix == ".npy":
        with opened(path) as file:
            read_npy(file)
    else:
        read_table(path, most)


def _outcome(path: Path, most: int) -> str:
    try:
        _read(path, most)
    except (ConfigError, ValueError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return "it was read"


def _mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def taken(path: Path, most: int) -> dict[str, object]:
    """Read one in a process forked off: the MiB that it added at most, and what came of it."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        signal.alarm(20)  # whatever waits is ended
        resource.setrlimit(resource.RLIMIT_AS, (GUARD, GUARD))
        before = _mib()
        outcome = _outcome(path, most)
        found = {"name": path.name, "mib": _mib() - before, "outcome": outcome}
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return (
        dict(json.loads(said))
        if said
        else {"name": path.name, "mib": 1e9, "outcome": f"ended with {status}"}
    )


def main(folder: Path, most: int) -> Iterator[dict[str, object]]:
    """Every bomb, made and read."""
    for name, make in BOMBS.items():
        make(folder / name)
        yield taken(folder / name, most)


if __name__ == "__main__":
    for line in main(Path(sys.argv[1]), int(sys.argv[2]) << 20):
        print(json.dumps(line), flush=True)
