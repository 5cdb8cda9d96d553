"""What each rule conserves on a network that fails, and that who is away is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swarm.communication.messages import MessageSchedule
from swarm.communication.mixing import weights
from swarm.communication.network.churn import MarkovChurn, PermanentFailure
from swarm.communication.network.clock import Poisson
from swarm.communication.network.delay import ExponentialDelay
from swarm.communication.network.network import LATE, LOST, UNSENT, Network
from swarm.communication.protocol.base import Protocol, Requirements
from swarm.communication.topology.exponential import ExponentialGraph
from swarm.communication.topology.random import SmallWorld
from swarm.simulation.experiment import Experiment
from tests.support import experiment, prepared, simulation

N, ROUNDS = 24, 40


class Column(Protocol):
    phases, requirements = ("mix",), Requirements(conserves="column")


class Both(Protocol):
    phases, requirements = ("mix",), Requirements(conserves="both")


def failing(delay: bool, clock: bool, symmetric: bool = False) -> Network:
    return Network(
        N, 5, 1.0, 0.3, symmetric, 4, ExponentialDelay(1.5) if delay else None, MarkovChurn(N, 5, 1.0, 0.2, 0.5), None,
        Poisson(N, 5, 1.0, 0.2) if clock else None,
    )  # fmt: skip


def whole(schedule: MessageSchedule, round: int) -> np.ndarray:
    """The effective matrix ``[N, N · parts]``, whoever receives nothing with its own row."""
    e, out = schedule.mix(round), np.zeros((N, N * schedule.rows_per_device))
    out[np.arange(N), np.arange(N) * schedule.rows_per_device] = 1.0
    out[e.dst_R] = e.matrix.toarray()
    return out


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("delay", [False, True])
def test_rows_sum_to_one_under_the_row_rule(delay: bool, clock: bool) -> None:
    for topology, rule in ((SmallWorld(N, 0), "auto"), (ExponentialGraph(N), "uniform")):
        schedule = MessageSchedule(topology, rule, Protocol(), failing(delay, clock), False, N)
        for round in range(1, ROUNDS):
            W = whole(schedule, round)
            assert W.min() >= 0
            np.testing.assert_allclose(W.sum(1), 1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("delay", [False, True])
def test_mass_is_conserved_under_the_column_rule(delay: bool, clock: bool) -> None:
    """What the devices hold and what is under way, together, never change."""
    topology = ExponentialGraph(N)
    schedule = MessageSchedule(topology, "column", Column(), failing(delay, clock), False, N)
    W = weights(topology.graph(0), "column").matrix.toarray()
    x = np.random.default_rng(0).standard_normal(N)
    total, depth, rows = x.sum(), schedule.depth, [x]
    for round in range(1, ROUNDS):
        past = [rows[-1 - d] if d < len(rows) else np.zeros(N) for d in range(depth + 1)]
        x = whole(schedule, round) @ np.stack(past, 1).ravel()
        under_way = 0.0
        for sent in range(max(1, round - depth), round + 1):
            graph, outcomes = schedule.sent(sent)
            later = outcomes.ticks_E > round - sent
            under_way += (W[graph.dst_E, graph.src_E] * rows[sent - 1][graph.src_E])[later].sum()
        assert x.sum() + under_way == pytest.approx(total, abs=1e-12)
        rows.append(x)


@pytest.mark.parametrize("symmetric", [False, True])
def test_both_stays_doubly_stochastic(symmetric: bool) -> None:
    schedule = MessageSchedule(
        SmallWorld(N, 0), "auto", Both(), failing(False, True, symmetric), False, N
    )
    for round in range(1, ROUNDS):
        W = whole(schedule, round)
        np.testing.assert_allclose(W, W.T, rtol=0, atol=1e-15)
        np.testing.assert_allclose(W.sum(1), 1.0, rtol=0, atol=1e-12)


def test_of_two_messages_of_one_sender_the_later_one_counts() -> None:
    schedule = MessageSchedule(SmallWorld(N, 0), "auto", Protocol(), failing(True, False), False, N)
    overtaken = 0
    for round in range(1, ROUNDS):
        ages: dict[tuple[int, int], list[int]] = {}
        for sent in range(max(1, round - schedule.depth), round + 1):
            graph, outcomes = schedule.sent(sent)
            for edge in np.flatnonzero(outcomes.ticks_E == round - sent).tolist():
                ages.setdefault((int(graph.dst_E[edge]), int(graph.src_E[edge])), []).append(
                    round - sent
                )
        weight_NNA = whole(schedule, round).reshape(N, N, schedule.rows_per_device)
        for (receiver, sender), found in ages.items():
            assert np.flatnonzero(weight_NNA[receiver, sender]).tolist() == [min(found)]
            overtaken += len(found) > 1
    assert overtaken > 20


def test_nothing_is_delivered_to_the_dead_or_sent_by_them() -> None:
    network = Network(
        N,
        1,
        delay=ExponentialDelay(2.0),
        churn=PermanentFailure(N, 1, 1.0, np.zeros(N, np.int64), 0.5, 10.0),
    )
    graph = SmallWorld(N, 0).graph(1)
    outcomes = {round: network.outcomes(round, graph).ticks_E for round in range(1, 30)}
    for round, ticks_E in outcomes.items():
        online = network.online(round)
        assert online is not None
        assert (ticks_E[~online[graph.src_E]] == UNSENT).all()
        for edge in np.flatnonzero(ticks_E >= 0):
            there = network.online(round + int(ticks_E[edge]))
            assert there is not None
            assert there[graph.dst_E[edge]]
    assert (outcomes[9] == LOST).any()
    assert any((ticks_E == LATE).any() for ticks_E in outcomes.values())


def _state(running: object) -> dict[str, torch.Tensor]:
    snapshot = running.engine.snapshot()  # type: ignore[attr-defined]
    return {name: rows.clone() for name, rows in snapshot.items()}


def test_who_is_away_does_not_change_a_bit() -> None:
    ready = prepared("churn=markov", "churn.leave_rate=0.3", "churn.return_rate=0.3", "network.drop=0.2",
                     "delay=uniform", "optimizer=momentum", "rounds=12")  # fmt: skip
    with simulation(ready) as running:
        e: Experiment = running.experiment
        before, seen = _state(running), 0
        for happened in running.engine.advance(12):
            online, after = e.communication.network.online(happened.round), _state(running)
            assert online is not None
            away = np.flatnonzero(~online)
            seen += len(away)
            for name in before:
                assert torch.equal(before[name][away], after[name][away]), name
            for sent in happened.traffic:
                assert not sent.sent_N[away].any()
            assert not happened.steps_N[away].any()
            before = after
        assert seen > 20


def test_the_mean_drifts_where_directed_losses_go_to_the_receiver() -> None:
    """And does not where a loss hits both directions of a link, or nothing is lost."""
    from tests.support import records

    def drift(*overrides: str) -> float:
        return float(
            records(prepared("scenario=consensus", "rounds=20", *overrides))[-1].values[
                "mean_drift"
            ]
        )

    assert drift() < 1e-12
    assert drift("network.drop=0.3", "network.symmetric=true") < 1e-12
    assert drift("network.drop=0.3") > 1e-3


def test_staleness_is_the_mean_age_of_what_arrives() -> None:
    from tests.support import records

    found = [
        r.values["staleness"]
        for r in records(prepared("delay=constant", "delay.seconds=2", "rounds=3"))[1:]
    ]
    assert found == [2.0, 2.0, 2.0]
    assert experiment("delay=constant", "delay.seconds=2").communication.messages.depth == 2
