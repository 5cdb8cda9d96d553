"""Fleets and churn from published measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.common.system.dataset_cache import locate
from swarm.communication.network.base import Bools, Churn, Floats
from swarm.communication.network.fleet import Sharing, UniformFleet
from swarm.communication.topology.readers.formats import read_capped

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


class Behaviour(Churn):
    """Devices are online as recorded clients were, by a JSON file in the format of FedScale's
    behaviour trace (Lai et al., *FedScale*, ICML 2022): an object with an entry for each client,
    whose lists ``active`` and ``inactive`` are the seconds at which it came and went, in turn, and
    whose ``finish_time`` is the length of its record, after which it starts again.

    A client is online at t if active[k] ≤ t ≤ inactive[k] for some k. Each device is a client that
    is drawn from the seed, all of them different while there are enough. ``speed`` seconds of the
    file pass in a virtual second.

    Raises ``ConfigError`` for a file that is missing, too large or malformed, with the client and
    what is wrong about it.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        tick: float,
        path: str | None = None,
        speed: float = 1.0,
        max_mib: float = 1024.0,
    ) -> None:
        number("speed", speed, 0, open_low=True)
        number("max_mib", max_mib, 0, open_low=True)
        clients = _clients(path, max_mib)
        order = Keys(seed, "network.behaviour").generator().permutation(len(clients))
        chosen = [clients[int(order[i % len(order)])] for i in range(devices)]
        self.step = tick * speed
        self.finish_N = np.array([finish for _, _, finish in chosen])
        count_N = [len(active) for active, _, _ in chosen]
        self.device_A = np.repeat(np.arange(devices), count_N)
        self.active_A = np.concatenate([active for active, _, _ in chosen])
        self.inactive_A = np.concatenate([inactive for _, inactive, _ in chosen])

    def online(self, round: int) -> Bools:
        now_N = ((round - 1) * self.step) % self.finish_N
        now_A = now_N[self.device_A]
        here_A = (self.active_A <= now_A) & (now_A <= self.inactive_A)
        return np.bincount(self.device_A[here_A], minlength=len(self.finish_N)) > 0


def _clients(path: str | None, max_mib: float) -> list[tuple[Floats, Floats, float]]:
    """The seconds at which each client came and went, and the length of its record."""
    if not path:
        needed = "clients, each with active, inactive and finish_time"
        raise ConfigError("path", path, f"must name a JSON file of {needed}")
    try:
        document = json.loads(read_capped(path, max_mib))
    except (ValueError, RecursionError) as error:
        raise ConfigError("path", path, f"is no JSON ({error}); a pickle is not read") from None
    if not isinstance(document, dict) or not document:
        raise ConfigError("path", path, "must be an object with an entry for each client")
    return [_client(path, name, entry) for name, entry in document.items()]


def _client(path: str, name: str, entry: Any) -> tuple[Floats, Floats, float]:
    def wrong(why: str) -> ConfigError:
        return ConfigError("path", path, f"has a client {name[:40]!r} {why}")

    if not isinstance(entry, dict):
        raise wrong("that is no object with active, inactive and finish_time")
    found: dict[str, Floats] = {}
    for key in ("active", "inactive", "finish_time"):
        value = entry.get(key)
        listed = value if key != "finish_time" else [value]
        if not isinstance(listed, list) or not all(_seconds(each) for each in listed):
            raise wrong(f"whose {key} is {str(value)[:60]}; seconds of at least 0 are needed")
        found[key] = np.array(listed, np.float64)
    active, inactive, finish = found["active"], found["inactive"], float(found["finish_time"][0])
    if len(active) != len(inactive):
        raise wrong(f"that came {len(active)} times and went {len(inactive)} times")
    both = np.stack([active, inactive], 1).ravel()
    if (np.diff(both) < 0).any():
        raise wrong("that does not come and go in turn")
    if finish <= 0:
        raise wrong("whose finish_time is 0")
    return active, inactive, finish


def _seconds(value: object) -> bool:
    """Whether a value of the file is a number of seconds."""
    number_like = isinstance(value, int | float) and not isinstance(value, bool)
    return number_like and 0 <= value < 2**53  # type: ignore[operator]
