"""Reads a folder of IDX files, the format of MNIST and its relatives (LeCun, Cortes, Burges: *The
MNIST database*).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from swarm.common.counted import counted
from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.system.files import opened
from swarm.common.system.paths import usable
from swarm.data.dataset import Dataset, Source
from swarm.data.fetch.dataset_cache import locate
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale, while_scaled

Bytes = npt.NDArray[np.uint8]

_UBYTE = 0x08
TRAIN, TEST = ("train",), ("t10k", "test")  # how the names of files may begin
_TYPES = {0x08: "ubyte", 0x09: "byte", 0x0B: "short", 0x0C: "int", 0x0D: "float", 0x0E: "double"}


class Idx(Source):
    """Images and labels in four IDX files, gzipped or plain: ``train-images-idx3-ubyte``,
    ``train-labels-idx1-ubyte``, and the same two names with ``t10k`` for ``train``.

    Names with ``.idx3-ubyte`` for ``-idx3-ubyte`` and ``test`` for ``t10k`` are found as well;
    ``prefix`` stands in front of all four names (``emnist-balanced-``). The second pair is the test
    set; validation samples are split off the first. ``x`` is ``[S, rows · columns]``, or ``[S, 1,
    rows, columns]`` with ``image=True``.

    ``classes=None`` counts the classes of the training labels; ``limit`` keeps that many training
    samples, stratified; ``max_mb`` is the size of the largest file that is read, unpacked. A file
    is refused (``ConfigError``) before anything is allocated if its type or number of dimensions is
    wrong, a dimension is zero, or it is declared larger than ``max_mb``; and later if its content
    is shorter or longer than declared, or damaged.
    """

    def __init__(
        self,
        path: str | None = None,
        prefix: str = "",
        image: bool = False,
        classes: int | None = None,
        limit: int | None = None,
        scale: Scale = "unit",
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
    ) -> None:
        number("max_mb", max_mb, 1)
        if classes is not None:
            number("classes", classes, 2, 256)  # a label is a byte
        if limit is not None:
            number("limit", limit, 1)
        if not path:
            raise ConfigError("path", "null", "must be the folder that holds the four IDX files")
        if "/" in prefix or "\\" in prefix:
            raise ConfigError(
                "prefix", prefix, "must be the beginning of file names, without a folder"
            )
        self.path, self.prefix, self.image, self.classes, self.limit = (
            path,
            prefix,
            image,
            classes,
            limit,
        )
        self.scale, self.validation, self.max_bytes, self.seed = (
            scale,
            validation,
            max_mb << 20,
            seed,
        )

    def load(self) -> Dataset:
        pixels = bytearray()  # of both files, one behind the other
        train, train_y = self._pair(pixels, *TRAIN)
        test, test_y = self._pair(pixels, *TEST)
        if train[1:] != test[1:]:
            valid = (
                f"training images are {train[1:]}, test images {test[1:]}; the two must be equal"
            )
            raise ConfigError("path", self.path, valid)
        count = train[0] + test[0]
        x = np.frombuffer(pixels, np.uint8).reshape(count, *train[1:])
        samples = Samples(
            x=x.reshape(count, 1, *train[1:]) if self.image else x.reshape(count, -1),
            y=np.concatenate([train_y, test_y]).astype(np.int64),
            classes=self.classes or int(train_y.max()) + 1,
            test=np.arange(train[0], count),
            one_scale=True,
            origin=("path", self.path),
        )
        return prepare(
            samples, self.seed, validation=self.validation, scale=self.scale, limit=self.limit
        )

    def loading(self) -> int:
        """The bytes of the pixels as the two files declare them, and as float32 numbers."""
        shapes = [
            declared(self._find(parts, "images", 3), 3, self.max_bytes) for parts in (TRAIN, TEST)
        ]
        pixels = sum(math.prod(shape) for shape in shapes)
        return while_scaled(pixels, sum(shape[0] for shape in shapes), pixels)

    def _pair(self, pixels: bytearray, *parts: str) -> tuple[tuple[int, ...], Bytes]:
        """The shape of the images in a file, which are appended to ``pixels``, and their labels."""
        shape = _append(pixels, self._find(parts, "images", 3), 3, self.max_bytes)
        labels = read_idx(self._find(parts, "labels", 1), 1, self.max_bytes)
        if shape[0] != len(labels):
            valid = (
                f"{shape[0]:,} {parts[0]} images but {counted(len(labels), 'label')}; the two"
                " numbers must be equal"
            )
            raise ConfigError("path", self.path, valid)
        return shape, labels

    def _find(self, parts: tuple[str, ...], kind: str, dims: int) -> Path:
        folder = locate(self.path)
        if not folder.is_dir():
            valid = "is not a folder; give the one that holds the four IDX files"
            raise ConfigError("path", self.path, valid)
        names = [
            f"{self.prefix}{part}-{kind}{dot}idx{dims}-ubyte" for part in parts for dot in "-."
        ]
        for name in names:
            for candidate in (folder / name, usable(folder / f"{name}.gz", "prefix")):
                if candidate.is_file():
                    return candidate
        needed = f"file {names[0]} (.gz or plain); all four IDX files are needed"
        if self.prefix:
            raise ConfigError("prefix", self.prefix, f"{self.path} has no {needed}")
        raise ConfigError("path", self.path, f"has no {needed}")


def read_idx(path: Path, dims: int, max_bytes: int) -> Bytes:
    """The array of an IDX file of unsigned bytes with ``dims`` dimensions.

    The header is two zero bytes, a type byte, the number of dimensions, then each dimension as a
    big-endian uint32. Raises ``ConfigError`` for a file of another format, type or number of
    dimensions, for a damaged one, and for one that declares more than ``max_bytes``.
    """
    content = bytearray()
    shape = _append(content, path, dims, max_bytes)
    return np.frombuffer(content, np.uint8).reshape(shape)


def declared(path: Path, dims: int, max_bytes: int) -> tuple[int, ...]:
    """The shape that the header of an IDX file declares; raises as :func:`read_idx` does."""
    with _unpacked(path) as file:
        return _shape(file, path, dims, max_bytes)


def _append(content: bytearray, path: Path, dims: int, max_bytes: int) -> tuple[int, ...]:
    """Append what an IDX file holds to ``content``, and return its shape."""
    with _unpacked(path) as file:
        shape = _shape(file, path, dims, max_bytes)
        _read(content, file, path, math.prod(shape))
        return shape


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file, opened and unpacked; within the block its damages become ``ConfigError``."""
    try:
        with (
            opened(path) as file,
            gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file as unpacked,
        ):
            yield cast("IO[bytes]", unpacked)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(
            "path", path, f"is a damaged or truncated gzip file ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise ConfigError(
            "path", path, f"cannot be read ({error.strerror or error}); check the file"
        ) from error


