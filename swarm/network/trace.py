"""Traces of who was there, written by strangers, read without trusting them."""

from __future__ import annotations

import csv
import io
import math

import numpy as np

from swarm.errors import ConfigError
from swarm.network.base import Bools, Floats, Ints
from swarm.topology.file import read_capped
from swarm.topology.readers import text_of

COLUMNS = ("time", "device", "online")
TRUTH = {"1": True, "0": False, "true": True, "false": False}


def read_trace(path: str | None, devices: int, max_mib: float, max_rows: int) -> tuple[Floats, Ints, Bools]:
    """Time, device and state of each line of the CSV file at ``path``. Raises ``ConfigError`` saying what is wrong where."""
    for key, cap in (("max_mib", max_mib), ("max_rows", max_rows)):
        if not cap > 0:
            raise ConfigError(key, cap, "must be above 0")
    if not path:
        raise ConfigError("path", path, f"must name a CSV file with the columns {', '.join(COLUMNS)}")
    data = read_capped(path, max_mib)
    try:
        return _parse(data, devices, max_rows)
    except (ValueError, csv.Error) as error:
        raise ConfigError("path", path, f"cannot be read as a trace: {error}") from None


def _parse(data: bytes, devices: int, max_rows: int) -> tuple[Floats, Ints, Bools]:
    lines = csv.reader(io.StringIO(text_of(data), newline=""), strict=True)
    heads = [head.strip().lower() for head in next(lines, [])]
    place = _places(heads)
    found: list[tuple[float, int, bool]] = []
    for row in lines:
        if not row:
            continue
        if len(found) >= max_rows:
            raise ValueError(f"more than max_rows={max_rows} lines")
        try:
            if len(row) != len(heads):
                raise ValueError(f"needs {len(heads)} fields, found {len(row)}")
            found.append(_line([row[i].strip() for i in place], devices))
        except ValueError as error:
            raise ValueError(f"line {lines.line_num}: {error}") from None
    if not found:
        raise ValueError("there is no line below the heading")
    time, device, online = zip(*found, strict=True)
    return np.asarray(time), np.asarray(device, np.int64), np.asarray(online, bool)


def _places(heads: list[str]) -> list[int]:
    valid = f"the columns are {', '.join(COLUMNS)}"
    for head in heads:
        if head not in COLUMNS:
            raise ValueError(f"unknown column {head[:40]!r} in the heading; {valid}")
    for column in COLUMNS:
        if heads.count(column) != 1:
            what = "missing" if column not in heads else "there twice"
            raise ValueError(f"the column {column!r} is {what} in the heading; {valid}")
    return [heads.index(column) for column in COLUMNS]


def _line(fields: list[str], devices: int) -> tuple[float, int, bool]:
    time, device, online = fields
    try:
        seconds = float(time)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"time {time[:40]!r} must be a finite number of virtual seconds of at least 0")
    if not (device.isascii() and device.isdigit() and len(device) < 10 and int(device) < devices):
        raise ValueError(f"unknown device {device[:40]!r}; the devices are 0 to {devices - 1}")
    if online.lower() not in TRUTH:
        raise ValueError(f"online {online[:40]!r} must be 1 or 0")
    return seconds, int(device), TRUTH[online.lower()]
