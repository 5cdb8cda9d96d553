"""Who is there: laws of the random processes, traces, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.network.base import Bools, Churn
from swarm.communication.network.churn import LateJoin, MarkovChurn, PermanentFailure, Trace
from swarm.communication.network.delay import ConstantDelay
from swarm.communication.network.network import Network
from swarm.communication.network.outage import NetworkPartition
from swarm.communication.topology.regular import Ring
from tests.support import experiment, prepared, records

DEGREE = np.array([2, 5, 5, 1, 0])


def test_markov_starts_and_stays_stationary() -> None:
    """A fifth is away in every round, and a device keeps its state with e^{−(a+b)t} beyond chance
    (10,000 devices).
    """
    churn = MarkovChurn(10_000, 0, tick=2.0, leave_rate=0.025, return_rate=0.1)
    there = np.stack([churn.online(round) for round in range(1, 61)])
    assert np.abs(there.mean(1) - 0.8).max() < 5 * np.sqrt(0.8 * 0.2 / 10_000)
    for lag in (1, 5, 20):
        together = (there[lag:] & there[:-lag]).mean() - there[lag:].mean() * there[:-lag].mean()
        assert together / 0.16 == pytest.approx(np.exp(-0.125 * 2.0 * lag), abs=0.01)


def test_markov_is_a_pure_function_of_the_round() -> None:
    whole = MarkovChurn(50, 3, tick=0.5)
    forward = [whole.online(round) for round in range(1, 80)]
    for round in (79, 5, 6, 7, 40, 1, 78):
        np.testing.assert_array_equal(
            MarkovChurn(50, 3, tick=0.5).online(round), forward[round - 1]
        )
        np.testing.assert_array_equal(whole.online(round), forward[round - 1])


class Rotates(Churn):
    """Device r is away in round r; the part changes and returns one array of its own."""

    def __init__(self, devices: int) -> None:
        self.there_N = np.ones(devices, bool)

    def online(self, round: int) -> Bools:
        self.there_N[:] = True
        self.there_N[round] = False
        return self.there_N


def test_what_a_part_has_said_of_a_round_stays_whatever_it_does_to_its_own_array() -> None:
    churn = Rotates(5)
    network = Network(5, 0, churn=churn)
    found = [network.online(round) for round in (1, 2, 3)]
    for round, each in enumerate(found, 1):
        assert each is not None
        assert np.flatnonzero(~each).tolist() == [round]
        assert not each.flags.writeable
    assert churn.there_N.flags.writeable


def test_no_rates_no_churn() -> None:
    assert MarkovChurn(5, 0, 1.0, 0.0, 0.0).online(7).all()


def test_a_trace_holds_from_its_time_on(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(
        "device,online,time\r\n2,0,1.0\r\n2,1,3.5\r\n\r\n0,false,0\r\n2,0,3.5\r\n2,1,9\r\n"
    )
    churn = Trace(4, tick=1.0, path=str(file))
    there = [churn.online(round).astype(int).tolist() for round in (1, 2, 4, 5, 9, 10)]
    assert there == [
        [0, 1, 1, 1],
        [0, 1, 0, 1],
        [0, 1, 0, 1],
        [0, 1, 0, 1],
        [0, 1, 0, 1],
        [0, 1, 1, 1],
    ]
    assert Trace(4, tick=1.0, path=str(file), before=False).online(1).tolist() == [
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,device\n0,1\n", "the column 'online' is missing"),
        ("time,device,online,x\n", "unknown column 'x'"),
        ("time,time,device,online\n", "the column 'time' is there twice"),
        ("time,device,online\n0,9,1\n", "line 2: unknown device '9'; the devices are 0 to 3"),
        ("time,device,online\n0,-1,1\n", "unknown device '-1'"),
        ("time,device,online\n-1,1,1\n", "time '-1' must be"),
        ("time,device,online\nnan,1,1\n", "time 'nan' must be"),
        ("time,device,online\n0,1,2\n", "online '2' must be 1 or 0"),
        ("time,device,online\n0,1\n", "line 2: has 2 fields, the heading 3"),
        ("time,device,online\n", "no line below the heading"),
        ("", "the column 'time' is missing"),
        ("time,device,online\n0,1,1\0\n", "zero bytes"),
        ('time,device,online\n0,"1,1\n', "cannot be read as a trace"),
        ("time,device,online\n0,1,1\n0,2,1\n0,3,1\n", "more than max_rows=2 lines"),
    ],
)
def test_bad_traces(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"^path=.*{said}"):
        Trace(4, 1.0, str(file), max_rows=2)


def test_bad_trace_files(tmp_path: Path) -> None:
    big = tmp_path / "big.csv"
    big.write_bytes(b"x" * 2000)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("time,device,online\n0,é,1".encode("latin1"))
    for path, said in (
        (None, "must name a CSV file"), (str(tmp_path), "existing regular file"), ("a\0b", "no zero byte"),
        (str(big), "larger than max_mib"), (str(latin), "not UTF-8"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            Trace(4, 1.0, path, max_mib=0.001)


def test_crashes_are_for_good_and_the_hub_is_the_best_connected() -> None:
    churn = PermanentFailure(10, 0, 1.0, np.zeros(10, np.int64), fraction=0.3, at=4.0)
    assert [int(churn.online(round).sum()) for round in (1, 4, 5, 99)] == [10, 10, 7, 7]
    np.testing.assert_array_equal(churn.members(9), churn.online(9))
    assert np.flatnonzero(
        ~PermanentFailure(5, 0, 1.0, DEGREE, at=0.0, hub=True).online(1)
    ).tolist() == [1]


def test_newcomers_arrive_between_start_and_end() -> None:
    churn = LateJoin(100, 0, 1.0, fraction=0.4, start=5.0, end=15.0)
    counts = [int(churn.online(round).sum()) for round in range(1, 20)]
    assert counts[:5] == [60] * 5
    assert counts == sorted(counts)
    assert counts[15:] == [100] * 4


def test_a_partition_cuts_between_its_times_and_heals() -> None:
    graph, outage = (
        Ring(10).graph(1),
        NetworkPartition(10, 0, tick=1.0, parts=2, start=2.0, end=4.0),
    )
    assert [int((~outage.up(round, graph)).sum()) for round in (1, 2, 3, 4, 5)] == [0, 0, 4, 4, 0]
    cut = graph.src_E[~outage.up(3, graph)]
    assert sorted(set(cut.tolist())) == [0, 4, 5, 9]


@pytest.mark.parametrize(("tick", "ticks"), [(0.1, 3), (0.1, 7), (0.3, 7), (0.3, 9), (0.7, 3)])
def test_a_time_that_is_a_whole_number_of_ticks_is_one(
    tmp_path: Path, tick: float, ticks: int
) -> None:
    """0.3 / 0.1 is 2.9999999999999996 in float64, 2.1 / 0.3 is 7.000000000000001, and 3 · 0.7 is
    below 2.1.
    """
    at = float(f"{tick * ticks:.10g}")
    crash = PermanentFailure(4, 0, tick, np.zeros(4, np.int64), at=at, fraction=0.5)
    (tmp_path / "trace.csv").write_text(f"time,device,online\n{at},0,0\n")
    trace, graph = Trace(4, tick, str(tmp_path / "trace.csv")), Ring(4).graph(1)
    cut, healed = (
        NetworkPartition(4, 0, tick, start=start, end=end) for start, end in ((at, 1e6), (0.0, at))
    )
    for now, gone in ((ticks, False), (ticks + 1, True)):
        assert crash.online(now).all() != gone
        assert trace.online(now).all() != gone
        assert cut.up(now, graph).all() != gone
        assert healed.up(now, graph).all() == gone
    network = Network(4, 0, tick, delay=ConstantDelay(at), max_delay=20)
    assert network.reach == ticks
    assert (network.outcomes(1, graph).ticks_E == ticks).all()


def test_only_members_are_measured() -> None:
    last = records(prepared("churn=crash", "churn.fraction=0.5", "churn.at=1", "topology=ring"))[-1]
    assert last.devices is not None
    assert len(last.devices["device"]) == 6
    assert last.values["awake"] == 6
    assert last.values["ensemble_accuracy"] is None


BAD = [
    ("churn=markov", "churn.leave_rate=-1", "churn.leave_rate=-1: must be at least 0"),
    ("churn=markov", "churn.return_rate=0", "churn.return_rate=0: must be above 0; churn=crash"),
    ("churn=crash", "churn.fraction=1.5", "churn.fraction=1.5: must be between 0 and 1"),
    ("churn=crash", "churn.fraction=1", "churn.fraction=1: must leave at least one of the 12 devices"),
    ("churn=crash", "churn.at=-3", "churn.at=-3: must be at least 0"),
    ("churn=joining", "churn.fraction=1", "churn.fraction=1: must leave at least one of the 12 devices at the start"),
    ("churn=joining", "churn.end=-3", "churn.end=-3: must be a finite time not before start=0"),
    ("churn=trace", "seed=0", "churn.path=null: must name a CSV file"),
    ("outage=split", "outage.parts=13", "outage.parts=13: must lie between 2 and devices=12"),
    ("outage=split", "outage.end=1", "outage.end=1: must be a finite time not before start=10"),
    ("network.drop=1.0", "seed=0", "network.drop=1.0: must be"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two", "said"), BAD)
def test_bad_options(one: str, two: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment(one, two)
    assert str(caught.value).startswith(said)
