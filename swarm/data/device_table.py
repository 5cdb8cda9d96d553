"""A table of devices that learn otherwise than the others: with a learning rate, mini-batches,
local steps or local epochs of their own.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from swarm.common.arrays import FixedArrays, fixed
from swarm.common.errors import ConfigError, meant
from swarm.common.names import choices, finder
from swarm.common.system.files import content

KEY = "train.devices"
MOST_BYTES = 64 << 20
COLUMNS = {"lr": 1e30, "batch": 1_000_000, "local_steps": 1_000_000, "local_epochs": 10_000}
"""The columns of numbers beside ``device``, and the largest value of each; all but the first are
whole."""
COHORT = "cohort"
"""The column that names the cohort of a device."""


@dataclass(frozen=True)
class DeviceTable(FixedArrays):
    """What each device does by the table, ``[N]`` for each column that it has; NaN where the device
    learns as the config says. ``sha256`` is the file's, and ``cohorts`` has the names in its column
    ``cohort``, with None where that is empty; it is None without the column. Nobody can write to
    the arrays.
    """

    columns: Mapping[str, npt.NDArray[np.float64]]
    sha256: str
    cohorts: tuple[str | None, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        columns = {name: fixed(each_N) for name, each_N in self.columns.items()}
        object.__setattr__(self, "columns", columns)

    def or_else(self, name: str, default_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The whole numbers of a column, and ``default_N`` where it has none."""
        own_N = self.columns.get(name)
        if own_N is None:
            return default_N
        there_N = ~np.isnan(own_N)
        return np.where(there_N, np.where(there_N, own_N, 0).astype(np.int64), default_N)


def read_device_table(path: str, names: Sequence[str | None] | None, devices: int) -> DeviceTable:
    """Read a table of comma-separated values with a column ``device`` (names or numbers) and one or
    more of :data:`COLUMNS` and :data:`COHORT`. Devices without a row, and empty cells, are as the
    config says.

    Raises :class:`ConfigError` on ``train.devices`` that names the file, and the line if it can.
    """
    data = content(Path(path), MOST_BYTES, f"{MOST_BYTES >> 20} MiB", KEY, path)
    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        head = [cell.strip() for cell in next(rows, [])]
        _require_head(path, head)
        find, values = finder(names, devices), {n: np.full(devices, np.nan) for n in head}
        cohorts: list[str | None] = [None] * devices
        seen: dict[int, int] = {}
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            line = rows.line_num
            if len(cells) != len(head):
                raise _wrong(path, line, f"has {len(cells)} cells, and the heading {len(head)}")
            row = dict(zip(head, (cell.strip() for cell in cells), strict=True))
            device = _device(path, line, row.pop("device"), find, names, devices)
            if device in seen:
                why = f"names the device {row_name(names, device)}, as line {seen[device]} does"
                raise _wrong(path, line, f"{why}; each may stand there once")
            seen[device] = line
            cohorts[device] = row.pop(COHORT, None) or None
            for name, value in _values(path, line, row):
                values[name][device] = value
    except UnicodeDecodeError:
        raise ConfigError(KEY, path, "is no text in UTF-8") from None
    except csv.Error as error:
        raise ConfigError(KEY, path, f"is no table of separated values ({error})") from None
    if not seen:
        raise ConfigError(KEY, path, "has no row with a device")
    del values["device"]
    named = values.pop(COHORT, None) is not None
    digest = hashlib.sha256(data).hexdigest()
    return DeviceTable(values, digest, tuple(cohorts) if named else None)


def row_name(names: Sequence[str | None] | None, device: int) -> str:
    """What a message calls a device."""
    name = None if names is None else names[device]
    return str(device) if name is None else name


def _require_head(path: str, head: list[str]) -> None:
    known = ["device", *COLUMNS, COHORT]
    for name in head:
        if name not in known:
            valid = f"has a column {name!r}; valid: {', '.join(known)}{meant(name, known)}"
            raise ConfigError(KEY, path, valid)
        if head.count(name) > 1:
            raise ConfigError(KEY, path, f"has the column {name} twice")
    if "device" not in head or len(head) < 2:
        needed = f"a column device and at least one of {', '.join(known[1:])}"
        raise ConfigError(KEY, path, f"needs a first line with {needed}")
    if "local_steps" in head and "local_epochs" in head:
        valid = "has the columns local_steps and local_epochs, of which only one can be"
        raise ConfigError(KEY, path, valid)


def _device(
    path: str,
    line: int,
    cell: str,
    find: Callable[[object], int | None],
    names: Sequence[str | None] | None,
    devices: int,
) -> int:
    found = find(cell)
    if found is None:
        valid = choices(names, devices, cell)
        raise _wrong(path, line, f"names the device {cell!r}, which is not there; valid: {valid}")
    return found


def _values(path: str, line: int, row: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, cell in row.items():
        if not cell:
            continue
        whole, most = name != "lr", COLUMNS[name]
        try:
            value = float(int(cell)) if whole else float(cell)
        except (ValueError, OverflowError):
            value = math.nan
        if not 0 < value <= most or math.isinf(value):
            valid = f"a whole number from 1 to {int(most):,}" if whole else "a number above 0"
            raise _wrong(path, line, f"has {name}={cell}; it must be {valid}, or empty")
        yield name, value


def _wrong(path: str, line: int, why: str) -> ConfigError:
    return ConfigError(KEY, path, f"line {line} {why}")
