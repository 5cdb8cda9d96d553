"""CIFAR-10 and CIFAR-100 (Krizhevsky, *Learning multiple layers of features from tiny images*,
2009) in their own binary files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.system.files import content
from swarm.data.dataset import Dataset, Source
from swarm.data.fetch.dataset_cache import locate
from swarm.data.files.readers.columns import require_unpacked_room
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale, while_scaled

Bytes = npt.NDArray[np.uint8]

_PIXELS = 3 * 32 * 32
_MOST_NAMES = 1 << 16  # bytes of the file that names the classes


class Cifar(Source):
    """The 32 × 32 colour images of CIFAR-10 (``data_batch_1.bin``, …, ``test_batch.bin``) or
    CIFAR-100 (``train.bin``, ``test.bin``), from the folder that the archive of the *binary
    version* unpacks to. ``x`` is ``[S, 3, 32, 32]``, or ``[S, 3072]`` with ``image=False``.

    A record is a byte for the class, in CIFAR-100 preceded by one for the superclass, and 3,072
    bytes of pixels. ``fine=False`` takes CIFAR-100's 20 superclasses. Training batches that are not
    there are left out (``data_batch_1.bin`` alone will do). The test files are the test set;
    validation samples are split off the others. ``limit`` keeps that many training samples.

    The Python version is pickled, and is never read. Raises ``ConfigError`` for a folder without
    these files, and for a file that is not a whole number of records.
    """

    def __init__(
        self,
        path: str | None = None,
        fine: bool = True,
        image: bool = True,
        limit: int | None = None,
        scale: Scale = "unit",
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
    ) -> None:
        number("max_mb", max_mb, 1)
        if limit is not None:
            number("limit", limit, 1)
        if not path:
            raise ConfigError("path", "null", "must be the folder of CIFAR's binary version")
        self.path, self.fine, self.image, self.limit = path, fine, image, limit
        self.scale, self.validation = scale, validation
        self.max_bytes, self.seed = max_mb << 20, seed

    def load(self) -> Dataset:
        folder = locate(self.path)
        train, test, labels, names = self._found(folder)
        parts = [self._records(file, labels) for file in (*train, test)]
        size = sum(part.size for part in parts)
        require_unpacked_room(self.path, 5 * size, self.max_bytes)  # as bytes and as float32
        record = np.concatenate(parts)
        x = record[:, labels:]
        y = record[:, labels - 1 if self.fine else 0].astype(np.int64)
        begin = len(record) - len(parts[-1])
        del parts  # which hold the same bytes
        classes = max(int(y.max()) + 1, 2)
        class_names = _names(folder / names)
        samples = Samples(
            x.reshape(-1, 3, 32, 32) if self.image else x,
            y,
            len(class_names) if class_names and len(class_names) >= classes else classes,
            test=np.arange(begin, len(record)),
            one_scale=True,
            origin=("path", self.path),
            class_names=class_names if class_names and len(class_names) >= classes else None,
        )
        return prepare(
            samples, self.seed, validation=self.validation, scale=self.scale, limit=self.limit
        )

    def loading(self) -> int:
        train, test, _, _ = self._found(locate(self.path))
        size = sum(file.stat().st_size for file in (*train, test))
        return while_scaled(size, size // _PIXELS, size)

    def _found(self, folder: Path) -> tuple[list[Path], Path, int, str]:
        """The training files, the test file, the bytes of a record's labels, and the name of the
        file with the names of the classes.
        """
        batches = sorted(folder.glob("data_batch_*.bin"))
        if batches and (folder / "test_batch.bin").is_file():
            if not self.fine:
                raise ConfigError("fine", False, "is for CIFAR-100; CIFAR-10 has no superclasses")
            return batches, folder / "test_batch.bin", 1, "batches.meta.txt"
        if (folder / "train.bin").is_file() and (folder / "test.bin").is_file():
            names = f"{'fine' if self.fine else 'coarse'}_label_names.txt"
            return [folder / "train.bin"], folder / "test.bin", 2, names
        pickled = any((folder / name).exists() for name in ("data_batch_1", "train", "meta"))
        found = (
            "holds the Python version, whose pickles are never read; the binary version is needed"
            if pickled
            else "must be the folder that CIFAR's binary version unpacks to"
        )
        valid = "data_batch_1.bin and test_batch.bin, or train.bin and test.bin"
        raise ConfigError("path", self.path, f"{found} ({valid})")

    def _records(self, file: Path, labels: int) -> Bytes:
        """The records of a file, ``[S, labels + 3072]`` bytes."""
        data = content(file, self.max_bytes, f"max_mb={self.max_bytes >> 20}")
        width = labels + _PIXELS
        if not data or len(data) % width:
            valid = f"has {len(data)} bytes, which are no whole number of records of {width}"
            raise ConfigError("path", file, f"{valid}; unpack the archive again")
        return np.frombuffer(data, np.uint8).reshape(-1, width)


def _names(file: Path) -> tuple[str, ...] | None:
    """The names of the classes, where the folder has the file that lists them."""
    if not file.is_file():
        return None
    text = content(file, _MOST_NAMES, "64 KiB").decode("ascii", "replace")
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    return names if len(set(names)) == len(names) else None