def _shape(file: IO[bytes], path: Path, dims: int, max_bytes: int) -> tuple[int, ...]:
    """The shape that the header declares."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
        start = head.hex(" ") or "nothing"
        raise ConfigError(
            "path", path, f"is not an IDX file: it begins with {start} in the place of 00 00 08"
        )
    if head[2] != _UBYTE or head[3] != dims:
        found = f"holds {head[3]}-dimensional {_TYPES[head[2]]} data"
        raise ConfigError(
            "path", path, f"{found}; {dims}-dimensional ubyte data (00 00 08 {dims:02x}) are needed"
        )
    sizes = file.read(4 * dims)
    if len(sizes) < 4 * dims:
        raise ConfigError("path", path, f"ends inside its header; {dims} dimensions are needed")
    shape: tuple[int, ...] = struct.unpack(f">{dims}I", sizes)
    size = math.prod(shape)
    if size == 0:
        raise ConfigError(
            "path", path, f"declares the shape {list(shape)}; every dimension must be at least 1"
        )
    if size > max_bytes:
        valid = (
            f"declares {size} bytes; at most {max_bytes} are read (data.max_mb={max_bytes >> 20})"
        )
        raise ConfigError("path", path, valid)
    return shape


def _read(content: bytearray, file: IO[bytes], path: Path, size: int) -> None:
    """Append exactly ``size`` bytes, read in pieces, so that a false header costs no more memory
    than the file really holds.
    """
    missing = size
    while missing and (piece := file.read(min(missing, 1 << 24))):
        content += piece
        missing -= len(piece)
    if missing:
        raise ConfigError(
            "path",
            path,
            f"declares {size} bytes but holds {size - missing}; it is truncated",
        )
    if file.read(1):
        raise ConfigError(
            "path",
            path,
            f"holds more than the {size} bytes it declares; header and data must agree",
        )
