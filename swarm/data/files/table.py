"""Table files (CSV, Parquet, NPZ, JSON lines, Arrow, LIBSVM) with a named label column and perhaps
a column that names each row's owner.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np

from swarm.common.errors import ConfigError, meant
from swarm.common.names import Names
from swarm.common.ranges import number
from swarm.data.dataset import Dataset, Ints, Source
from swarm.data.fetch.dataset_cache import locate
from swarm.data.files.features import (
    Missing,
    numeric_ones,
    require_one_role_each,
    require_present,
    with_numbers,
    without_missing,
)
from swarm.data.files.readers.columns import Column, require_unpacked_room
from swarm.data.files.readers.dialect import CsvFormat, Header
from swarm.data.files.readers.images import ImageFormat
from swarm.data.files.readers.kinds import (
    codes_of,
    first_text,
    is_numeric,
    listed_columns,
    missing_of,
    moments_of,
    one_hot_of,
    says_the_same,
    worded,
)
from swarm.data.files.readers.sizes import Sizes
from swarm.data.files.readers.table_files import KINDS, read_table, with_own_test
from swarm.data.prepare import Samples, latest, prepare
from swarm.data.scaling import Numbers, Scale, TargetScale

Name = str | int  # of a column; 4 is the column called 4
_ONE_SIZE = ImageFormat(settable=False)


def text_of(name: Name | None) -> str | None:
    """The name of a column as text."""
    return None if name is None else str(name)


def named(names: Sequence[Name]) -> list[str]:
    """The names of columns as text."""
    return [str(name) for name in names]


def is_pixels(column: Column) -> bool:
    """Whether a column is one of decoded images, whose numbers are all of one quantity."""
    return column.ndim == 4 and column.dtype == np.uint8


class Table(Source):
    """A data set with one row of a table for each sample.

    ``x`` is ``[S, features]``; an NPZ whose only feature array has more axes keeps its shape.

    ``label`` and ``device`` name columns (a number means the name it is written as); ``features``
    names the feature columns, by default every numeric one, and encoded images
    (:mod:`swarm.data.files.readers.images`), which become ``[colours, height, width]``. Columns
    that are left out as not numeric are named in a warning; one that is mostly numeric is refused,
    as it has a typing error in it. Dates that ``features`` names are days since 1970. Labels of a
    classification may be strings or whole numbers: the sorted distinct values become 0 … C-1. A
    regression may have several ``label`` columns. The values of ``device`` become owners 0 … O-1 in
    the same way, for ``partition=natural``.

    A missing value is refused by its row and column; ``missing=drop`` leaves such rows out, and
    ``missing=mean`` puts the mean of the training samples in the place of a feature. With either,
    ``?`` in a CSV file means that the value is missing.

    ``sep``, ``decimal``, ``encoding`` and ``header`` say how separated values are written
    (:class:`~swarm.data.files.readers.dialect.CsvFormat`). An NPZ file whose arrays come as
    ``…_train`` and ``…_test`` brings its own test set; ``label`` then is the one of ``…_train``.

    A column without a name, which most often numbers the rows, is left out with a warning unless
    ``features`` lists it. A column has one role only: the label, the owner or the time is never a
    feature as well.

    With ``target_scale=standard`` models predict targets less their training mean, divided by their
    training deviation; errors are reported in the targets' own unit. This is the default of
    ``conf/data/table.yaml``; run folders without the option predict targets as they are.

    Each column of ``one_hot`` becomes a 0/1 feature for each of its values, which is not scaled.
    With ``time`` (a column of numbers or ISO dates) devices meet their rows in the order of that
    column; ``later`` then holds out each owner's last rows for test and validation, instead of a
    random draw.

    Raises ``ConfigError`` for options that do not fit together or do not fit the table.
    """

    def __init__(
        self,
        path: str | None = None,
        label: Name | list[Name] = "label",
        device: Name | None = None,
        task: Literal["classification", "regression"] = "classification",
        features: list[Name] | None = None,
        one_hot: list[Name] | None = None,
        time: Name | None = None,
        later: bool = False,
        scale: Scale = "standard",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
        target_scale: TargetScale = "none",
        missing: Missing = "refuse",
        sep: str = "auto",
        decimal: str = "auto",
        encoding: str = "auto",
        header: Header = "auto",
    ) -> None:
        number("max_mb", max_mb, 1)
        self.labels = named(label if isinstance(label, list) else [label])
        self.label, self.task = ", ".join(self.labels), task
        self.path, self.device, self.time = path or "", text_of(device), text_of(time)
        self.features = None if features is None else named(features)
        self.one_hot = named(one_hot or [])
        self.later, self.missing = later, missing
        self._require_sense(label)
        parts = {"device": self.device, "time": self.time}
        require_one_role_each(
            {"label": self.labels, **{key: [name] for key, name in parts.items() if name}},
            {"features": self.features or [], "one_hot": self.one_hot},
        )
        self.scale, self.test, self.validation = scale, test, validation
        self.max_bytes, self.seed, self.target_scale = max_mb << 20, seed, target_scale
        asked = {*self.labels, self.device, self.time, *(self.features or []), *self.one_hot}
        self.csv = CsvFormat(
            sep,
            decimal,
            encoding,
            header,
            missing=() if missing == "refuse" else ("?",),
            names=frozenset(name for name in asked if name is not None),
            settable=True,
        )

    def _require_sense(self, label: object) -> None:
        """Refuse options that no table fits."""
        if not self.path:
            raise ConfigError(
                "path",
                "null",
                f"must be a {', '.join(KINDS[:-1])} or {KINDS[-1]} file, or a saved data set's"
                " folder",
            )
        if self.task not in ("classification", "regression"):
            raise ConfigError("task", self.task, "must be classification or regression")
        if self.missing not in ("refuse", "drop", "mean"):
            raise ConfigError("missing", self.missing, "must be refuse, drop or mean")
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ConfigError("label", label, "must be a column, or several, each named once")
        if len(self.labels) > 1 and self.task != "regression":
            raise ConfigError("label", label, "are several; data.task=regression takes several")
        if self.features is not None and (
            not self.features or len(set(self.features)) < len(self.features)
        ):
            raise ConfigError(
                "features",
                self.features,
                "must be at least one column, each named once, or null for all",
            )
        if self.later and self.time is None:
            raise ConfigError(
                "later", self.later, "needs data.time, the column that says when a row happened"
            )

    def load(self) -> Dataset:
        path = locate(self.path)
        table = read_table(path, self.max_bytes, self.csv)
        table, test = with_own_test(path, table, self.max_bytes)
        return self.of(table, test=test)

    def loading(self) -> int | None:
        found = Sizes.of(locate(self.path))
        return None if found is None else found.loading

    def of(
        self,
        table: dict[str, Column],
        images: ImageFormat = _ONE_SIZE,
        test: Ints | None = None,
    ) -> Dataset:
        """The data set of the columns ``table``; ``images`` says what encoded images become, and
        ``test`` has the rows of a test set that comes with the table.

        Raises ``ConfigError`` for a column that is missing or unfit for its role.
        """
        self._require_columns(table)
        others = [name for name in table if name not in self._roles()]
        table = with_numbers(self.path, table, others, self.features, images, self.max_bytes)
        # beside data.one_hot no column has to be numeric
        chosen = self.features or numeric_ones(self.path, table, others, bool(self.one_hot))
        if self.missing == "drop":
            table, test = without_missing(self.path, table, [*chosen, *self._roles()], test)
        elif self.missing == "refuse":
            require_present(self.path, table, chosen)
        samples = self._samples(table, chosen, test)
        return prepare(
            samples,
            self.seed,
            test=self.test,
            validation=self.validation,
            scale=self.scale,
            target_scale=self.target_scale,
        )

    def _samples(self, table: dict[str, Column], chosen: list[str], test: Ints | None) -> Samples:
        """The samples of a table whose features are the columns ``chosen``."""
        x, columns, scaled = self._x(table, chosen)
        y, class_names = self._y(table)
        self._warn_of_copies(
            table, [*chosen, *self.one_hot], y[:, 0] if y.ndim > 1 and y.shape[1] == 1 else y
        )
        owner, owner_names = (
            (None, None)
            if self.device is None
            else codes_of(table[self.device], "device", self.device)
        )
        time = None if self.time is None else moments_of(table[self.time], self.time)
        held = self._held(owner, time, test)
        return Samples(
            x,
            y,
            len(class_names),
            owner=owner,
            time=time,
            validation=held[0],
            test=held[1],
            columns=columns,
            one_scale=len(chosen) == 1 and is_pixels(table[chosen[0]]),
            scaled=scaled,
            origin=("path", self.path),
            target=("label", self.label),
            owner_names=owner_names,
            class_names=class_names or None,
            fill_missing=self.missing == "mean",
        )

    def _roles(self) -> list[str]:
        """The columns that have another role than that of a feature as it is."""
        named_ones = (*self.labels, self.device, self.time, *self.one_hot)
        return [name for name in named_ones if name is not None]

    def _held(
        self, owner: Ints | None, time: Ints | None, test: Ints | None
    ) -> tuple[Ints | None, Ints | None]:
        """The rows that are held out for validation and test, as far as it is decided already."""
        if not self.later or time is None:
            return None, test
        if test is not None:
            raise ConfigError("later", True, f"cannot be, as {self.path} has a test set of its own")
        return latest(owner, time, self.test, self.validation)

    def _require_columns(self, table: dict[str, Column]) -> None:
        """Refuse a name that is no column of the table."""
        single = (("device", self.device), ("time", self.time))
        lists = (("label", self.labels), ("one_hot", self.one_hot))
        for key, name in (*((key, name) for key, names in lists for name in names), *single):
            if name is not None and name not in table:
                found = f"is not a column of {self.path}{meant(name, table)}; its columns are"
                found += f" {listed_columns(table)}"
                counted = all(column == str(place) for place, column in enumerate(table))
                if counted and self.csv.header == "auto":
                    found += "; data.header=true takes its first row for a heading"
                raise ConfigError(key, name, found)

    def _x(
        self, table: dict[str, Column], chosen: list[str]
    ) -> tuple[Numbers | list[Numbers], tuple[str, ...], int | None]:
        """The features in blocks, each of its own type; the features' names; and how many blocks
        are to be scaled (None: all).
        """
        if len(chosen) == 1 and table[chosen[0]].ndim > 2 and not self.one_hot:
            return table[chosen[0]], (), None
        parts = [table[name].reshape(len(table[name]), -1) for name in chosen]
        names = [
            name if part.shape[1] == 1 else f"{name}[{i}]"
            for name, part in zip(chosen, parts, strict=True)
            for i in range(part.shape[1])
        ]
        bits = [one_hot_of(table[name], name) for name in self.one_hot]
        blocks = [*parts, *(bit for bit, _ in bits)]
        size = 4 * len(blocks[0]) * sum(block.shape[1] for block in blocks)
        require_unpacked_room(self.path, size, self.max_bytes)
        return (
            blocks,
            (*names, *(n for _, each in bits for n in each)),
            len(parts) if bits else None,
        )

    def _warn_of_copies(self, table: dict[str, Column], names: list[str], y_S: Numbers) -> None:
        """Warn of each feature that says the same as the label."""
        for name in names:
            if y_S.ndim == 1 and says_the_same(table[name], y_S, self.task == "classification"):
                found = (
                    f"column {name!r} says the same as the label in every row, under another name"
                )
                warnings.warn(
                    f"{self.path}: {found}; data.features=[…] leaves it out", stacklevel=2
                )

    def _y(self, table: dict[str, Column]) -> tuple[Numbers, Names]:
        """The class of each row and the classes' names, or regression targets and no names."""
        if self.task == "regression":
            targets = [self._targets(table[name], name) for name in self.labels]
            return (targets[0] if len(targets) == 1 else np.concatenate(targets, axis=1)), ()
        column = table[self.label]
        if column.ndim == 2 and column.shape[1] == 1:
            column = column[:, 0]
        if column.ndim != 1:
            raise ConfigError(
                "label",
                self.label,
                f"has shape {list(column.shape)}; one label per sample is needed, such as"
                " y.argmax(axis=1) of one-hot rows",
            )
        codes, names = codes_of(column, "label", self.label)
        if not 2 <= len(names) < max(3, len(column)):
            found = "one value in all rows" if len(names) < 2 else "another value in every row"
            raise ConfigError(
                "label",
                self.label,
                f"has {found}; at least two classes with several rows are needed",
            )
        return codes, worded(table, self.label, names)

    def _targets(self, column: Column, name: str) -> Numbers:
        """A column of targets as ``[S, T]``; each must be a number, and there."""
        if not is_numeric(column):
            valid = f"is not numeric: {first_text(column)}; regression needs numbers"
            raise ConfigError("label", name, valid)
        missing = missing_of(column)
        if missing.any():
            valid = f"row {int(np.argmax(missing))} (counted from 0) is empty; every row needs one"
            raise ConfigError("label", name, valid)
        return column.reshape(len(column), -1)
