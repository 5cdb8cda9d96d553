"""Clocks, delays and fleets: their laws, what a round costs, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.network.clock import Periodic, Poisson, Speed
from swarm.communication.network.delay import Distance, ExponentialDelay, UniformDelay
from swarm.communication.network.fleet import MixedFleet
from swarm.communication.network.network import Network
from swarm.communication.network.sharing import LinkRates
from swarm.communication.topology.regular import Ring
from swarm.communication.topology.structured import Geometric
from swarm.simulation.cost import cost
from tests.support import experiment, prepared, records

FLEET = ("fleet=uniform", "fleet.flops=1.0e+6", "fleet.uplink=1.0e+6", "fleet.downlink=1.0e+9")


def test_poisson_clocks_wake_at_their_rate() -> None:
    clock = Poisson(2000, 0, tick=0.1, rate=1.0)
    mean = np.mean([clock.wakes(round).mean() for round in range(1, 101)])
    assert mean == pytest.approx(1 - np.exp(-0.1), abs=5 * np.sqrt(0.1 / 200_000))


def test_periodic_clocks_wake_once_a_period() -> None:
    wakes = np.stack([Periodic(50, 0, tick=0.5, period=4.0).wakes(round) for round in range(1, 81)])
    assert (wakes.reshape(10, 8, 50).sum(1) == 1).all()
    assert wakes[:8].any(1).all(), "each at its own phase"


def test_fast_devices_wake_more_often() -> None:
    wakes = np.stack(
        [Speed(2, 0, 1.0, np.array([2.0, 8.0])).wakes(round) for round in range(1, 81)]
    )
    assert wakes.sum(0).tolist() == [40, 10]


def test_delays_have_their_distributions() -> None:
    graph, draw = Ring(4000).graph(1), (np.arange(8000) + 0.5) / 8000
    edges = np.arange(8000)
    assert ExponentialDelay(2.0, 1.0).seconds(graph, edges, draw).mean() == pytest.approx(
        3.0, rel=1e-3
    )
    assert UniformDelay(1.0, 4.0).seconds(graph, edges, draw).mean() == pytest.approx(2.5)
    placed = Geometric(30, 0).graph(1)
    assert placed.length_E is not None
    found = Distance(1.0, 10.0).seconds(placed, np.arange(5), np.zeros(5))
    np.testing.assert_allclose(found, 10 * placed.length_E[:5])


def test_every_message_has_a_delay_and_a_fate_of_its_own() -> None:
    """Of a receiver's two messages, of a sender's, of both directions of a link, and of two rounds:
    nothing in common.
    """
    graph = Ring(4000).graph(1)
    slow, lossy = Network(4000, 0, delay=UniformDelay(0.0, 8.0)), Network(4000, 0, drop=0.5)
    by_sender = np.lexsort((graph.dst_E, graph.src_E))
    for network in (slow, lossy):
        one, other = (network.outcomes(round, graph).ticks_E.astype(float) for round in (1, 2))
        pairs = [
            one.reshape(-1, 2).T,
            one[by_sender].reshape(-1, 2).T,
            (one, one[by_sender]),
            (one, other),
        ]
        for a, b in pairs:
            assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))


def test_a_sender_shares_its_uplink_among_its_messages() -> None:
    lines = LinkRates(np.array([100.0, 100.0, 100.0]), np.array([1000.0, 1000.0, 20.0]))
    np.testing.assert_allclose(
        lines.seconds(np.array([0, 0, 1]), np.array([1, 2, 0]), 200.0), [4.0, 10.0, 2.0]
    )


def test_with_a_clock_messages_take_their_time_on_the_line() -> None:
    lines = LinkRates(np.full(10, 100.0), np.full(10, 1e6))
    network = Network(
        10, 0, 0.5, max_delay=50, clock=Poisson(10, 0, 0.5, 0.4), lines=lines, bits=200.0
    )
    ticks = network.outcomes(3, Ring(10).graph(1)).ticks_E
    assert set(ticks[ticks >= 0].tolist()) == {8}  # 2 messages of 200 bits at 100 bit/s
    assert network.reach == 40  # if one had to send to all


def test_a_synchronous_round_lasts_as_long_as_its_slowest_device() -> None:
    e = experiment(*FLEET, "topology=ring")
    compute, line = e.model.step_flops * 2 / 1e6, e.communication.phases[1].bits / (1e6 / 2)
    found = records(prepared(*FLEET, "topology=ring", "rounds=3"))[-1]
    assert found.values["virtual_s"] == pytest.approx(3 * (compute + line))
    bytes, seconds = 2 * e.communication.phases[1].bits / 8, compute + line
    each = 3 * (3.0 * seconds + (6.0 - 3.0) * compute + bytes * 2.3e-6 + bytes * 1.1e-6)
    assert found.values["joules_total"] == pytest.approx(12 * each)
    assert found.devices is not None
    np.testing.assert_allclose(found.devices["joules"], each)


def test_a_device_pays_for_its_own_end_of_the_line_to_a_server() -> None:
    """One message up and one down: it sends the one, receives the other, and the server's part is
    nobody's.
    """
    e = experiment(*FLEET, "protocol=fedavg")
    found = records(prepared(*FLEET, "protocol=fedavg", "rounds=3"))[-1]
    compute, line, bytes = (
        e.model.step_flops * 2 / 1e6,
        e.communication.phases[1].bits / 1e6 + e.communication.phases[1].bits / 1e9,
        e.communication.phases[1].bits / 8,
    )
    assert found.devices is not None
    each = 3 * (3.0 * (compute + line) + (6.0 - 3.0) * compute + bytes * (2.3e-6 + 1.1e-6))
    np.testing.assert_allclose(found.devices["joules"], each)
    assert found.devices["sent"].tolist() == found.devices["received"].tolist() == [3] * 12
    assert found.values["messages_total"] == 2 * 3 * 12


def test_who_is_away_takes_no_energy() -> None:
    e, nothing = (
        experiment(*FLEET, "topology=ring", "churn=crash", "churn.at=1"),
        np.zeros(12, np.int64),
    )
    online, spent = e.communication.network.online(3), cost(e, 3, nothing, nothing, nothing)
    assert spent is not None
    assert online is not None
    np.testing.assert_array_equal(spent.joules_N, np.where(online, 3.0 * spent.seconds, 0.0))
    assert 0 < online.sum() < 12


def test_stragglers_make_rounds_longer() -> None:
    late = records(prepared(*FLEET, "fleet.stragglers=1.0", "fleet.slowdown=5.0", "protocol=none"))[
        -1
    ].values["virtual_s"]
    assert late == pytest.approx(
        5 * records(prepared(*FLEET, "protocol=none"))[-1].values["virtual_s"]
    )


def test_flops_of_a_dense_chain_are_about_six_times_parameters_times_samples() -> None:
    e = experiment("fleet=terminals")
    # the first layer needs no gradient of its inputs
    assert 0.5 < e.model.step_flops / (6 * e.model.layout.width * 8) < 1.0


def test_terminals_come_in_their_shares() -> None:
    import yaml

    from swarm.common.system import paths

    node = yaml.safe_load((paths.conf() / "fleet" / "terminals.yaml").read_text())
    fleet = MixedFleet(100, 0, node["classes"])
    assert np.bincount(fleet.class_N).tolist() == [20, 35, 15, 5, 15, 10]


BAD = [
    (("delay=constant", "delay.seconds=-1"), "delay.seconds=-1: must be at least 0"),
    (("delay=uniform", "delay.low=-1"), "delay.low=-1: must be"),
    (("delay=uniform", "delay.high=-1"), "delay.high=-1: must be a finite number of at least low=0"),
    (("delay=exponential", "delay.mean=-1"), "delay.mean=-1: must be"),
    (("delay=distance", "topology=ring"), "delay=distance: needs a topology whose edges have lengths"),
    (("clock=poisson", "clock.rate=1"), "clock.rate=1: would often wake a device twice in a tick of 1 virtual seconds; "
     "network.round_seconds=0.2 would do"),
    (("clock=poisson", "clock.rate=0"), "clock.rate=0: must be above 0"),
    (("clock=periodic", "clock.period=0.25"), "clock.period=0.25: must be at least the tick of 1 virtual seconds; "
     "network.round_seconds=0.25 would do"),
    (("clock=poisson", "protocol=gradient_tracking", "fleet=uniform", "fleet.uplink=1.0e+6"), "network.round_seconds=1: must be above "
     "1.85 virtual seconds, which messages may take on the fleet's lines, under GradientTracking"),
    (("clock=speed",), "clock=speed: needs a fleet"),
    (("clock=speed", "fleet=terminals"), "network.round_seconds=1: the fastest device needs"),
    (("clock=speed", "fleet=uniform", "clock.load=0"), "clock.load=0: must be above 0 and at most 1"),
    (("fleet=uniform", "fleet.memory=1000.0"), "fleet=uniform: device 0 has 1e+03 bytes of memory"),
    (("fleet=uniform", "fleet.flops=0"), "fleet.flops=0: must be above 0"),
    (("fleet=uniform", "fleet.idle=-1"), "fleet.idle=-1: must be"),
    (("fleet=uniform", "fleet.stragglers=2"), "fleet.stragglers=2: must be between 0 and 1"),
    (("fleet=uniform", "fleet.slowdown=0.5"), "fleet.slowdown=0.5: must be at least 1"),
    (("fleet=terminals", "fleet.classes.pc.share=0.5"), "fleet.classes="),
    (("fleet=terminals", "fleet.classes.pc.flops=0"), "fleet.classes.pc.flops=0: must be above 0"),
    (("fleet=terminals", "fleet.classes.pc.uplink=0"), "fleet.classes.pc.uplink=0: must be above 0"),
    (("fleet=terminals", "fleet.classes.pc.flops=fast"), "fleet.classes.pc.flops=fast: must be a finite number"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("classes", "said"),
    [({"pc": 1}, "classes.pc=1: must be a section with share, flops"),
     ({"pc": {"share": 1.0, "colour": "red"}}, "classes.pc.colour=red: no such figure; valid: share")],
)  # fmt: skip
def test_bad_classes(classes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MixedFleet(4, 0, classes)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(("overrides", "said"), BAD)
def test_bad_options(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment(*overrides)
    assert str(caught.value).startswith(said)


def test_a_server_sends_at_its_own_expense() -> None:
    """A device pays for one message up and one down a round, the download at the price of
    receiving.
    """
    costs = ("fleet.idle=0", "fleet.active=0", "fleet.radio_send=1.0", "fleet.radio_receive=100.0")
    ready = prepared(
        "protocol=fedavg",
        "init=common",
        "topology=ring",
        "devices=4",
        "rounds=3",
        "fleet=uniform",
        *costs,
    )
    last = records(ready)[-1]
    assert last.devices is not None
    size = last.values["bytes_total"] // (3 * 4 * 2)  # one up and one down a device and round
    assert last.values["messages_total"] == 3 * 4 * 2
    np.testing.assert_array_equal(last.devices["sent"], 3)
    np.testing.assert_array_equal(last.devices["received"], 3)
    np.testing.assert_allclose(last.devices["joules"], 3 * (size * 1.0 + size * 100.0))
