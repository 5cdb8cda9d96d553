"""Fleets, delays and churn from published measurements."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.communication.network.base import Bools, Churn, Delay, Floats, Ints
from swarm.communication.network.fleet import Fleet, Hardware, Sharing, hardware_like
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.readers.formats import read_capped
from swarm.data.fetch.dataset_cache import locate

DOWN, UP, LATENCY, TESTS = "avg_d_kbps", "avg_u_kbps", "avg_lat_ms", "tests"


@dataclass(eq=False)
class RecordedFleet(Fleet):
    """Devices whose lines, and perhaps speeds, are in a file; memory, power and radio are the same
    for all.

    Raises ``ConfigError`` as :meth:`recorded` does, and for figures out of range.
    """

    devices: int
    seed: int
    _: KW_ONLY
    memory: float
    active: float
    idle: float
    radio_send: float
    radio_receive: float
    path: str | None = None
    max_mib: float = 1024.0
    stragglers: float = 0.0
    slowdown: float = 1.0
    sharing: Sharing = "uplink"

    def __post_init__(self) -> None:
        recorded = self.recorded()
        super().__init__(self.seed, self.stragglers, self.slowdown, self.sharing)
        self._hardware = hardware_like(self.devices, {**vars(self), **recorded})

    @abstractmethod
    def recorded(self) -> dict[str, float | Floats]:
        """The ``flops`` of all devices or of each, ``[N]``, and the ``downlink`` and the ``uplink``
        of each.

        Raises ``ConfigError`` for a file that is missing, too large or malformed."""

    @property
    def hardware(self) -> Hardware:
        return self._hardware


@dataclass(eq=False, kw_only=True)
class SpeedtestFleet(RecordedFleet):
    """Devices whose lines were measured: each has the downlink and uplink of a random row of a file
    in the format of Ookla's open Speedtest tiles, with the columns ``avg_d_kbps`` and
    ``avg_u_kbps`` (kbit/s), as CSV, JSON lines or Parquet. Rows are drawn with replacement from the
    seed, as often as their ``tests`` say if there is such a column; other columns are not used.

    Raises ``ConfigError`` for a file that is missing, too large or damaged, for a missing column,
    and for a rate or number of tests that is not above 0, with its row.
    """

    flops: float

    def recorded(self) -> dict[str, float | Floats]:
        down_N, up_N = _measured(self.path, self.max_mib, (DOWN, UP), self.devices, self.seed)
        return {"flops": self.flops, "downlink": 1000.0 * down_N, "uplink": 1000.0 * up_N}


class SpeedtestDelay(Delay):
    """Every message takes half the sum of its ends' measured round trips, (l_i + l_j) / 2: each
    device has the ``avg_lat_ms`` of a random row of a file as :class:`SpeedtestFleet` reads, and of
    the same row as its lines if both read one file.

    Raises ``ConfigError`` as :class:`SpeedtestFleet` does, about that column.
    """

    def __init__(
        self, devices: int, seed: int, path: str | None = None, max_mib: float = 1024.0
    ) -> None:
        (milliseconds_N,) = _measured(path, max_mib, (LATENCY,), devices, seed)
        self.half_N = milliseconds_N / 2000.0
        self.longest = float(2 * self.half_N.max())

    def seconds(self, graph: Graph, edge_S: Ints, draw_S: Floats) -> Floats:
        return self.half_N[graph.src_E[edge_S]] + self.half_N[graph.dst_E[edge_S]]


def _measured(
    path: str | None, max_mib: float, columns: tuple[str, ...], devices: int, seed: int
) -> list[Floats]:
    """These columns of the row of each device, ``[N]`` each; the draw does not depend on them."""
    number("max_mib", max_mib, 0, open_low=True)
    if not path:
        many = "s" if len(columns) > 1 else ""
        named = f"column{many} {' and '.join(columns)}"
        valid = f"must name a table with the {named}, and perhaps {TESTS}"
        raise ConfigError("path", path, valid)
    from swarm.data.files.readers.table_files import read_table  # it takes pandas and pyarrow

    table = read_table(Path(locate(path)), int(max_mib * 2**20))
    found = [_positive(path, table.get(name), name, columns) for name in columns]
    tests_R = (
        _positive(path, table[TESTS], TESTS, columns) if TESTS in table else np.ones(len(found[0]))
    )
    draw_N = Keys(seed, "network.speedtest").uniform(np.arange(devices), 0, 1)[:, 0]
    until_R = np.cumsum(tests_R)
    row_N = np.searchsorted(until_R, draw_N * until_R[-1], side="right")
    row_N = np.minimum(row_N, len(until_R) - 1)
    return [each_R[row_N] for each_R in found]


def _positive(
    path: str, column: npt.NDArray[np.generic] | None, name: str, needed: tuple[str, ...]
) -> Floats:
    if column is None:
        valid = f"has no column {name}; it must have {' and '.join(needed)}"
        raise ConfigError("path", path, valid)
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


@dataclass(eq=False, kw_only=True)
class CapacityFleet(RecordedFleet):
    """Devices that compute and send as recorded clients did, by a JSON file in the format of
    FedScale's device capacities (Lai et al., *FedScale*, ICML 2022): an object with an entry for
    each client, whose ``computation`` is the milliseconds in which it predicts one sample with a
    reference model, and whose ``communication`` is the rate of its line in kbit/s, up and down.

    With F the FLOP of one prediction of that model (``reference_flop``), a device sustains
    F / (computation / 1000) FLOP/s. The default is MobileNet V2 at 224 × 224, some 300 million
    multiplications and additions (arXiv 1801.04381). Each device is a client that is drawn from the
    seed, all of them different while there are enough.

    Raises ``ConfigError`` for a file that is missing, too large or malformed, with the client and
    what is wrong about it.
    """

    reference_flop: float = 6.0e8

    def recorded(self) -> dict[str, float | Floats]:
        number("reference_flop", self.reference_flop, 0, open_low=True)
        path, flop = self.path, self.reference_flop
        entries = _entries(path, self.max_mib, ("computation", "communication"))
        each = [_capacity(path, name, entry, flop) for name, entry in entries.items()]
        order = Keys(self.seed, "network.capacity").generator().permutation(len(entries))
        flops_N, rate_N = np.array(each).T[:, order[np.arange(self.devices) % len(order)]]
        return {"flops": flops_N, "downlink": 1000.0 * rate_N, "uplink": 1000.0 * rate_N}


def _capacity(path: str | None, name: str, entry: Any, flop: float) -> tuple[float, float]:
    """FLOP/s, given the FLOP of a prediction, and kbit/s."""
    if not isinstance(entry, dict):
        why = "that is no object with computation and communication"
        raise _of_client(path, name, why)

    def figure(key: str) -> float:
        value = entry.get(key)
        if not _figure(value) or not value:
            why = f"whose {key} is {json.dumps(value)[:60]}; a number above 0 is needed"
            raise _of_client(path, name, why)
        return float(value)

    milliseconds, rate = figure("computation"), figure("communication")
    if not milliseconds / 1000.0 or not math.isfinite(flop / (milliseconds / 1000.0)):
        why = f"whose computation is {milliseconds:g}, in which no device does {flop:g} FLOP"
        raise _of_client(path, name, why)
    return flop / (milliseconds / 1000.0), rate


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
        entries = _entries(path, max_mib, ("active", "inactive", "finish_time"))
        clients = [_client(path, name, entry) for name, entry in entries.items()]
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


def _entries(path: str | None, max_mib: float, needed: tuple[str, ...]) -> dict[str, Any]:
    """The entry of each client of a JSON file, not looked at yet."""
    number("max_mib", max_mib, 0, open_low=True)
    if not path:
        listed = f"{', '.join(needed[:-1])} and {needed[-1]}"
        raise ConfigError("path", path, f"must name a JSON file of clients, each with {listed}")
    try:
        document = json.loads(read_capped(path, max_mib))
    except (ValueError, RecursionError) as error:
        raise ConfigError("path", path, f"is no JSON ({error}); a pickle is not read") from None
    if not isinstance(document, dict) or not document:
        raise ConfigError("path", path, "must be an object with an entry for each client")
    return document


def _of_client(path: str | None, name: str, why: str) -> ConfigError:
    return ConfigError("path", path, f"has a client {name[:40]!r} {why}")


def _client(path: str | None, name: str, entry: Any) -> tuple[Floats, Floats, float]:
    """The seconds at which a client came and went, and the length of its record."""

    def wrong(why: str) -> ConfigError:
        return _of_client(path, name, why)

    if not isinstance(entry, dict):
        raise wrong("that is no object with active, inactive and finish_time")
    found: dict[str, Floats] = {}
    for key in ("active", "inactive", "finish_time"):
        value = entry.get(key)
        listed = value if key != "finish_time" else [value]
        if not isinstance(listed, list) or not all(_figure(each) for each in listed):
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


def _figure(value: object) -> bool:
    """Whether a value of the file is a number of at least 0."""
    number_like = isinstance(value, int | float) and not isinstance(value, bool)
    return number_like and 0 <= value < 2**53  # type: ignore[operator]
