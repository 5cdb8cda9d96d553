"""HDF5 files by client as TensorFlow Federated publishes them, ``examples/CLIENT/FIELD``, read
without following a link out of the file.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.system.files import opened, size_of
from swarm.data.fetch.dataset_cache import locate
from swarm.data.files.readers.columns import (
    TEXT,
    Column,
    require_room,
    require_unpacked_room,
)

T = TypeVar("T")
Fields = Callable[["ClientFiles", Any, str], T]
_GROUP = "examples"  # the group of all clients
_REFERENCE = 8  # bytes of a reference to a text
# What h5py raises on damaged files.
_DAMAGED = (OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError)


class ClientFiles:
    """The HDF5 file at ``path``, or of a folder the training file and the test file, which together
    take at most ``max_bytes``, both as they lie there and unpacked.

    Raises ``ConfigError`` for a file that is damaged, that refers to other files, or that would
    take more, and without the package ``h5py``.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path, self.max_bytes, self.read_bytes = path, max_bytes, 0
        try:
            self.h5py = importlib.import_module("h5py")
        except ImportError:
            valid = "is HDF5, which needs the package h5py; `pip install .[h5]` installs it"
            raise ConfigError("path", path, valid) from None

    def read(self, fields: Fields[T]) -> list[list[tuple[str, T]]]:
        """For each file, the name of each client and what ``fields`` reads of its group, in the
        order of names."""
        return [self._clients(file, fields) for file in self._files(locate(self.path))]

    def _files(self, path: Path) -> list[Path]:
        if not path.is_dir():
            return [path]
        found = [sorted(path.glob(f"*_{part}.h5")) for part in ("train", "test")]
        if [len(files) for files in found] != [1, 1]:
            valid = "is a folder, and must have one file …_train.h5 and one …_test.h5"
            raise ConfigError("path", self.path, valid)
        return [files[0] for files in found]

    def _clients(self, file: Path, fields: Fields[T]) -> list[tuple[str, T]]:
        with opened(file) as stream:
            self._count(size_of(stream))
            try:
                with self.h5py.File(stream, "r") as root:
                    group = self._inside(root, _GROUP)
                    return [
                        (name, fields(self, self._inside(group, name), name))
                        for name in sorted(group)
                    ]
            except ConfigError:
                raise
            except _DAMAGED as error:
                reason = " ".join(str(error).split())[:120]
                valid = f"cannot be read as HDF5 by client ({reason}); check the file"
                raise ConfigError("path", file, valid) from None

    def numbers(self, client: Any, field: str, name: str) -> Column:
        """The array that a client, called ``name``, has in a field."""
        found = self._inside(client, field)
        if self.is_text(client, field):
            valid = f"has text in the field {field} of client {name[:40]}; data=tff_text reads text"
            raise ConfigError("path", self.path, valid)
        if not isinstance(found, self.h5py.Dataset) or found.dtype.kind not in "biuf":
            valid = f"has a field {field} of client {name[:40]} that is no array of numbers"
            raise ConfigError("path", self.path, valid)
        self._require_own(found, field)
        self._count(found.dtype.itemsize * math.prod(found.shape))
        array: Column = found[()]
        return array

    def texts(self, client: Any, field: str, name: str) -> list[str]:
        """The texts, in UTF-8, that a client, called ``name``, has in a field.

        They are read one by one, since many may refer to one long text of the file.
        """
        found = self._inside(client, field)
        if not self.is_text(client, field) or found.ndim != 1:
            valid = f"is no field of text of client {name[:40]}; a list of texts is needed"
            raise ConfigError("text", field, valid)
        self._require_own(found, field)
        self._count((_REFERENCE + TEXT) * len(found))
        texts = []
        for row in range(len(found)):
            text = bytes(found[row])
            self._count(len(text))
            try:
                texts.append(text.decode())
            except UnicodeDecodeError:
                valid = f"has text {row} (counted from 0) of client {name[:40]} that is not UTF-8"
                raise ConfigError("path", self.path, valid) from None
        return texts

    def is_text(self, client: Any, field: str) -> bool:
        """Whether a field is an array of texts."""
        found = self._inside(client, field)
        return isinstance(found, self.h5py.Dataset) and (
            self.h5py.check_string_dtype(found.dtype) is not None
        )

    def _require_own(self, found: Any, field: str) -> None:
        """Refuse an array in other files, and one whose parts are too large to be unpacked."""
        if found.is_virtual or found.external:
            raise ConfigError("path", self.path, f"keeps its field {field} in other files")
        part = found.dtype.itemsize * math.prod(found.chunks or (0,))
        require_unpacked_room(self.path, part, self.max_bytes)

    def _inside(self, group: Any, name: str) -> Any:
        """What a group has under a name, if it lies in the same file."""
        link = group.get(name, getlink=True)
        if not isinstance(link, self.h5py.HardLink):
            raise ValueError(f"{name} is not there, or a link to something else")
        return group[name]

    def _count(self, size: int) -> None:
        self.read_bytes += size
        require_room(self.path, self.read_bytes, self.max_bytes)


def by_client(found: list[tuple[str, list[str]]]) -> dict[str, Column]:
    """The texts of clients as a table with the columns ``owner`` and ``text``."""
    owners = [name for name, texts in found for _ in texts]
    every = [text for _, texts in found for text in texts]
    return {
        key: np.array([*values, None], object)[:-1]
        for key, values in (("owner", owners), ("text", every))
    }
