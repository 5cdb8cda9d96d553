"""Max-min fair rates: textbook examples, what defines them, and what a round makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.communication.network.clock import Poisson
from swarm.communication.network.network import Network
from swarm.communication.network.sharing import LinkRates, max_min_rates
from swarm.communication.topology.random import RandomRegular
from swarm.communication.topology.regular import Ring
from tests.support import experiment, prepared, require_same_bits

MANY = 1e9


def rates(pairs: list[tuple[int, int]], uplink: list[float], downlink: list[float]) -> list[float]:
    src, dst = np.array(pairs).T
    return max_min_rates(src, dst, np.array(uplink), np.array(downlink)).tolist()


def test_one_message_has_the_whole_line() -> None:
    assert rates([(0, 1)], [10.0, 1.0], [1.0, 4.0]) == [4.0]
    assert rates([(0, 1)], [3.0, 1.0], [1.0, 4.0]) == [3.0]


def test_what_a_slow_message_leaves_goes_to_the_others() -> None:
    """Of three on a line of 9, one that gets 1 elsewhere leaves 4 for each of the others: an even
    split would waste 2 (the standard example of max-min fairness).
    """
    assert rates([(0, 1), (0, 2), (0, 3)], [9.0, 0, 0, 0], [0, 1.0, MANY, MANY]) == [1.0, 4.0, 4.0]


def test_a_chain_of_lines_is_settled_one_after_the_other() -> None:
    """Bertsekas & Gallager's construction: the tightest line first (2 of 4 each), what it leaves on
    the next one (10 − 2 = 8), and what that leaves on the last (20 − 8 = 12).
    """
    pairs = [(0, 1), (2, 1), (2, 3), (4, 3)]
    found = rates(pairs, [MANY, 0, 10.0, 0, MANY], [0, 4.0, 0, 20.0, 0])
    assert found == [2.0, 2.0, 8.0, 12.0]


def test_equal_devices_split_evenly() -> None:
    graph = RandomRegular(40, 0, 6).graph(1)
    found = max_min_rates(graph.src_E, graph.dst_E, np.full(40, 12.0), np.full(40, 30.0))
    np.testing.assert_allclose(found, 2.0)


@pytest.mark.parametrize("seed", range(8))
def test_every_message_is_stopped_by_a_full_line_on_which_none_is_faster(seed: int) -> None:
    """What defines max-min fair rates, on random lines of very different widths; and no line
    carries more than it can.
    """
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, 30, (2, 200))
    lines_2N = 10.0 ** rng.uniform(0, 4, (2, 30))
    rate = max_min_rates(src, dst, *lines_2N)
    full, fastest = [], []
    for end, line_N in zip((src, dst), lines_2N, strict=True):
        carried_N = np.bincount(end, rate, 30)
        assert (carried_N <= line_N * (1 + 1e-9)).all()
        most_N = np.zeros(30)
        np.maximum.at(most_N, end, rate)
        full.append(carried_N[end] >= line_N[end] * (1 - 1e-9))
        fastest.append(rate >= most_N[end] * (1 - 1e-9))
    assert ((full[0] & fastest[0]) | (full[1] & fastest[1])).all()
    shuffled = rng.permutation(200)
    again = max_min_rates(src[shuffled], dst[shuffled], *lines_2N)
    np.testing.assert_allclose(again, rate[shuffled], rtol=1e-12)


def test_no_messages_take_no_time() -> None:
    nothing = np.zeros(0, np.int64)
    assert len(max_min_rates(nothing, nothing, np.ones(3), np.ones(3))) == 0


def test_a_hub_is_slow_to_hear_all() -> None:
    """Nine send to one device whose downlink is 9: shared, each gets 1; without, each has its 5."""
    src, dst = np.arange(1, 10), np.zeros(9, np.int64)
    up, down = np.full(10, 5.0), np.full(10, 9.0)
    np.testing.assert_allclose(LinkRates(up, down, fair=True).seconds(src, dst, 10.0), 10.0)
    np.testing.assert_allclose(LinkRates(up, down).seconds(src, dst, 10.0), 2.0)


def test_no_message_takes_longer_than_a_network_foresees() -> None:
    lines = LinkRates(np.full(10, 1e6), np.full(10, 100.0), fair=True)
    network = Network(
        10, 0, 1.0, max_delay=50, clock=Poisson(10, 0, 1.0, 0.2), lines=lines, bits=200.0
    )
    ticks = [network.outcomes(r, Ring(10).graph(1)).ticks_E for r in range(1, 9)]
    found = np.concatenate(ticks)
    assert set(found[found >= 0].tolist()) == {2, 4}
    assert network.reach == 20


def test_a_round_lasts_longer_where_a_hub_hears_all() -> None:
    star = ("fleet=uniform", "fleet.uplink=1.0e+9", "fleet.downlink=1.0e+6", "topology=star")
    shared, apart = (experiment(*star, f"fleet.sharing={s}") for s in ("max_min", "uplink"))
    bits = shared.communication.phases[1].bits
    assert shared.communication.phases[1].seconds_on_line(1).max() == pytest.approx(11 * bits / 1e6)
    assert apart.communication.phases[1].seconds_on_line(1).max() == pytest.approx(bits / 1e6)


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    options = ("fleet=terminals", "fleet.sharing=max_min", "clock=poisson", "clock.rate=2.0",
               "network.round_seconds=0.02", "devices=11", "engine.block=2")  # fmt: skip
    require_same_bits(tmp_path, *options, rounds=6, cut=3)


def test_an_unknown_way_to_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fleet.sharing=fair: must be one of uplink, max_min"):
        prepared("fleet=uniform", "fleet.sharing=fair")
