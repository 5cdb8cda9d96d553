"""Fleets from published measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.common.system.dataset_cache import locate
from swarm.communication.network.base import Floats
from swarm.communication.network.fleet import Sharing, UniformFleet

DOWN, UP, TESTS = "avg_d_kbps", "avg_u_kbps", "tests"


class SpeedtestFleet(UniformFleet):
    """Devices whose lines were measured: each has the downlink and uplink of a random row of a file
    in the format of Ookla's open Speedtest tiles, with the columns ``avg_d_kbps`` and
    ``avg_u_kbps`` (kbit/s), as CSV, JSON lines or Parquet. Rows are drawn with replacement from the
    seed, as often as their ``tests`` say if there is such a column; other columns are not used.
    All else is as in :class:`UniformFleet`.

    Raises ``ConfigError`` for a file that is missing, too large or damaged, for a missing column,
    and for a rate or number of tests that is not above 0, with its row.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        flops: float,
        memory: float,
        active: float,
        idle: float,
        radio_send: float,
        radio_receive: float,
        path: str | None = None,
        max_mib: float = 1024.0,
        stragglers: float = 0.0,
        slowdown: float = 1.0,
        sharing: Sharing = "uplink",
    ) -> None:
        number("max_mib", max_mib, 0, open_low=True)
        down_R, up_R, tests_R = _measured(path, max_mib)
        super().__init__(
            devices, seed, flops, memory, 1.0, 1.0, active, idle, radio_send, radio_receive,
            stragglers, slowdown, sharing,
        )  # fmt: skip
        draw_N = Keys(seed, "network.speedtest").uniform(np.arange(devices), 0, 1)[:, 0]
        until_R = np.cumsum(tests_R)
        row_N = np.searchsorted(until_R, draw_N * until_R[-1], side="right")
        row_N = np.minimum(row_N, len(until_R) - 1)
        self._hardware.downlink[:] = 1000.0 * down_R[row_N]
        self._hardware.uplink[:] = 1000.0 * up_R[row_N]


def _measured(path: str | None, max_mib: float) -> tuple[Floats, Floats, Floats]:
    """The downlinks and uplinks of all rows in kbit/s, and their numbers of tests, ``[R]`` each."""
    if not path:
        valid = f"must name a table with the columns {DOWN} and {UP}, and perhaps {TESTS}"
        raise ConfigError("path", path, valid)
    from swarm.data.files.readers.table_files import read_table  # it takes pandas and pyarrow

    table = read_table(Path(locate(path)), int(max_mib * 2**20))
    down_R, up_R = (_positive(path, table.get(name), name) for name in (DOWN, UP))
    tests_R = _positive(path, table[TESTS], TESTS) if TESTS in table else np.ones(len(down_R))
    return down_R, up_R, tests_R


def _positive(path: str, column: npt.NDArray[np.generic] | None, name: str) -> Floats:
    if column is None:
        raise ConfigError("path", path, f"has no column {name}; {DOWN} and {UP} are needed")
    try:
        found = column.astype(np.float64)
    except (TypeError, ValueError):
        raise ConfigError("path", path, f"has a column {name} that is not of numbers") from None
    good_R = np.isfinite(found) & (found > 0)
    if found.ndim != 1 or not good_R.all():
        row = 0 if found.ndim != 1 else int((~good_R).argmax())
        valid = f"has {name}={found[row]} in row {row + 1}; it must be a number above 0"
        raise ConfigError("path", path, valid)
    return np.asarray(found, np.float64)
