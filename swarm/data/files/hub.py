"""Data sets in the format of Hugging Face ``datasets``: saved on disk, or loaded by name from the
hub (``pip install .[hf]``).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal, TypedDict

import pyarrow as pa

from swarm.common.errors import ConfigError
from swarm.data.dataset import Dataset, Source
from swarm.data.fetch.dataset_cache import locate
from swarm.data.files.features import Missing
from swarm.data.files.readers.columns import Column, of_arrow, require_room
from swarm.data.files.readers.images import ImageFormat
from swarm.data.files.readers.table_files import in_two, read_table, with_own_test
from swarm.data.files.table import Name, Table
from swarm.data.files.text import Text
from swarm.data.scaling import Scale, TargetScale

_ROWS = 1000  # rows that are read at once


class _Shared(TypedDict):
    """The arguments that the readers of rows and of text share."""

    test: float
    validation: float
    max_mb: int


class HF(Source):
    """A table of a Hugging Face data set: rows with features and a label, or rows with text; the
    column ``device`` says which device owns a row.

    ``path`` is an ``.arrow`` or ``.parquet`` file, a folder that ``save_to_disk`` wrote, or one of
    Parquet files as on the hub, and is read without any further package. A set ``test`` in a folder
    is the test set. ``name`` (with ``config`` and ``revision``) is a data set of
    the hub, which needs the package ``datasets``. Only its data are loaded: code that comes with a
    data set is never run.

    With ``text`` a sample is a sequence of ``context`` characters as in
    :class:`~swarm.data.files.text.Text`; without, it is a row as in
    :class:`~swarm.data.files.table.Table`, whose images are scaled to ``size`` (height and width)
    and are grey with ``gray``. Raises the same ``ConfigError`` as these two.
    """

    def __init__(
        self,
        path: str | None = None,
        name: str | None = None,
        config: str | None = None,
        revision: str | None = None,
        split: str = "train",
        device: Name | None = None,
        text: str | None = None,
        context: int = 64,
        min_chars: int = 2000,
        label: Name | list[Name] = "label",
        task: Literal["classification", "regression"] = "classification",
        features: list[Name] | None = None,
        time: Name | None = None,
        scale: Scale = "standard",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
        target_scale: TargetScale = "none",
        missing: Missing = "refuse",
        size: int | list[int] | None = None,
        gray: bool = False,
    ) -> None:
        _require_one_source(path, name)
        shared: _Shared = {"test": test, "validation": validation, "max_mb": max_mb}
        shown = path or f"{name}[{split}]"
        self.reader: Text | Table
        if text is None:
            self.reader = Table(
                shown,
                label,
                device,
                task,
                features,
                time=time,
                scale=scale,
                seed=seed,
                target_scale=target_scale,
                missing=missing,
                **shared,
            )
        elif device is None:
            raise ConfigError("device", "null", "must be the column that says whose text it is")
        else:
            self.reader = Text(shown, text, str(device), context, min_chars=min_chars, **shared)
        self.images = ImageFormat.of(size, gray)
        self.path, self.name, self.config = path, name, config
        self.revision, self.split, self.max_bytes = revision, split, max_mb << 20

    def load(self) -> Dataset:
        table = read_table(locate(self.path), self.max_bytes) if self.path else self._from_hub()
        try:
            if isinstance(self.reader, Text):
                return self.reader.of(*in_two(table))
            table, test = with_own_test(Path(str(self.path)), table, self.max_bytes)
            return self.reader.of(table, self.images, test)
        except ConfigError as error:
            if error.key != "owner":
                raise
            # the option that Text calls owner is called device here
            raise ConfigError("device", error.value, error.valid) from error

    def _rows(self, found: Any) -> pa.Table:
        """All rows, read in parts, so that too large a data set is refused early."""
        parts, size = [], 0
        for start in range(0, len(found), _ROWS):
            parts.append(found[start : start + _ROWS])
            size += parts[-1].nbytes
            require_room(self.name, size, self.max_bytes)
        return pa.concat_tables(parts)

    def _from_hub(self) -> dict[str, Column]:
        try:
            datasets = importlib.import_module("datasets")
        except ImportError:
            valid = "needs the package datasets; `pip install .[hf]` installs it, or give data.path"
            raise ConfigError("name", self.name, valid) from None
        try:
            found = datasets.load_dataset(
                self.name, self.config, split=self.split, revision=self.revision
            )
            return of_arrow(
                Path(str(self.name)), self._rows(found.with_format("arrow")), self.max_bytes
            )
        except ConfigError as error:
            raise ConfigError("name", self.name, error.valid) from error
        except (
            Exception
        ) as error:  # any error of the package, the network or the hub means the same to the user
            reason = type(error).__name__
            valid = (
                f"cannot be loaded ({reason}): is this machine offline, or is there no such name,"
                " config or split?"
            )
            raise ConfigError("name", self.name, valid) from error


def _require_one_source(path: str | None, name: str | None) -> None:
    """Refuse settings that give both a path and a name, or neither."""
    if bool(path) == bool(name):
        valid = "must be a file or folder of a data set, or data.name= one of the hub, and not both"
        raise ConfigError("path", path, valid)
