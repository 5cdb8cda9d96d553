"""Topologies that never repeat: which rounds share a graph, and how many are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.communication import messages
from swarm.communication.check_messages import check_weights
from swarm.communication.messages import MessageSchedule
from swarm.communication.network.network import Network
from swarm.communication.protocol.base import Protocol, Requirements
from swarm.communication.protocol.dpsgd import TrainThenAverage
from swarm.communication.round_messages import Traffic, traffic_of
from swarm.communication.topology.base import RECENT, Topology
from swarm.communication.topology.exponential import OnePeerExponential
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.regular import Ring


class Endless(Topology):
    period = None

    def graph(self, phase: int) -> Graph:
        return Graph.from_edges(16, [(phase % 9, 9)])


def test_phases_count_from_the_first_round() -> None:
    assert [Ring(8).phase(r) for r in (1, 2, 3)] == [0, 0, 0]
    assert [OnePeerExponential(8).phase(r) for r in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert [Endless().phase(r) for r in (1, 2, 1000)] == [0, 1, 999]


def test_a_period_is_kept_whole_and_of_endless_ones_only_the_last() -> None:
    for topology, kept in ((OnePeerExponential(16), 4), (Endless(), RECENT)):
        schedule = MessageSchedule(
            topology, "auto", TrainThenAverage(), Network(16, 0), compressed=False, devices=16
        )
        first = {round: schedule.mixing(round) for round in range(1, 5)}
        for round in range(1, 200):
            schedule.mix(round)
        assert len(schedule._kept) <= 7 * max(kept, RECENT)  # what each round needs
        assert all((schedule.mixing(round) is first[round]) == topology.recurs for round in first)


@pytest.mark.parametrize(
    ("topology", "network", "counts"),
    [(OnePeerExponential(16), Network(16, 0), 2 * 4), (Endless(), Network(16, 0), 2 * 12),
     (OnePeerExponential(16), Network(16, 0, drop=0.3), 2 * 12)],
)  # fmt: skip
def test_messages_that_repeat_are_counted_once(
    topology: Topology, network: Network, counts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round's traffic is that of a count of its own, by its graph, its losses and its bits."""
    schedule = MessageSchedule(
        topology, "auto", TrainThenAverage(), network, compressed=False, devices=16
    )
    made: list[Traffic] = []

    def count(*of: Any) -> Traffic:
        made.append(traffic_of(*of))
        return made[-1]

    monkeypatch.setattr(messages, "traffic_of", count)
    for round in range(1, 13):
        for bits in (32, 64):
            found = schedule.traffic_on_links(round, bits)
            graph, outcomes = schedule.sent(round)
            alone = traffic_of(graph, outcomes.ticks_E, bits, None)
            for name in ("sent_N", "received_N", "lost_N", "late_N"):
                np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
            assert (found.bits, found.ticks, found.bytes) == (bits, alone.ticks, alone.bytes)
    assert len(made) == counts


class Both(Protocol):
    phases, requirements = ("mix",), Requirements(conserves="both")


class Turning(Topology):
    """A directed ring, whose weights conserve both sums, but for one round: then a directed star,
    which conserves rows.
    """

    def __init__(self, period: int | None, odd: int) -> None:
        self.period, self.odd = period, odd

    def graph(self, phase: int) -> Graph:
        edges = (
            [(0, i) for i in range(1, 5)]
            if phase == self.odd
            else [(i, (i + 1) % 5) for i in range(5)]
        )
        return Graph.from_edges(5, edges, directed=True)


def _exchanges(topology: Topology) -> MessageSchedule:
    return MessageSchedule(topology, "auto", Both(), Network(5, 0), compressed=False, devices=5)


@pytest.mark.parametrize(("period", "odd"), [(12, 0), (12, 1), (12, 11), (None, RECENT - 1)])
def test_every_round_that_can_be_foreseen_is_checked_before_the_first(
    period: int | None, odd: int
) -> None:
    where = "here" if odd == 0 else f"in round {odd + 1}"
    with pytest.raises(
        ConfigError,
        match=f"mixing=auto: conserves the row sums {where}, but the protocol needs both",
    ):
        check_weights(_exchanges(Turning(period, odd)))


@pytest.mark.parametrize("period", [1000, None])
def test_others_are_checked_when_they_come(period: int | None) -> None:
    schedule = _exchanges(Turning(period, 30))
    check_weights(schedule)
    for round in range(1, 31):
        schedule.mix(round)
    with pytest.raises(ConfigError, match="conserves the row sums in round 31"):
        schedule.mix(31)
