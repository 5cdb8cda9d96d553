"""Table files (CSV, Parquet, NPZ, JSON lines, Arrow) with a named label column and perhaps a column
that names each row's owner.
"""

from __future__ import annotations

import warnings
from typing import Literal

from swarm.common.errors import ConfigError
from swarm.common.names import Names
from swarm.common.ranges import number
from swarm.common.system.dataset_cache import locate
from swarm.data.dataset import Dataset, Source
from swarm.data.files.readers.columns import Column, nameless, require_unpacked_room
from swarm.data.files.readers.kinds import (
    codes_of,
    counts_rows,
    first_text,
    is_numeric,
    is_text,
    listed,
    moments_of,
    one_hot_of,
    says_the_same,
)
from swarm.data.files.readers.table_files import read_table
from swarm.data.prepare import Samples, latest, prepare
from swarm.data.scaling import Numbers, Scale, TargetScale


class Table(Source):
    """A data set with one row of a table for each sample.

    ``x`` is ``[S, features]``; an NPZ whose only feature array has more axes keeps its shape.

    ``label`` and ``device`` name columns; ``features`` names the feature columns, by default every
    numeric one. Columns that are left out as not numeric are named in a warning; one that is mostly
    numeric is refused, as it has a typing error in it. Labels of a classification may be strings or
    whole numbers: the sorted distinct values become 0 … C-1. The values of ``device`` become owners
    0 … O-1 in the same way, for ``partition=natural``. Every feature must be finite, so no cell may
    be missing.

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
        label: str = "label",
        device: str | None = None,
        task: Literal["classification", "regression"] = "classification",
        features: list[str] | None = None,
        one_hot: list[str] | None = None,
        time: str | None = None,
        later: bool = False,
        scale: Scale = "standard",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
        target_scale: TargetScale = "none",
    ) -> None:
        number("max_mb", max_mb, 1)
        if not path:
            raise ConfigError(
                "path",
                "null",
                "must be a .csv, .parquet, .npz, .jsonl or .arrow file, or a saved data set's"
                " folder",
            )
        if task not in ("classification", "regression"):
            raise ConfigError("task", task, "must be classification or regression")
        if features is not None and (not features or len(set(features)) < len(features)):
            raise ConfigError(
                "features",
                features,
                "must be at least one column, each named once, or null for all",
            )
        if later and time is None:
            raise ConfigError(
                "later", later, "needs data.time, the column that says when a row happened"
            )
        self.path, self.label, self.device, self.task, self.features = (
            path,
            label,
            device,
            task,
            features,
        )
        self.one_hot, self.time, self.later = one_hot or [], time, later
        self._require_one_part_each()
        self.scale, self.test, self.validation = scale, test, validation
        self.max_bytes, self.seed, self.target_scale = max_mb << 20, seed, target_scale

    def _require_one_part_each(self) -> None:
        """Refuse a column with two roles: a label that is also a feature would make the task
        trivial.
        """
        parts: dict[str, str] = {}
        for key, name in (("label", self.label), ("device", self.device), ("time", self.time)):
            if name is not None and name in parts:
                raise ConfigError(
                    key, name, f"is data.{parts[name]} already; a column has one part to play"
                )
            if name is not None:
                parts[name] = key
        for key, names in (("features", self.features or []), ("one_hot", self.one_hot)):
            for name in names:
                if name in parts:
                    valid = (
                        f"names {name}, which is data.{parts[name]} already; a column has one part"
                        " to play"
                    )
                    raise ConfigError(key, names, valid)
                parts[name] = key

    def load(self) -> Dataset:
        return self.of(read_table(locate(self.path), self.max_bytes))

    def of(self, table: dict[str, Column]) -> Dataset:
        """The data set of the columns ``table``.

        Raises ``ConfigError`` for a column that is missing or unfit for its role.
        """
        self._require_columns(table)
        chosen = self._chosen(table)
        x, columns, scaled = self._x(table, chosen)
        y, class_names = self._y(table[self.label])
        self._warn_of_copies(
            table, [*chosen, *self.one_hot], y[:, 0] if y.ndim > 1 and y.shape[1] == 1 else y
        )
        owner, owner_names = (
            (None, None)
            if self.device is None
            else codes_of(table[self.device], "device", self.device)
        )
        time = None if self.time is None else moments_of(table[self.time], self.time)
        held = (
            latest(owner, time, self.test, self.validation)
            if self.later and time is not None
            else (None, None)
        )
        samples = Samples(
            x,
            y,
            len(class_names),
            owner=owner,
            time=time,
            validation=held[0],
            test=held[1],
            columns=columns,
            scaled=scaled,
            origin=("path", self.path),
            target=("label", self.label),
            owner_names=owner_names,
            class_names=class_names or None,
        )
        return prepare(
            samples,
            self.seed,
            test=self.test,
            validation=self.validation,
            scale=self.scale,
            target_scale=self.target_scale,
        )

    def _require_columns(self, table: dict[str, Column]) -> None:
        """Refuse a name that is no column of the table."""
        named = (
            ("label", self.label),
            ("device", self.device),
            ("time", self.time),
            *(("one_hot", n) for n in self.one_hot),
        )
        for key, name in named:
            if name is not None and name not in table:
                raise ConfigError(
                    key, name, f"is not a column of {self.path}; its columns are {listed(table)}"
                )

    def _chosen(self, table: dict[str, Column]) -> list[str]:
        """The names of the feature columns, without those of ``one_hot``."""
        others = [
            name
            for name in table
            if name not in (self.label, self.device, self.time, *self.one_hot)
        ]
        for name in self.features or []:
            if name not in others:
                raise ConfigError(
                    "features", name, f"is not a feature of {self.path}; there are {listed(others)}"
                )
            if not is_numeric(table[name]):
                raise ConfigError(
                    "features",
                    name,
                    f"is not numeric: {first_text(table[name])}; give numeric columns",
                )
        return self.features or self._numeric_ones(table, others)

    def _x(
        self, table: dict[str, Column], chosen: list[str]
    ) -> tuple[Numbers | list[Numbers], tuple[str, ...], int | None]:
        """The features in blocks, each of its own type; the features' names; and how many blocks
        are to be scaled (None: all).
        """
        if len(chosen) == 1 and table[chosen[0]].ndim > 2:
            return table[chosen[0]], (), None
        parts = [table[name].reshape(len(table[name]), -1) for name in chosen]
        names = [
            name if part.shape[1] == 1 else f"{name}[{i}]"
            for name, part in zip(chosen, parts, strict=True)
            for i in range(part.shape[1])
        ]
        bits = [one_hot_of(table[name], name) for name in self.one_hot]
        size = (
            4 * len(parts[0]) * sum(part.shape[1] for part in (*parts, *(bit for bit, _ in bits)))
        )
        require_unpacked_room(self.path, size, self.max_bytes)
        blocks = [*parts, *(bit for bit, _ in bits)]
        return (
            blocks,
            (*names, *(n for _, each in bits for n in each)),
            len(parts) if bits else None,
        )

    def _numeric_ones(self, table: dict[str, Column], others: list[str]) -> list[str]:
        unnamed = [name for name in others if nameless(name)]
        if unnamed:
            what = (
                "a column that has no name"
                if len(unnamed) == 1
                else f"{len(unnamed)} columns that have no name"
            )
            verb = "is" if len(unnamed) == 1 else "are"
            hint = f"data.features=[…] takes it in ({listed(unnamed)})"
            warnings.warn(
                f"{self.path}: {what}, most often a row number, {verb} left out; {hint}",
                stacklevel=2,
            )
        others = [name for name in others if name not in unnamed]
        chosen = [name for name in others if is_numeric(table[name])]
        left_out = [name for name in others if name not in chosen]
        for name in left_out:
            if table[name].ndim == 1 and not is_text(table[name]).mean() >= 0.5:
                valid = (
                    f"column {name!r} is numeric but for {first_text(table[name])}; mend it, or"
                    " list data.features"
                )
                raise ConfigError("path", self.path, valid)
        if not chosen:
            raise ConfigError(
                "path", self.path, f"has no numeric feature; its columns are {listed(table)}"
            )
        if left_out:
            warnings.warn(
                f"{self.path}: columns that are not numeric are left out: {listed(left_out)}",
                stacklevel=2,
            )
        for name in chosen:
            if counts_rows(table[name]):
                found = (
                    f"column {name!r} counts the rows, and tells the label where they are sorted"
                    " by it"
                )
                warnings.warn(
                    f"{self.path}: {found}; data.features=[…] leaves it out", stacklevel=2
                )
        return chosen

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

    def _y(self, column: Column) -> tuple[Numbers, Names]:
        """The class of each row and the classes' names, or regression targets and no names."""
        if self.task == "regression":
            if not is_numeric(column):
                valid = f"is not numeric: {first_text(column)}; regression needs numbers"
                raise ConfigError("label", self.label, valid)
            return column.reshape(len(column), -1), ()
        if column.ndim != 1:
            raise ConfigError(
                "label",
                self.label,
                f"has shape {list(column.shape)}; one label per sample is needed",
            )
        codes, names = codes_of(column, "label", self.label)
        if not 2 <= len(names) < max(3, len(column)):
            found = "one value in all rows" if len(names) < 2 else "another value in every row"
            raise ConfigError(
                "label",
                self.label,
                f"has {found}; at least two classes with several rows are needed",
            )
        return codes, names
