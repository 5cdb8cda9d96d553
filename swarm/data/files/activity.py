"""Human activity from sensors: a folder in the layout of UCI HAR or HAPT, or one file of readings
per person.

Anguita et al., *A public domain dataset for human activity recognition using smartphones*, ESANN
2013; Reyes-Ortiz et al., Neurocomputing 171 (2016).
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from swarm.common.errors import ConfigError, counted
from swarm.common.names import coded
from swarm.common.ranges import number, room
from swarm.common.system.files import opened, size_of
from swarm.data.dataset import Dataset, Reals, Source
from swarm.data.fetch.dataset_cache import locate
from swarm.data.files.readers.columns import nameless, require_room
from swarm.data.files.readers.dialect import CsvFormat
from swarm.data.files.readers.lines import read_frame
from swarm.data.files.readers.table_files import DAMAGED, read_npy
from swarm.data.prepare import Samples, latest, prepare
from swarm.data.scaling import Scale

_TEXT = CsvFormat(sep="blank", decimal=".", encoding="utf-8", header=False)
_CSV = CsvFormat(header=True)
# features [S, F], labels [S], who [S]
Person = tuple[Reals, npt.NDArray[np.generic], npt.NDArray[np.generic]]


class Activity(Source):
    """Sensor samples with an activity as label and a person as owner, from one of two kinds of
    folder, which are told apart by their contents.

    *Features*, the layout of HAR and HAPT: folders ``train`` and ``test`` (or ``Train``, ``Test``),
    each with ``X_….txt``, ``y_….txt`` and ``subject_….txt`` (or ``subject_id_….txt``), whose
    numbers are separated by blanks. The people of both folders are pooled.

    *Readings*, one file per person: ``NAME.csv`` with a heading and the column ``label``, or
    ``NAME.npy`` ``[T, channels + 1]`` whose last column is the label. Rows follow one another in
    time. A sample is ``window`` rows, the next one begins ``step`` rows later (null: window), and
    windows of several activities are left out; a sample's ``x`` is ``[window · channels]``, or
    ``[channels, window]`` with ``flat=False``. A negative label means that the activity is unknown;
    such windows are left out too.

    ``later`` holds out the last windows of each activity of each person, instead of random ones.
    Neighbouring windows share readings if ``step < window``.
    """

    def __init__(
        self,
        path: str | None = None,
        window: int = 128,
        step: int | None = None,
        label: str = "label",
        flat: bool = True,
        later: bool = True,
        scale: Scale = "standard",
        test: float = 0.2,
        validation: float = 0.1,
        max_mb: int = 1024,
        seed: int = 0,
    ) -> None:
        number("window", window, 1, 1e6)
        number("max_mb", max_mb, 1)
        if step is not None:
            number("step", step, 1)
        if not path:
            raise ConfigError(
                "path", "null", "must be a folder of readings by person, or one of UCI HAR or HAPT"
            )
        self.path, self.window, self.step, self.label, self.flat = (
            path,
            window,
            step or window,
            label,
            flat,
        )
        self.later, self.scale, self.test, self.validation = later, scale, test, validation
        self.max_bytes, self.seed = max_mb << 20, seed
        self.read_bytes = 0

    def load(self) -> Dataset:
        folder = locate(self.path)
        if not folder.is_dir():
            raise ConfigError(
                "path",
                self.path,
                "is not a folder; give one of readings by person, or of UCI HAR or HAPT",
            )
        self.read_bytes = 0
        parts = [
            found
            for name in ("train", "test", "Train", "Test")
            if (found := folder / name).is_dir()
        ]
        files = sorted([*folder.glob("*.csv"), *folder.glob("*.npy")])
        if parts:
            people = [self._features(part) for part in parts]
        elif files:
            people = [self._readings(file) for file in files]
        else:
            raise ConfigError(
                "path",
                self.path,
                "has neither train and test folders, nor .csv or .npy files by person",
            )
        if len({person[0].shape[1] for person in people}) > 1:
            raise ConfigError(
                "path",
                self.path,
                "has files of different numbers of columns; all must have the same",
            )
        return self._dataset(*(np.concatenate(each) for each in zip(*people, strict=True)))

    def _dataset(
        self, x: Reals, y: npt.NDArray[np.generic], who: npt.NDArray[np.generic]
    ) -> Dataset:
        if not len(y):
            valid = (
                f"is longer than every stretch of one activity in {self.path}; a shorter window"
                " would do"
            )
            raise ConfigError("window", self.window, valid)
        try:
            label_S, labels = coded(y, f"label={self.label}")
            owner, people = coded(who, f"path={self.path}")
        except ValueError as error:
            raise ConfigError(
                "path", self.path, f"has a label or person that is no name: {error}"
            ) from None
        if len(labels) < 2:
            cut = f"data.window={self.window} and data.step={self.step}"
            raise ConfigError(
                "path",
                self.path,
                f"has one activity in all samples of {cut}; at least two are needed",
            )
        rising = np.arange(len(y))
        # The last windows of each person's each activity are held out, so all three sets have all.
        doing = owner * len(labels) + label_S
        held = latest(doing, rising, self.test, self.validation) if self.later else (None, None)
        samples = Samples(
            x,
            label_S,
            len(labels),
            owner=owner,
            time=rising,
            validation=held[0],
            test=held[1],
            origin=("path", self.path),
            owner_names=people,
            class_names=labels,
        )
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )

    # --- files ------------------------------------------------------------------------------------

    def _features(self, folder: Path) -> Person:
        x, y, who = (self._text(folder, start) for start in ("X", "y", "subject"))
        if not len(x) == len(y) == len(who):
            raise ConfigError(
                "path",
                folder,
                f"has {counted(len(x), 'sample')},"
                f" {counted(len(y), 'label')} and {counted(len(who), 'subject')}",
            )
        return x, y[:, 0], who[:, 0]

    def _text(self, folder: Path, start: str) -> Reals:
        found = [
            file
            for file in sorted(folder.iterdir())
            if re.fullmatch(rf"{start}(_id)?_\w+\.txt", file.name)
        ]
        if len(found) != 1:
            raise ConfigError("path", folder, f"needs one file {start}_….txt; it has {len(found)}")
        values = self._table(found[0], header=None).to_numpy()
        if values.dtype.kind not in "biuf":
            raise ConfigError("path", found[0], "must have numbers in every column")
        return values.astype(np.float64)

    def _readings(self, file: Path) -> Person:
        if file.suffix == ".csv":
            frame = self._table(file, header=0)
            if self.label not in frame:
                valid = (
                    f"is not a column of {file}; its columns are"
                    f" {', '.join(map(str, frame.columns[:30]))}"
                )
                raise ConfigError("label", self.label, valid)
            label_T, values = frame.pop(self.label).to_numpy(), self._named(file, frame).to_numpy()
        else:
            table = self._npy(file)
            label_T, values = table[:, -1].astype(np.int64), table[:, :-1]
        if values.dtype.kind not in "biuf" or not values.shape[1]:
            raise ConfigError("path", file, "must have numbers in every column but the label")
        x, y = self._windows(values.astype(np.float64), label_T)
        if len(values) < self.window:
            warnings.warn(
                f"{file.name} has {counted(len(values), 'row')}, fewer than"
                f" data.window={self.window}",
                stacklevel=2,
            )
        return x, y, np.full(len(y), file.stem)

    def _named(self, file: Path, frame: pd.DataFrame) -> pd.DataFrame:
        """The columns that have a name; a column without one is most often the number of the row,
        from which the time could be learnt.
        """
        left_out = [name for name in frame.columns if name != self.label and nameless(str(name))]
        if left_out:
            warnings.warn(
                f"{file.name}: a column that has no name, most often a row number, is left out",
                stacklevel=2,
            )
        return frame.drop(columns=left_out)

    def _windows(
        self, values_TC: Reals, label_T: npt.NDArray[np.generic]
    ) -> tuple[Reals, npt.NDArray[np.generic]]:
        begins = np.arange(0, len(values_TC) - self.window + 1, self.step)
        room("step", self.step, len(begins), self.window * values_TC.shape[1], each=8)
        place = begins[:, None] + np.arange(self.window)
        of = label_T[place]
        pure = (of == of[:, :1]).all(1)
        if label_T.dtype.kind in "if":
            pure &= of[:, 0] >= 0
        x = values_TC[place[pure]]  # [S, window, channels]
        return (
            x.reshape(len(x), self.window * x.shape[2]) if self.flat else x.transpose(0, 2, 1)
        ), of[pure, 0]

    def _table(self, file: Path, header: Literal[0] | None) -> pd.DataFrame:
        with opened(file) as stream:
            self._count(stream)
            try:
                return read_frame(file, stream, self.max_bytes, _TEXT if header is None else _CSV)
            except ConfigError:
                raise
            except DAMAGED as error:
                raise ConfigError(
                    "path", file, f"cannot be read ({type(error).__name__}); check the file"
                ) from error

    def _npy(self, file: Path) -> Reals:
        with opened(file) as stream:
            self._count(stream)
            try:
                table = read_npy(stream)
            except DAMAGED as error:
                raise ConfigError(
                    "path", file, f"cannot be read ({type(error).__name__}); check the file"
                ) from error
        if table.ndim != 2 or table.shape[1] < 2 or table.dtype.kind not in "biuf":
            raise ConfigError(
                "path",
                file,
                f"has shape {list(table.shape)}; [rows, channels + 1] numbers are needed",
            )
        return np.asarray(table, dtype=np.float64)

    def _count(self, file: BinaryIO) -> None:
        """Add a file to the bytes that are read, and refuse more than ``max_mb`` for all files."""
        self.read_bytes += size_of(file)
        require_room(self.path, self.read_bytes, self.max_bytes)
