"""Client data sets as TensorFlow Federated publishes them: HDF5 files with a group of samples for
each client (federated EMNIST, CIFAR-100 by client).
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.names import coded
from swarm.common.ranges import number
from swarm.common.system.dataset_cache import locate
from swarm.common.system.files import opened, size_of
from swarm.data.dataset import Dataset, Source
from swarm.data.files.readers.columns import require_room, require_unpacked_room
from swarm.data.files.readers.kinds import listed
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale

Array = npt.NDArray[np.generic]
_GROUP = "examples"  # the group of all clients
_OTHER_LABELS = ("label", "coarse_label")
# What h5py raises on damaged files.
_DAMAGED = (OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError)


class Tff(Source):
    """An HDF5 file with ``examples/CLIENT/FIELD`` (needs ``h5py``), or a folder with one of these
    that ends in ``_train.h5`` and one in ``_test.h5``, which then is the test set. Clients are the
    owners of their samples, for ``partition=natural``.

    ``label`` names the field of the labels, ``features`` the one of the samples (None: the only
    other field of numbers). Images become ``[S, colours, height, width]``.

    Raises ``ConfigError`` for a file that is damaged, that refers to other files, or that would
    take more than ``max_mb``, and with the client whose fields do not fit.
    """

    def __init__(
        self,
        path: str | None = None,
        label: str = "label",
        features: str | None = None,
        scale: Scale = "unit",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
    ) -> None:
        number("max_mb", max_mb, 1)
        if not path:
            valid = "must be an .h5 file of clients, or a folder with …_train.h5 and …_test.h5"
            raise ConfigError("path", "null", valid)
        if label == features:
            raise ConfigError("features", features, "is data.label already")
        self.path, self.label, self.features = path, label, features
        self.scale, self.test, self.validation = scale, test, validation
        self.max_bytes, self.seed, self.read_bytes = max_mb << 20, seed, 0

    def load(self) -> Dataset:
        self.read_bytes = 0
        sets = [self._clients(file) for file in self._files(locate(self.path))]
        own = len(sets) > 1
        every = [client for clients in sets for client in clients]
        shapes = {x.shape[1:] for _, x, _ in every}
        if len(shapes) > 1:
            found = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
            raise ConfigError("path", self.path, f"has samples of shape {found}; all must be alike")
        x = _colours_first(np.concatenate([x for _, x, _ in every]))
        who = np.concatenate([np.full(len(y), name, object) for name, _, y in every])
        try:
            owner, owners = coded(who, "clients")
            y, classes = coded(np.concatenate([y for _, _, y in every]), f"label={self.label}")
        except ValueError as error:
            raise ConfigError("path", self.path, f"has a client or label: {error}") from None
        begin = sum(len(y) for _, _, y in sets[0])
        samples = Samples(
            x,
            y,
            len(classes),
            owner=owner,
            test=np.arange(begin, len(y)) if own else None,
            one_scale=x.ndim > 2,
            origin=("path", self.path),
            owner_names=owners,
            class_names=classes,
        )
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )

    def _files(self, path: Path) -> list[Path]:
        """The file, or of a folder the training file and the test file."""
        if not path.is_dir():
            return [path]
        found = [sorted(path.glob(f"*_{part}.h5")) for part in ("train", "test")]
        if [len(files) for files in found] != [1, 1]:
            valid = "is a folder, and must have one file …_train.h5 and one …_test.h5"
            raise ConfigError("path", self.path, valid)
        return [files[0] for files in found]

    def _clients(self, file: Path) -> list[tuple[str, Array, Array]]:
        """The name, samples and labels of each client of a file, in the order of names."""
        try:
            h5py = importlib.import_module("h5py")
        except ImportError:
            valid = "is HDF5, which needs the package h5py; `pip install .[h5]` installs it"
            raise ConfigError("path", self.path, valid) from None
        with opened(file) as stream:
            self._count(size_of(stream))
            try:
                with h5py.File(stream, "r") as root:
                    group = _inside(h5py, root, _GROUP)
                    return [
                        (name, *self._fields(h5py, _inside(h5py, group, name), name))
                        for name in sorted(group)
                    ]
            except ConfigError:
                raise
            except _DAMAGED as error:
                reason = " ".join(str(error).split())[:120]
                valid = f"cannot be read as HDF5 by client ({reason}); check the file"
                raise ConfigError("path", file, valid) from None

    def _fields(self, h5py: Any, client: Any, name: str) -> tuple[Array, Array]:
        """The samples and the labels of a client."""
        fields = list(client)
        others = [each for each in fields if each not in (self.label, *_OTHER_LABELS)]
        chosen = self.features or (others[0] if len(others) == 1 else None)
        for key, field in (("label", self.label), ("features", chosen)):
            if field not in fields:
                valid = f"must be a field of client {name[:40]}, which has {listed(fields)}"
                raise ConfigError(key, "null" if field is None else field, valid)
        x, y = (self._array(h5py, client, field, name) for field in (chosen, self.label))
        if len(x) != len(y) or y.ndim != 1 or x.ndim < 2:
            shapes = f"{list(x.shape)} samples and {list(y.shape)} labels"
            raise ConfigError(
                "path", self.path, f"has {shapes} of client {name[:40]}, which do not fit"
            )
        return x, y

    def _array(self, h5py: Any, client: Any, field: str | None, name: str) -> Array:
        found = _inside(h5py, client, field)
        if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "biuf":
            valid = f"has a field {field} of client {name[:40]} that is no array of numbers"
            raise ConfigError("path", self.path, valid)
        if found.is_virtual or found.external:
            raise ConfigError("path", self.path, f"keeps its field {field} in other files")
        unit = found.dtype.itemsize
        self._count(unit * math.prod(found.shape))
        require_unpacked_room(self.path, unit * math.prod(found.chunks or (0,)), self.max_bytes)
        array: Array = found[()]
        return array

    def _count(self, size: int) -> None:
        self.read_bytes += size
        require_room(self.path, self.read_bytes, self.max_bytes)


def _inside(h5py: Any, group: Any, name: str | None) -> Any:
    """What a group has under a name, if it lies in the same file."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is not there, or a link to something else")
    return group[name]


def _colours_first(x: Array) -> Array:
    """Images ``[S, height, width(, colours)]`` as ``[S, colours, height, width]``; other samples
    unchanged.
    """
    if x.ndim == 3:
        return x[:, None]
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 and x.shape[3] in (1, 3) else x
