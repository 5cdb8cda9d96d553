"""A folder of images with a folder for each class, as people sort photographs and as Kaggle and
torchvision's ``ImageFolder`` have them.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.names import coded
from swarm.common.ranges import number
from swarm.common.system.files import content
from swarm.data.dataset import Dataset, Ints, Source
from swarm.data.fetch.dataset_cache import locate
from swarm.data.files.readers.columns import require_room
from swarm.data.files.readers.images import ENDINGS, ImageFormat, decoded
from swarm.data.files.readers.kinds import listed_columns
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale

_SETS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"),
         "test": ("test", "testing")}  # fmt: skip


class ImageFolder(Source):
    """Images in folders that are called by their classes: ``path/cat/1.png``. ``x`` is ``[S,
    colours, height, width]``: one colour if all images are grey or ``gray`` is true, else three.

    Where ``path`` has the folders ``train`` and ``test`` (and perhaps ``val``), each of these has
    the folders of the classes, and the sets stay as they are; else test and validation samples are
    split off. All files are taken in the order of their names. ``size`` (height and width) scales
    the images, which otherwise must have one size.

    Raises ``ConfigError`` for a folder that is laid out in another way, and with the name of a file
    that is no image, is damaged, or has another size; and for more than ``max_mb``, of the files or
    of what they unpack to.
    """

    def __init__(
        self,
        path: str | None = None,
        size: int | list[int] | None = None,
        gray: bool = False,
        scale: Scale = "unit",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
    ) -> None:
        number("max_mb", max_mb, 1)
        if not path:
            raise ConfigError("path", "null", "must be a folder that has a folder for each class")
        self.path, self.images = path, ImageFormat.of(size, gray)
        self.scale, self.test, self.validation = scale, test, validation
        self.max_bytes, self.seed = max_mb << 20, seed

    def load(self) -> Dataset:
        root = locate(self.path)
        if not root.is_dir():
            raise ConfigError(
                "path", self.path, "is not a folder; give one that has a folder for each class"
            )
        parts = _parts(root)
        files: list[tuple[Path, str]] = []
        rows: dict[str, Ints] = {}
        for part, folder in parts.items():
            found = self._files(folder)
            rows[part] = np.arange(len(files), len(files) + len(found))
            files += found
        self._require_room(files)
        x = decoded(
            self.path,
            len(files),
            lambda i: content(files[i][0], self.max_bytes, f"max_mb={self.max_bytes >> 20}"),
            lambda i: str(files[i][0].relative_to(root)),
            self.images,
            self.max_bytes,
        )
        try:
            y, names = coded(np.array([name for _, name in files], object), f"path={self.path}")
        except ValueError as error:
            raise ConfigError("path", self.path, f"has a folder whose name {error}") from None
        samples = Samples(
            x,
            y,
            len(names),
            test=rows.get("test"),
            validation=rows.get("validation"),
            one_scale=True,
            origin=("path", self.path),
            class_names=names,
        )
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )

    def _files(self, root: Path) -> list[tuple[Path, str]]:
        """The image files below ``root`` and the class of each, by class and name."""
        classes = _folders(root)
        if len(classes) < 2:
            valid = (
                f"needs a folder for each of two classes or more; {root.name} has"
                f" {listed_columns([folder.name for folder in classes]) or 'none'}"
            )
            raise ConfigError("path", self.path, valid)
        found: list[tuple[Path, str]] = []
        others: list[str] = []
        for folder in classes:
            inside = sorted(folder.rglob("*"))
            there = [file for file in inside if file.is_file() and not _hidden(file, root)]
            images = [file for file in there if file.suffix.lower() in ENDINGS]
            others += [str(file.relative_to(root)) for file in there if file not in set(images)]
            if not images:
                kinds = ", ".join(ENDINGS)
                raise ConfigError("path", folder, f"has no image in it ({kinds})")
            found += [(file, folder.name) for file in images]
        if others:
            warnings.warn(
                f"{self.path}: files that are no images are left out: {listed_columns(others)}",
                stacklevel=2,
            )
        return found

    def _require_room(self, files: list[tuple[Path, str]]) -> None:
        size = 0
        for file, _ in files:
            size += file.stat().st_size
            require_room(self.path, size, self.max_bytes)


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _folders(root: Path) -> list[Path]:
    there = [place for place in root.iterdir() if place.is_dir()]
    return sorted(place for place in there if not _hidden(place, root))


def _parts(root: Path) -> dict[str, Path]:
    """The folders of the sets by name; a single one called *all* where there are no sets."""
    folders = {place.name.lower(): place for place in _folders(root)}
    parts = {
        part: folders[name] for part, names in _SETS.items() for name in names if name in folders
    }
    if "train" in parts and "test" in parts and len(parts) == len(folders):
        return parts
    return {"all": root}
