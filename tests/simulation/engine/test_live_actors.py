"""What a live actor does, without Ray: a test is the queue in which calls wait."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.results.provenance import identity
from swarm.simulation.engine.live.actor import UNDER_WAY
from tests.simulation.engine.live_queue import Handle, actors
from tests.support import config, experiment, final_rows, prepared

SWARM = ("devices=8", "rounds=6", "engine.block=2", "topology=ring")


def _rows(handles: list[Handle]) -> Any:
    found = {}
    for handle in handles:
        shard = handle.actor._own()
        found |= dict(zip(shard.devices.tolist(), shard.state.x, strict=True))
    return torch.stack([found[i] for i in sorted(found)]).double().numpy()


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("protocol=dpsgd_published", "topology=complete"),
        ("clock=poisson", "clock.rate=2", "network.round_seconds=0.1"),
        ("aggregator=coordinate_median", "topology=torus", "devices=9"),
        ("protocol=none", "topology=none"),
        ("protocol=delta_sharing",),
        ("protocol=quasi_global",),
        ("protocol=diloco", "protocol.exchange=gossip"),
    ],
)
def test_one_actor_does_what_the_simulation_does(more: tuple[str, ...]) -> None:
    """Nothing is late where nothing leaves the actor: the clock and the weights are the same."""
    (only,) = actors(experiment(*SWARM, *more), 1)
    while only.queue:
        only.serve()
    assert only.actor.done.round == 6
    np.testing.assert_allclose(_rows([only]), final_rows(prepared(*SWARM, *more)), atol=1e-5)


def _account(handles: list[Handle]) -> tuple[int, int, int, int]:
    """Messages sent, mixed, lost and unread, so far."""
    found = [handle.actor.progress() for handle in handles]
    return (
        sum(int(each.sent_n.sum()) for each in found),
        sum(int(each.received_n.sum()) for each in found),
        sum(int(each.lost_N.sum()) for each in found),
        sum(each.waiting for each in found),
    )


def test_a_run_whose_numbers_do_not_repeat_is_never_taken_for_one_whose_do() -> None:
    assert identity(config("engine=ray")) == identity(config("engine=local"))
    assert identity(config("engine=live")) != identity(config("engine=ray"))


@pytest.mark.parametrize("topology", ["ring", "small_world", "complete"])
@pytest.mark.parametrize("faster", [1, 2, 5])
def test_every_message_is_mixed_lost_or_unread(topology: str, faster: int) -> None:
    handles = actors(
        experiment(*SWARM, f"topology={topology}", "clock=poisson", "clock.rate=0.1"), 2
    )
    fast, slow = handles
    while fast.queue or slow.queue:
        for _ in range(faster):
            fast.serve()
        slow.serve()
    sent, mixed, lost, unread = _account(handles)
    assert sent > 0
    assert sent == mixed + lost + unread
    assert _account(handles)[:3] == (0, 0, 0)  # each is told once


def test_the_latest_message_counts_and_only_once() -> None:
    e = experiment(*SWARM)
    fast, slow = actors(e, 2)
    for _ in range(3):
        fast.serve()
    last = fast.actor._own().state.x.clone()
    packets = [a for _, name, (a,) in slow.queue if name == "deliver"]
    assert [packet.round for packet in packets] == [1, 2, 3]
    slow.queue.rotate(-1)  # its own first round stands before the three packets
    slow.serve()
    letters = slow.actor.mailbox.take(packets[0].phase)
    assert {letter.round for letter in letters.values()} <= {2, 3}
    assert slow.actor.mailbox.take(packets[0].phase) == {}
    assert torch.isfinite(last).all()


def test_a_message_is_behind_by_the_rounds_between() -> None:
    first, second = actors(experiment(*SWARM), 2)
    first.serve()  # round 1, whose packet then waits while the second plays none
    for _ in range(2):
        second.serve()
    found = second.actor.progress()
    assert found.round == 2
    assert (found.mailed, found.behind) == (2, 2)  # two links of a ring, read in round 2
    assert found.seconds >= 0


def test_packets_for_an_actor_that_does_not_read_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender's memory does not grow with what a stuck actor has not read."""
    fake = SimpleNamespace(wait=lambda refs, num_returns, timeout: ([], refs))
    monkeypatch.setitem(sys.modules, "ray", fake)
    fast, stuck = actors(experiment(*SWARM, "rounds=20"), 2)
    while fast.queue:
        fast.serve()
    assert sum(name == "deliver" for _, name, _ in stuck.queue) == UNDER_WAY
    found = fast.actor.progress()
    assert int(found.lost_N.sum()) == 2 * (20 - UNDER_WAY)


def test_packets_of_another_experiment_are_no_ones() -> None:
    first, second = actors(experiment(*SWARM), 2)
    first.serve()
    second.actor.session = 2
    second.serve()
    assert second.actor.progress().waiting == 0


def test_an_error_ends_the_rounds_and_is_told_when_asked() -> None:
    (only,) = actors(experiment(*SWARM), 1)
    only.actor.links = None  # type: ignore[assignment]
    only.serve()
    assert not only.queue
    with pytest.raises(AttributeError):
        only.actor.progress()


def test_halted_actors_play_no_further_round() -> None:
    (only,) = actors(experiment(*SWARM), 1)
    only.serve()
    only.actor.halt()
    only.serve()
    assert only.actor.done.round == 1
    assert not only.queue


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("protocol=fedavg", "topology=none"), "protocol=fedavg: must have one phase that mixes"),
        (("protocol=gossip_learning",), "protocol=gossip_learning: must have one phase that mixes"),
        (("protocol=gradient_tracking",), "protocol=gradient_tracking: must have one phase"),
        (("protocol=d2",), "protocol=d2: must do without sums that mixing conserves"),
        (("topology=one_peer_exponential",), "topology=one_peer_exponential: must be a graph that"),
        (("compressor=top_k",), "compressor=top_k: must be none with engine=live"),
        (("transforms=[clip]",), r"transforms=\[clip\]: must be empty with engine=live"),
        (("network.drop=0.1",), "network.drop=0.1: must be 0 with engine=live"),
        (("delay=constant", "delay.seconds=2"), "delay=constant: must be none with engine=live"),
        (("churn=markov",), "churn=markov: must be none with engine=live"),
        (("outage=split",), "outage=split: must be none with engine=live"),
        (("fleet=uniform",), "fleet=uniform: must be none with engine=live"),
        (("scenario.arms=[swarm,fedavg]",), r"protocol=fedavg: .* \(in the arm fedavg\)"),
        (("engine.pace=-1",), "engine.pace=-1: must be a number of seconds from 0 to 10"),
        (("engine.seconds=0",), "engine.seconds=0: must be null or a number of seconds above 0"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_no_live_run_can_do_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}") as found:
        prepared("engine=live", *words)
    assert "\n" not in str(found.value)
